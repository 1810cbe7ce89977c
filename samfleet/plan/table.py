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

from samfleet.errors import UserError
from samfleet.files import escape_name
from samfleet.results import SUMMARY_COLUMNS
from samfleet.wording import counted, first_lines

logger = logging.getLogger(__name__)

_SAVE_AS_CSV = "save the table as CSV (UTF-8) and name that file"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # .xlsx and .ods, .xls
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t ]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")


class ManifestError(UserError):
    """The files of the collection cannot be listed; the message names the file or key at fault."""


@dataclass
class ImageTable:
    """What a table says of the images.

    Attributes:
        columns: names of the columns beside `image`.
        rows: for each row the number of its line, the path as it lies on the disk (as it is written if
            there is no such file), and the values of `columns`.
    """

    columns: list[str]
    rows: list[tuple[int, str, list[str]]] = field(default_factory=list)


def read_table(path: Path) -> ImageTable:
    """The rows of a CSV or TSV table with a column `image`, without those that are empty.

    Raises:
        ManifestError: it is no such table, or rows are faulty; the message says what to do.
    """
    text = _decoded(path)
    separator = _SEPARATOR_LINE.match(text)
    skipped = 0
    if separator:
        text, skipped = text[separator.end() :], 1
    header, delimiter = _header(path, text, separator and separator[1])
    position = _image_column(path, header)
    named = max(number for number, name in enumerate(header) if name)
    lines: dict[str, int] = {}
    faults: list[str] = []
    rows: list[tuple[int, str, list[str]]] = []
    for line, cells in itertools.islice(_cells(path, text, delimiter), 1, None):
        line += skipped
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if named < len(cells) < len(header):
            cells += [""] * (len(header) - len(cells))
        if len(cells) != len(header):
            faults.append(f"line {line}: {len(cells)} fields instead of {named + 1}")
            continue
        image = _path_on_disk(path.parent, cells.pop(position))
        first = lines.setdefault(os.path.normpath(image), line)
        if not image.strip():
            faults.append(f"line {line}: no image is named")
        elif first != line:
            faults.append(f"line {line}: {escape_name(image)} is already in line {first}")
        else:
            rows.append((line, image, [_in_words(cell) for cell in cells]))
    if faults:
        rows_at_fault = counted(len(faults), "faulty row")
        raise ManifestError(f"images: {path} has {rows_at_fault}:{first_lines(faults)}")
    columns = list(enumerate(header, start=1))
    del columns[position]
    return _without_empty_columns(columns, rows)


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
        if "image" in map(str.lower, names):
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


def _image_column(path: Path, header: list[str]) -> int:
    """The position of the column `image`, after checking the names of all."""
    names = [name for name in header if name]
    twice = sorted({name for name in names if names.count(name) > 1})
    taken = sorted(set(names) & set(SUMMARY_COLUMNS) - {"image"})
    if twice or taken:
        raise ManifestError(
            f"images: {path}: rename the column {', '.join(twice or taken)}; "
            + ("there are two of that name" if twice else "the summary has a column of that name")
        )
    return (
        header.index("image") if "image" in header else list(map(str.lower, header)).index("image")
    )


def _without_empty_columns(
    columns: list[tuple[int, str]], rows: list[tuple[int, str, list[str]]]
) -> ImageTable:
    """Numbered columns without a name are called by their number, or left out if nothing is in them."""
    kept = [
        position
        for position, (_, name) in enumerate(columns)
        if name or any(values[position].strip() for _, _, values in rows)
    ]
    given = {name for _, name in columns}
    names = [columns[position][1] or _free_name(columns[position][0], given) for position in kept]
    if len(kept) < len(columns):
        rows = [(line, image, [values[n] for n in kept]) for line, image, values in rows]
    return ImageTable(names, rows)


def _free_name(number: int, given: set[str]) -> str:
    """A name for a column without one, which no other column has."""
    name = f"column_{number}"
    while name in given:
        name += "_"
    return name
