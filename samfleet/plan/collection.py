"""Find the files of a collection: those in a folder, or those that a table names.

Standard library only, since the Snakefile imports this.
"""

import heapq
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from samfleet.content import ZARR_METADATA, stat_of
from samfleet.digests import digest_of, digest_of_lines
from samfleet.files import escape_name
from samfleet.marker import MARKER, kind_of, listed
from samfleet.plan.table import ManifestError, read_table
from samfleet.planes import NO_CELLS, Cells, Selection
from samfleet.resources import DEMO_FOLDER
from samfleet.wording import counted, looked_for


class ScannedFile(NamedTuple):
    """An image file as the file system describes it; `path` is relative to the collection's root.

    It may be the folder of a Zarr, or stand for files that are joined as `channels`, (name, path) each: see
    `samfleet.content`.
    """

    path: str
    size: int
    mtime_ns: int
    mode: int
    channels: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple:
        """What a file with the same content and meaning has in common with it."""
        return self.path, self.size, self.mtime_ns, self.channels


class TableRow(NamedTuple):
    """What a table says of some images of a file.

    Attributes:
        cells: scene, time and slice that it selects; empty for what the configuration selects.
        values: of the user's further columns.
    """

    cells: Cells
    values: list[str]


@dataclass
class Collection:
    """The image files that the configuration's `images` stands for.

    Attributes:
        root: the folder that the paths are relative to.
        files: the image files, sorted by path.
        ignored: number of other files by suffix.
        own: what was not searched, since samfleet made it: results, overlays.
        strangers: for what of that holds image files that samfleet did not write, how many.
        columns: names of the user's further columns.
        rows: for each path what the table says of it.
    """

    root: Path
    files: list[ScannedFile]
    ignored: Counter = field(default_factory=Counter)
    own: list[str] = field(default_factory=list)
    strangers: Counter = field(default_factory=Counter)
    columns: list[str] = field(default_factory=list)
    rows: dict[str, list[TableRow]] = field(default_factory=dict)

    def selections(self, path: str, selection: Selection) -> dict[Cells, Selection]:
        """Which images of a file are wanted, by the cells of the table's rows, given what the configuration selects."""
        rows = self.rows.get(path, ())
        return {row.cells: selection.narrowed(*row.cells) for row in rows} or {NO_CELLS: selection}

    def passed_over(self) -> str:
        """What to do about image files that are passed over, although samfleet did not write them; or nothing."""
        if not (strangers := +self.strangers):
            return ""
        folders = escape_name(", ".join(sorted(strangers)))
        return (
            f"{counted(strangers.total(), 'image file')} passed over that samfleet did not write, because of the file "
            f"{MARKER} in {folders}: delete that file if it came there by mistake, or move the images elsewhere"
        )

    def fingerprint(self) -> str:
        """A digest that changes if a file is added, removed, renamed or touched."""
        selecting = (
            "\t".join((escape_name(path), *row.cells)) + "\n"
            for path, rows in self.rows.items()
            if any(any(row.cells) for row in rows)
            for row in rows
        )
        return digest_of_lines(itertools.chain(map(_fingerprint, self.files), selecting))


def _fingerprint(file: ScannedFile) -> str:
    path, size, mtime_ns, mode, channels = file
    joined = f"\t{channels}" if channels else ""
    return f"{escape_name(path)}\t{size}\t{mtime_ns}\t{mode & 0o777}{joined}\n"


