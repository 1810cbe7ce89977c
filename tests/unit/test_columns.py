"""docs/results.md names every column of every table, and none that there is not."""

import re
from pathlib import Path

import pytest

from samfleet import results

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "results.md"
TABLES = {
    "summary.csv": results.SUMMARY_COLUMNS,
    "objects.parquet": tuple(results.OBJECT_COLUMNS),
    "evaluation.csv": results.EVALUATION_COLUMNS,
    "ledger.csv": results.LEDGER_COLUMNS,
    "filtering.csv": results.FILTERING_COLUMNS,
}


def section(name: str) -> str:
    """What the document says of a table."""
    return re.search(
        rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S
    )[1]


def patterns(text: str) -> list[re.Pattern]:
    """The names in backticks; three dots stand for anything, as in `raw_…`."""
    names = re.findall(r"`([\w…]+)`", text)
    return [re.compile(re.escape(name).replace("…", r"\w+")) for name in names]


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_explained(name):
    known = patterns(section(name))
    shared = patterns(section("summary.csv")) if name != "summary.csv" else []
    missing = [
        column
        for column in TABLES[name]
        if not any(pattern.fullmatch(column) for pattern in [*known, *shared])
    ]
    assert not missing


@pytest.mark.parametrize("name", ["summary.csv", "objects.parquet"])
def test_every_column_that_is_explained_is_there(name):
    table = re.search(
        r"^\| columns? \| meaning \|\n\|[-|]+\n(.*?)\n\n", section(name), re.M | re.S
    )[1]
    for line in table.splitlines():
        for pattern in patterns(line.split("|")[1].replace("_DAPI", "")):  # of any channel
            assert any(pattern.fullmatch(column) for column in TABLES[name]), pattern.pattern
