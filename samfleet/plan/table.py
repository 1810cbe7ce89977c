"""Read a table of images as spreadsheets and programs write it: any usual encoding and separator.

Standard library only, since the Snakefile imports this.
"""

import csv
import io
import itertools
import logging
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from samfleet.errors import UserError
from samfleet.files import escape_name
from samfleet.planes import NO_CELLS, PROJECTIONS, Cells
from samfleet.results import OBJECT_COLUMNS, SUMMARY_COLUMNS
from samfleet.wording import counted, first_lines

logger = logging.getLogger(__name__)

_SAVE_AS_CSV = "save the table as CSV (UTF-8) and name that file"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # .xlsx and .ods, .xls
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t ]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_SELECTING = ("scene", "time", "slice")
_CHANNEL = "image:"
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")


class ManifestError(UserError):
    """The files of the collection cannot be listed; the message names the file or key at fault."""


class NamedImages(NamedTuple):
    """A row of a table of images.

    Attributes:
        line: its number.
        path: as it lies on the disk, or as it is written if there is no such file; that of the first of joined files.
        values: of the user's columns.
        cells: of the columns `scene`, `time` and `slice`, empty where there is none.
        channels: (name, path) of the files that are joined as channels.
    """

    line: int
    path: str
    values: list[str]
    cells: Cells = NO_CELLS
    channels: tuple[tuple[str, str], ...] = ()


@dataclass
class ImageTable:
    """What a table says of the images.

    Attributes:
        columns: names of the user's columns: those that are not about which images are meant.
        rows: in the order of the table.
    """

    columns: list[str]
    rows: list[NamedImages] = field(default_factory=list)


def read_table(path: Path) -> ImageTable:
    """The rows of a CSV or TSV table with a column `image`, without those that are empty.

    Columns `scene`, `time` and `slice` select images of a file. Columns `image:NAME` name a file for each channel of
    an image; `image` may then give it a name, which is otherwise the path of its first file.

    Raises:
        ManifestError: it is no such table, or rows are faulty; the message says what to do.
    """
    text = _decoded(path)
    separator = _SEPARATOR_LINE.match(text)
    skipped = 0
    if separator:
        text, skipped = text[separator.end() :], 1
    header, delimiter = _header(path, text, separator and separator[1])
    places = _Places.of(path, header)
    named = max(number for number, name in enumerate(header) if name)
    lines: dict[tuple, int] = {}
    joined: dict[str, tuple[int, tuple]] = {}
    faults: list[str] = []
    rows: list[NamedImages] = []
    for line, cells in itertools.islice(_cells(path, text, delimiter), 1, None):
        line += skipped
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if named < len(cells) < len(header):
            cells += [""] * (len(header) - len(cells))
        if len(cells) != len(header):
            faults.append(f"line {line}: {len(cells)} fields instead of {named + 1}")
            continue
        row = places.row(path.parent, line, cells)
        if not row.path.strip():
            faults.append(f"line {line}: no image is named")
            continue
        first = lines.setdefault((os.path.normpath(row.path), row.cells), line)
        earlier, channels = joined.setdefault(row.path, (line, row.channels))
        if first != line:
            faults.append(f"line {line}: {escape_name(row.path)} is already in line {first}")
        elif channels != row.channels:
            faults.append(
                f"line {line}: {escape_name(row.path)} has other files of channels in line {earlier}; give each image a "
                "name of its own in a column image"
            )
        elif fault := _fault_of(row):
            faults.append(f"line {line}: {fault}")
        else:
            rows.append(row)
    if faults:
        rows_at_fault = counted(len(faults), "faulty row")
        raise ManifestError(f"images: {path} has {rows_at_fault}:{first_lines(faults)}")
    return _without_empty_columns([(n + 1, header[n]) for n in places.own], rows)


@dataclass(frozen=True)
class _Places:
    """Positions of the columns of a table.

    Attributes:
        image: of the path or, beside columns of channels, of a name for the image; None if there is none.
        channels: (name, position) of columns `image:NAME`.
        cells: of `scene`, `time` and `slice`, None where there is none.
        own: of all others.
    """

    image: int | None
    channels: tuple[tuple[str, int], ...]
    cells: tuple[int | None, ...]
    own: tuple[int, ...]

    @classmethod
    def of(cls, path: Path, header: list[str]) -> "_Places":
        """The positions, after checking the names."""
        channels = tuple(
            (name.partition(":")[2].strip(), position)
            for position, name in enumerate(header)
            if name.lower().startswith(_CHANNEL)
        )
        _check_names(path, header)
        lower = list(map(str.lower, header))
        image = next((names.index("image") for names in (header, lower) if "image" in names), None)
        cells = tuple(header.index(name) if name in header else None for name in _SELECTING)
        taken = {image, *cells, *(place for _, place in channels)}
        own = tuple(n for n in range(len(header)) if n not in taken)
        return cls(image, channels, cells, own)

    def row(self, folder: Path, line: int, cells: list[str]) -> NamedImages:
        """A row of the table."""
        channels = tuple(
            (name, _path_on_disk(folder, cells[position]))
            for name, position in self.channels
            if cells[position].strip()
        )
        named = "" if self.image is None else _path_on_disk(folder, cells[self.image])
        path = named if named.strip() or not channels else channels[0][1]
        selected = ["" if n is None else _in_words(cells[n]).strip() for n in self.cells]
        values = [_in_words(cells[n]) for n in self.own]
        return NamedImages(line, path, values, (selected[0], selected[1], selected[2]), channels)