def scan_collection(
    images: str, suffixes: Iterable[str], results: str | Path, channel_pattern: str = ""
) -> Collection:
    """List the image files of a folder (recursively) or of a CSV or TSV table.

    Args:
        images: a folder, a table with a column `image`, or "demo" for the embedded images.
        suffixes: endings of the names of image files in a folder, such as ".tif", in any case.
        results: the folder that samfleet writes to, which is not searched; nor is any other that it made.
        channel_pattern: a regular expression with the groups `image` and `channel`: files whose paths differ only
            in their channel are joined as the channels of one image.

    Raises:
        ManifestError: it does not exist or has no image file, or the table is not valid.
    """
    source = _source(images)
    if os.path.isdir(source):  # unlike Path.is_dir, it never raises
        collection = _scan_folder(source, tuple(s.lower() for s in suffixes), Path(results))
        if channel_pattern:
            collection.files = _joined_by(channel_pattern, collection)
    elif os.path.isfile(source) and source.name.lower().endswith(tuple(suffixes)):
        raise ManifestError(f"images: {images} is an image; name its folder, or a table of images")
    elif os.path.isfile(source):
        collection = _read_table(source)
        if collection.files and not any(file.mode for file in collection.files):
            _refuse_missing(source, collection.files)
    else:
        raise ManifestError(
            f"images: {images} is neither a folder nor a table{looked_for(source)}; check the path"
        )
    if not collection.files:
        others = sum(collection.ignored.values())
        raise ManifestError(
            f"images: no image in {images}{looked_for(source)} (image.suffixes: {' '.join(suffixes)})"
            + (f", but {counted(others, 'other file')}" if others else "")
            + (f"; {passed_over}" if (passed_over := collection.passed_over()) else "")
        )
    collection.files.sort(key=lambda file: os.fsencode(file.path))
    return collection


def _refuse_missing(table: Path, files: list[ScannedFile]) -> None:
    """One missing file costs its row; if all are missing, the paths mean something else."""
    first = escape_name(os.path.join(table.absolute().parent, files[0].path))
    raise ManifestError(
        f"images: {table} names {counted(len(files), 'file')}, of which none is there: the first would be "
        f"{first}. Paths are relative to the table; correct them, or move it"
    )


def _source(images: str) -> Path:
    return DEMO_FOLDER / "images" if images == "demo" else Path(os.path.expanduser(images))


def collection_root(images: str) -> Path:
    """The folder to which the paths in the manifest are relative."""
    source = _source(images)
    return source if os.path.isdir(source) else source.parent


def collection_columns(images: str) -> tuple[list[str], dict[str, list[TableRow]]]:
    """The user's further columns, and what the table says by path; empty unless `images` is a table."""
    if not os.path.isfile(_source(images)):
        return [], {}
    table = _read_table(_source(images), look=False)
    return table.columns, table.rows


def columns_digest(columns: list[str], rows: dict[str, list[TableRow]]) -> str:
    """A digest of the user's further columns, as `collection_columns` returns them."""
    return digest_of([columns, sorted((escape_name(path), own) for path, own in rows.items())])


def _scan_folder(root: Path, suffixes: tuple[str, ...], results: Path) -> Collection:
    collection = Collection(root, [])
    visited = {_inode(results)} - {None}
    folders = [""]
    links: list[str] = []
    while folders or links:
        # follow links last and in order, so that a file is found under the same path on every machine
        folder = folders.pop() if folders else heapq.heappop(links)
        inode = _inode(root / folder)
        if inode in visited:  # links can form a loop
            continue
        visited.add(inode)
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            raise ManifestError(
                f"images: {root / folder}: {error.strerror}; make it readable or move it away"
            ) from error
        names = {entry.name for entry in entries}
        if folder and (not ZARR_METADATA.isdisjoint(names) or folder.lower().endswith(".zarr")):
            collection.files.append(_scanned(folder, [root / folder]))
            continue
        if MARKER in names:
            strangers = _strangers(root / folder, suffixes)
            if not folder:
                remedy = (
                    f", or delete {root / MARKER} if it came there by mistake: "
                    f"{counted(strangers, 'image file')} there samfleet did not write"
                )
                raise ManifestError(
                    f"images: samfleet made {root} ({kind_of(root)}); name the folder of the images themselves"
                    + (remedy if strangers else "")
                )
            collection.own.append(folder)
            collection.strangers[folder] += strangers
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if _is_folder(entry):
                if entry.is_symlink():
                    heapq.heappush(links, path)
                elif not _is_of_oif(entry.name, names):
                    folders.append(path)
            elif entry.name.lower().endswith(suffixes):
                if _is_own(entry):
                    collection.own.append(path)
                    collection.strangers[path] += not _is_listed(os.path.realpath(entry.path))
                else:
                    collection.files.append(_scanned(path, [entry.path]))
            else:
                suffix = os.path.splitext(entry.name)[1].lower()
                collection.ignored[escape_name(suffix) or "no suffix"] += 1
    return collection


