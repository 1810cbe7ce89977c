"""Cells of the CSV tables: no spreadsheet may run one as a formula. Standard library only.

A file's name or a user's value can begin like a formula (`@Recycle/a.tif`, `-rf`, `=1+1`). `guarded` puts an
apostrophe in front, as OWASP advises against CSV injection, and `unguarded` takes it away. Text that begins like
that after a semicolon, a tab or a line end is guarded as well: where the decimal mark is a comma, spreadsheets
split lines at semicolons, also within a cell. Plain numbers stay as they are.
"""

import csv
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from samfleet.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

_START = r"(?:^|(?<=[;\t\r\n]))"
_FORMULA = r"'* *[=+\-@\uff1d\uff0b\uff0d\uff20]"
"""What a formula begins with, also in the full width of East Asian scripts."""
_CONTROL = r"'*[\t\r\n]"
_UNGUARDED = re.compile(f"{_START}(?={_FORMULA})|^(?={_CONTROL})")
_GUARDED = re.compile(f"{_START}'(?={_FORMULA})|^'(?={_CONTROL})")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def guarded(text: str) -> str:
    """A cell's text, with an apostrophe wherever a spreadsheet would see a formula begin."""
    return text if _NUMBER.fullmatch(text) else _UNGUARDED.sub("'", text)


def unguarded(text: str) -> str:
    """The text that `guarded` turned into this."""
    return _GUARDED.sub("", text)


def encoding(bom: bool) -> str:
    """The encoding of a table: UTF-8, with a byte order mark if `bom`."""
    return "utf-8-sig" if bom else "utf-8"


def write_csv(path: Path, table: "pd.DataFrame", *, bom: bool, float_format: str = "%.10g") -> None:
    """Write a table atomically, its text and the names of its columns guarded; missing values are empty."""
    cells = table.astype(object).where(table.notna(), None)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding=encoding(bom)) as file,
    ):
        for row in itertools.chain([table.columns], cells.itertuples(index=False, name=None)):
            file.write(",".join(_written(cell, float_format) for cell in row) + "\n")


def _written(cell: object, float_format: str) -> str:
    if isinstance(cell, float):
        return float_format % cell
    text = "" if cell is None else guarded(str(cell))
    # Python's csv leaves a lone carriage return without quotes, where it ends the line
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """The rows of one of samfleet's CSV tables, as they were before they were guarded.

    Raises:
        OSError, ValueError, csv.Error: it cannot be read as such a table.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        if not (names := [unguarded(name) for name in next(rows, [])]):
            raise ValueError("it is empty")
        return [dict(zip(names, map(unguarded, row), strict=True)) for row in rows]
