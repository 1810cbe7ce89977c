"""Find the files of a collection: those in a folder, or those that a table names.

Standard library only, since the Snakefile imports this.
"""

import heapq
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from samfleet.digests import digest_of, digest_of_rows
from samfleet.files import escape_name
from samfleet.marker import MARKER, kind_of, listed
from samfleet.plan.table import ManifestError, read_table
from samfleet.resources import DEMO_FOLDER
from samfleet.wording import counted, looked_for


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """An image file as the file system describes it; `path` is relative to the collection's root."""

    path: str
    size: int
    mtime_ns: int
    mode: int


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
        values: for each path the values of these columns.
    """

    root: Path
    files: list[ScannedFile]
    ignored: Counter = field(default_factory=Counter)
    own: list[str] = field(default_factory=list)
    strangers: Counter = field(default_factory=Counter)
    columns: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)

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
        return digest_of_rows(
            (escape_name(f.path), f.size, f.mtime_ns, f.mode & 0o777) for f in self.files
        )


def scan_collection(images: str, suffixes: Iterable[str], results: str | Path) -> Collection:
    """List the image files of a folder (recursively) or of a CSV or TSV table.

    Args:
        images: a folder, a table with a column `image`, or "demo" for the embedded images.
        suffixes: endings of the names of image files in a folder, such as ".tif", in any case.
        results: the folder that samfleet writes to, which is not searched; nor is any other that it made.

    Raises:
        ManifestError: it does not exist or has no image file, or the table is not valid.
    """
    source = _source(images)
    if os.path.isdir(source):  # unlike Path.is_dir, it never raises
        collection = _scan_folder(source, tuple(s.lower() for s in suffixes), Path(results))
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


def collection_columns(images: str) -> tuple[list[str], dict[str, list[str]]]:
    """The user's further columns, and their values by path; empty unless `images` is a table."""
    if not os.path.isfile(_source(images)):
        return [], {}
    table = _read_table(_source(images))
    return table.columns, table.values


def columns_digest(columns: list[str], values: dict[str, list[str]]) -> str:
    """A digest of the user's further columns, as `collection_columns` returns them."""
    return digest_of([columns, sorted((escape_name(path), own) for path, own in values.items())])


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
        if any(entry.name == MARKER for entry in entries):
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
            path = os.path.join(folder, entry.name)
            if entry.name.startswith("."):
                continue
            if _is_folder(entry) and entry.is_symlink():
                heapq.heappush(links, path)
            elif _is_folder(entry):
                folders.append(path)
            elif entry.name.lower().endswith(suffixes) and _is_own(entry):
                collection.own.append(path)
                collection.strangers[path] += not _is_listed(os.path.realpath(entry.path))
            elif entry.name.lower().endswith(suffixes):
                collection.files.append(_scanned(path, entry.path))
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


def _scanned(path: str, full_path: str | Path) -> ScannedFile:
    """A file's stat; zeros if there is none, as for a dangling link. The plan reports such a file."""
    try:
        found = os.stat(full_path)
    except OSError:
        return ScannedFile(path, 0, 0, 0)
    return ScannedFile(path, found.st_size, found.st_mtime_ns, found.st_mode)


def _read_table(table: Path) -> Collection:
    read = read_table(table)
    collection = Collection(table.parent, [], columns=read.columns)
    for _, path, values in read.rows:
        collection.files.append(_scanned(path, table.parent / path))
        collection.values[path] = values
    return collection