def _fault_of(row: NamedImages) -> str:
    """What is wrong with what a row selects; empty if nothing is."""
    _, time, slice = row.cells
    for name, cell, words in (("time", time, ("all",)), ("slice", slice, ("all", *PROJECTIONS))):
        if cell and not cell.isdecimal() and cell not in words:
            return f"{name} is {escape_name(cell)}, and must be a number, counted from 0, or {' or '.join(words)}"
    return ""


def _decoded(path: Path) -> str:
    """The text of a table; bytes that are not UTF-8 become surrogate escapes."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
            if start.startswith(_WORKBOOKS):
                raise ManifestError(f"images: {path} is a workbook: {_SAVE_AS_CSV}")
            encoding = _encoding(start)
            if encoding == "utf-8-sig" and b"\0" in start:
                raise ManifestError(f"images: {path} is not text: {_SAVE_AS_CSV}")
            data = start + file.read()
        text = data.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "strict")
    except OSError as error:
        raise ManifestError(f"images: {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"images: {path} is damaged, or not text: {_SAVE_AS_CSV}") from error
    if "\0" in text:
        raise ManifestError(f"images: {path} has null characters in it: {_SAVE_AS_CSV}")
    if _NOT_UTF8.search(text):
        logger.warning(
            "images: %s is not in UTF-8; such words are read as Windows-1252 (western European). If "
            "they look wrong in the summary, save the table as UTF-8",
            path,
        )
    return text


def _encoding(start: bytes) -> str:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    # every second byte of western text is zero
    if len(start) > 1 and start[0] and not start[1]:
        return "utf-16-le"
    if len(start) > 1 and start[1] and not start[0]:
        return "utf-16-be"
    return "utf-8-sig"


def _in_words(cell: str) -> str:
    """A cell as text; one that is not UTF-8 is read as Windows-1252, where that has such characters."""
    if not _NOT_UTF8.search(cell):
        return cell
    data = cell.encode("utf-8", "surrogateescape")
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _path_on_disk(folder: Path, cell: str) -> str:
    """The path that a cell means: as it is written or, if that is not there, as it lies on the disk.

    Spreadsheets leave spaces, Windows writes backslashes and its own encoding, and macOS takes letters
    and their accents apart.
    """
    plain = cell.strip()
    words = _in_words(plain)
    spellings = dict.fromkeys(
        (
            cell,
            plain,
            words,
            words.replace("\\", "/"),
            os.path.expanduser(words),
            *(unicodedata.normalize(form, words.replace("\\", "/")) for form in ("NFC", "NFD")),
        )
    )
    if len(spellings) == 1:
        return cell
    return next((name for name in spellings if name and os.path.lexists(folder / name)), cell)


def _header(path: Path, text: str, delimiter: str | None) -> tuple[list[str], str]:
    """The names of the columns, and what separates them."""
    usual = ["\t", ",", ";"] if path.suffix.lower() in (".tsv", ".tab") else [",", ";", "\t"]
    headers: list[list[str]] = []
    faults: list[ManifestError] = []
    for candidate in [delimiter] if delimiter else usual:
        try:
            cells = next((cells for _, cells in _cells(path, text, candidate)), [])
        except ManifestError as error:  # the quotation marks do not fit this one
            faults.append(error)
            continue
        names = [_in_words(cell).strip() for cell in cells]
        lower = [name.lower() for name in names]
        if "image" in lower or any(name.startswith(_CHANNEL) for name in lower):
            return names, candidate
        headers.append(names)
    if not headers:
        raise faults[0]
    longest = max(headers, key=len)
    found = ", ".join(longest) or "nothing"
    raise ManifestError(
        f"images: {path} has no column `image` in its first line ({escape_name(found):.300}); that line "
        "must name the columns, separated by commas, semicolons or tabs"
    )


def _cells(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of every line that has any, with its number; the header comes first."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ManifestError(
            f"images: {path}: cannot be read as a table: line {reader.line_num}: {error}; look at the "
            f"quotation marks there, or {_SAVE_AS_CSV}"
        ) from error


def _check_names(path: Path, header: list[str]) -> None:
    """Refuse names of columns that stand twice, or that tables of results have."""
    names = [name for name in header if name]
    twice = sorted({name for name in names if names.count(name) > 1})
    taken = sorted(set(names) & {*SUMMARY_COLUMNS, *OBJECT_COLUMNS} - {"image", *_SELECTING})
    if twice or taken:
        words = "there are two of that name" if twice else "the tables of results have it already"
        raise ManifestError(
            f"images: {path}: rename the column {', '.join(twice or taken)}; {words}"
        )


def _without_empty_columns(columns: list[tuple[int, str]], rows: list[NamedImages]) -> ImageTable:
    """Numbered columns without a name are called by their number, or left out if nothing is in them."""
    kept = [
        position
        for position, (_, name) in enumerate(columns)
        if name or any(row.values[position].strip() for row in rows)
    ]
    given = {name for _, name in columns}
    names = [columns[position][1] or _free_name(columns[position][0], given) for position in kept]
    if len(kept) < len(columns):
        rows = [row._replace(values=[row.values[n] for n in kept]) for row in rows]
    return ImageTable(names, rows)


def _free_name(number: int, given: set[str]) -> str:
    """A name for a column without one, which no other column has."""
    name = f"column_{number}"
    while name in given:
        name += "_"
    return name