def _strangers(folder: Path, suffixes: tuple[str, ...]) -> int:
    """How many image files a folder with a marker holds, at any depth, that no marker lists."""
    number = 0
    for inside, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        known = {name for _, name in listed(Path(inside))}
        images = {name for name in files if name.lower().endswith(suffixes)} - known
        number += sum(not name.startswith(".") for name in images)
    return number


def _is_listed(path: str) -> bool:
    folder, name = os.path.split(path)
    return any(name == own for _, own in listed(Path(folder)))


def _is_own(entry: os.DirEntry) -> bool:
    """Whether a file is a link into a folder that samfleet made."""
    return entry.is_symlink() and bool(kind_of(Path(os.path.realpath(entry.path)).parent))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _inode(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_of_oif(name: str, names: set[str]) -> bool:
    """Whether a folder holds the planes of an OIF that lies beside it."""
    return name.lower().endswith(".oif.files") and name[: -len(".files")] in names


def _scanned(
    path: str, files: Sequence[str | Path], channels: tuple[tuple[str, str], ...] = ()
) -> ScannedFile:
    """The stat of a file, or of several joined; zeros if there is none, as for a dangling link, which the plan reports."""
    try:
        size, mtime_ns, mode = stat_of(files)
    except OSError:
        return ScannedFile(path, 0, 0, 0, channels)
    return ScannedFile(path, size, mtime_ns, mode, channels)


def _joined_by(pattern: str, collection: Collection) -> list[ScannedFile]:
    """The files of a folder, of which those are joined that a pattern calls channels of one image.

    Raises:
        ManifestError: two files are the same channel of an image, or the pattern fits no file.
    """
    expression = re.compile(pattern)
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    files = []
    for file in sorted(collection.files, key=lambda file: os.fsencode(file.path)):
        found = expression.match(file.path)
        if found is None or found["image"] is None or found["channel"] is None:
            files.append(file)
            continue
        same = (found["image"], file.path[found.end() :])
        channels = groups.setdefault(same, {})
        if found["channel"] in channels:
            raise ManifestError(
                f"image.channel_pattern: {escape_name(channels[found['channel']])} and {escape_name(file.path)} are both "
                f"channel {found['channel']} of image {escape_name(found['image'])}; let the pattern tell them apart"
            )
        channels[found["channel"]] = file.path
    if not groups:
        raise ManifestError(
            f"image.channel_pattern: {pattern} fits none of {counted(len(files), 'file')}, such as "
            f"{escape_name(files[0].path) if files else 'none'}; paths are relative to the folder and have the suffix"
        )
    for channels in groups.values():
        first = next(iter(channels.values()))
        paths = [collection.root / path for path in channels.values()]
        files.append(_scanned(first, paths, tuple(channels.items())))
    return files


def _read_table(table: Path, look: bool = True) -> Collection:
    """The files that a table names; without a look at the disk, none."""
    read = read_table(table)
    collection = Collection(table.parent, [], columns=read.columns)
    for row in read.rows:
        if look and row.path not in collection.rows:
            names = [name for _, name in row.channels] or [row.path]
            paths = [table.parent / name for name in names]
            collection.files.append(_scanned(row.path, paths, row.channels))
        collection.rows.setdefault(row.path, []).append(TableRow(row.cells, row.values))
    return collection
