"""No cell of a CSV table is a formula to a spreadsheet, and every text can be had back."""

import csv
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.cells import guarded, read_csv, unguarded, write_csv
from tests.examples import examples

CLONE = Path(__file__).resolve().parents[2]
GUARD = re.search('^GUARD = r"(.*)"$', (CLONE / "docs/results.md").read_text("utf-8"), re.M)[1]
TEXTS = st.text(st.sampled_from("'=+-@;\t\r\n ,\"a1.＝"), max_size=8)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-rf",
        "@SUM(A1)",
        "\t=1",
        "\ra",
        " =1",
        "＝1",
        "-",
        "+49 171 2",
        "--1",
        "-5%",
    ],
)
def test_text_that_begins_like_a_formula_gets_an_apostrophe(text):
    assert guarded(text).startswith("'")
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize(
    "text", ["-3.5", "+2", "-0,5", "-1e-5", "-.5", "1-2", "a=b", "", "'a", "x@y"]
)
def test_numbers_and_other_text_stay_as_they_are(text):
    assert guarded(text) == unguarded(text) == text


def test_an_apostrophe_that_was_there_before_stays_there():
    assert guarded("'=1") == "''=1"
    assert unguarded("''=1") == "'=1"
    assert unguarded("'tis") == "'tis"


@examples(300)
@given(TEXTS)
def test_every_text_can_be_had_back_also_as_the_documentation_says(text):
    assert unguarded(guarded(text)) == text
    assert re.sub(GUARD, "", guarded(text)) == text


@examples(300)
@given(TEXTS)
def test_no_cell_is_a_formula_at_a_comma_nor_where_lines_are_split_at_semicolons(text):
    for cell in [guarded(text), *re.split(r"[;\t\r\n]", guarded(text))]:
        harmless = re.fullmatch(r" *'.*|[^=+\-@＝\t\r\n ].*| *", cell, re.DOTALL)
        assert harmless or guarded(text) == text or re.match(r" +[^=+\-@＝]", cell), cell


@examples(100)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_every_table_is_read_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_csv(path, pd.DataFrame(rows, columns=["a", "b"], dtype=object), bom=False)
    assert [tuple(row.values()) for row in read_csv(path)] == rows
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert [tuple(map(unguarded, row)) for row in table.itertuples(index=False)] == rows


@pytest.mark.parametrize("bom", [False, True])
def test_a_table_is_read_as_it_was_before_it_was_written(tmp_path, bom):
    table = pd.DataFrame(
        {"=n": ["=1", "a;=2", "b"], "value": [-1.5, 2, None], "x": ["-2", "", "µ"]}
    )
    write_csv(tmp_path / "t.csv", table, bom=bom)
    content = (tmp_path / "t.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf'=n," if bom else b"'=n,")
    with (tmp_path / "t.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [
            ["'=n", "value", "x"],
            ["'=1", "-1.5", "-2"],
            ["a;'=2", "2", ""],
            ["b", "", "µ"],
        ]
    assert [row["=n"] for row in read_csv(tmp_path / "t.csv")] == ["=1", "a;=2", "b"]
