"""The manifest: every image of a collection with its id; and what is known of the files that hold them.

Standard library only, since the Snakefile imports this.
"""

import errno
import itertools
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from samfleet.content import digest_of_content, is_zarr
from samfleet.digests import digest_of, digest_of_file, digest_of_lines, digest_of_rows
from samfleet.files import (
    TableError,
    escape_name,
    read_rows,
    unescape_name,
    write_lines,
    write_rows,
    writing,
)
from samfleet.images.sources.counting import holds_one_image
from samfleet.plan.collection import Collection, ScannedFile
from samfleet.planes import (
    NO_CELLS,
    ONLY,
    PROJECTIONS,
    Cells,
    Description,
    Plane,
    Selected,
    Selection,
    cells_of,
    cells_text,
    channels_of,
    channels_text,
    companions_digest,
    image_id_of_plane,
    select,
)
from samfleet.results import FILE_COLUMNS, MANIFEST_COLUMNS

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 60.0
_GROUP_FILES, _GROUP_BYTES = 16, 1 << 22


class ManifestRow(NamedTuple):
    """An image with its id, or with the problem that prevented reading it.

    Attributes:
        path: of its file.
        image_id: empty if there is a problem.
        size, mtime_ns: of the file.
        problem: why it cannot be read; begins with a status and a colon unless that is `unreadable`.
        cells: which image of the file it is; as a table says it, if the file does not have it or cannot be read.
        channels: (name, path) of the files that are its channels, if it is joined from several.
        asked: the cells of the first row of a table that selects it.
    """

    path: str
    image_id: str
    size: int
    mtime_ns: int
    problem: str = ""
    cells: Cells = NO_CELLS
    channels: tuple[tuple[str, str], ...] = ()
    asked: Cells = NO_CELLS

    @property
    def plane(self) -> Plane:
        """Which image of the file it is, of one with an id."""
        return Plane.of_cells(*self.cells)


class KnownFile(NamedTuple):
    """A file of the collection, as it was read.

    Attributes:
        path: relative to the collection's root; of joined files that of the first.
        digest: of its content; empty if there is a problem.
        size, mtime_ns: as it was found.
        description: what it holds, as text; empty if it is one image.
        problem: why it cannot be read.
        channels: (name, path) of the files that are joined.
    """

    path: str
    digest: str
    size: int
    mtime_ns: int
    description: str = ""
    problem: str = ""
    channels: tuple[tuple[str, str], ...] = ()


def read_manifest(path: str | Path) -> Iterator[ManifestRow]:
    """The rows of a manifest; none if the file does not exist.

    Raises:
        TableError: the table is damaged.
    """
    for row in read_rows(path, MANIFEST_COLUMNS):
        name, identity, size, mtime_ns, problem, scene, time, slice, channels, asked = row
        try:
            image = ManifestRow(
                unescape_name(name),
                identity,
                int(size),
                int(mtime_ns),
                problem,
                (unescape_name(scene), time, slice) if scene or time or slice else NO_CELLS,
                channels_of(channels),
                cells_of(asked),
            )
            if identity:
                Plane.of_cells(*image.cells)
        except ValueError as error:
            raise TableError(path, f"numbers of {name} are damaged") from error
        yield image


def write_manifest(path: str | Path, rows: Iterable[ManifestRow]) -> None:
    """Write a manifest atomically."""
    write_lines(path, _lines(rows))


def manifest_digest(rows: Iterable[ManifestRow]) -> str:
    """The digest of the file that `write_manifest` makes of these rows."""
    return digest_of_lines(_lines(rows))


def _lines(rows: Iterable[ManifestRow]) -> Iterator[str]:
    yield "\t".join(MANIFEST_COLUMNS) + "\n"
    for path, identity, size, mtime_ns, problem, (scene, time, slice), channels, asked in rows:
        problem = escape_name(problem) if problem else ""
        which = f"{escape_name(scene) if scene else ''}\t{time}\t{slice}"
        joined = channels_text(channels) if channels else ""
        wanted = cells_text(asked) if any(asked) else ""
        yield f"{escape_name(path)}\t{identity}\t{size}\t{mtime_ns}\t{problem}\t{which}\t{joined}\t{wanted}\n"


def read_known_files(path: str | Path, journal: bool = False) -> Iterator[KnownFile]:
    """The files in a table of descriptions, or in a journal of hashes; none if it does not exist.

    Args:
        journal: whether it is a journal, which may end in the middle of a line.

    Raises:
        TableError: the table is damaged.
    """
    for name, digest, size, mtime_ns, description, channels in read_rows(
        path, FILE_COLUMNS, appended=journal
    ):
        try:
            if description:
                Description.of_json(description)
            yield KnownFile(
                unescape_name(name),
                digest,
                int(size),
                int(mtime_ns),
                description,
                channels=channels_of(channels),
            )
        except ValueError as error:
            raise TableError(path, f"what is said of {name} is damaged") from error


def write_known_files(path: str | Path, files: Iterable[KnownFile]) -> None:
    """Write a table of descriptions atomically."""
    write_rows(path, FILE_COLUMNS, map(_file_fields, files))


def known_files_digest(files: Iterable[KnownFile]) -> str:
    """The digest of the file that `write_known_files` makes of these."""
    return digest_of_rows(itertools.chain([FILE_COLUMNS], map(_file_fields, files)))


def _file_fields(file: KnownFile) -> tuple:
    return (
        escape_name(file.path),
        file.digest,
        file.size,
        file.mtime_ns,
        file.description,
        channels_text(file.channels),
    )


Describe = Callable[[list[Path], list[str]], str]
"""Gives the description of a file, or of joined files with the names of their channels, as text."""


def identify(
    collection: Collection,
    known: Mapping[tuple, KnownFile],
    journal: str | Path,
    describe: Describe = lambda paths, names: "",
) -> list[KnownFile]:
    """Find the digest of every file and what it holds, reading only files whose stat is not in `known`.

    Args:
        known: files by what `ScannedFile.key` gives.
        journal: every new hash is appended to this file at once, so that none is lost if the
            plan is interrupted.
        describe: tells what a file holds that may hold several images.
    """
    new = [f for f in collection.files if f.key not in known]
    hashed: dict[tuple, KnownFile] = {}
    if new:
        Path(journal).parent.mkdir(parents=True, exist_ok=True)
        fresh = not os.path.exists(journal) or not os.path.getsize(journal)
        with (
            writing(journal),
            open(journal, "a", buffering=1, encoding="utf-8") as file,
            ThreadPoolExecutor(8) as pool,
        ):
            # the line feed ends a line that an interrupted plan did not finish
            file.write("\t".join(FILE_COLUMNS) + "\n" if fresh else "\n")
            for scanned, found in _in_order(pool, collection.root, new, describe):
                hashed[scanned.key] = found
                if not found.problem:
                    file.write("\t".join(map(str, _file_fields(found))) + "\n")
    return [hashed.get(f.key) or known[f.key] for f in collection.files]


def _in_order(
    pool: ThreadPoolExecutor, root: Path, files: list[ScannedFile], describe: Describe
) -> Iterator[tuple[ScannedFile, KnownFile]]:
    """Files in their order; one that takes long is named while it is waited for."""
    work = []
    for group in _groups(files):
        found: list[KnownFile] = []
        work.append((group, found, pool.submit(_identify_files, root, group, describe, found)))
    for group, found, future in work:
        try:
            future.result(_PATIENCE_SECONDS)
        except TimeoutError:
            name = escape_name(group[min(len(found), len(group) - 1)].path)
            logger.warning(
                "%s: its content does not come in %g s; waiting", name, _PATIENCE_SECONDS
            )
            future.result()
        yield from zip(group, found, strict=True)


def _groups(files: list[ScannedFile]) -> Iterator[list[ScannedFile]]:
    """Neighbouring files that one thread reads, since handing over a small one costs more than reading it."""
    group: list[ScannedFile] = []
    size = 0
    for file in files:
        if group and (len(group) == _GROUP_FILES or size + file.size > _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


def _identify_files(
    root: Path, files: list[ScannedFile], describe: Describe, found: list[KnownFile]
) -> None:
    for file in files:
        found.append(_identify_file(root, file, describe))


def _identify_file(root: Path, file: ScannedFile, describe: Describe) -> KnownFile:
    description = ""
    try:
        is_folder = stat.S_ISDIR(file.mode) and (file.channels or is_zarr(root / file.path))
        if file.mode and not (stat.S_ISREG(file.mode) or is_folder):
            raise OSError(errno.EINVAL, "not a regular file")  # opening a pipe would block for ever
        if file.channels or is_folder:
            names = [name for name, _ in file.channels]
            paths = [root / path for _, path in file.channels] or [root / file.path]
            digest, size = digest_of_content(paths, names)
            description = describe(paths, names)
        else:
            path = root / file.path
            with open(path, "rb") as opened:
                digest, size, beginning = digest_of_file(opened)
                is_one = holds_one_image(opened, beginning, file.path)
            if not is_one:
                description = describe([path], [])
                digest = _with_companions(path, digest, description)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
        if file.channels and error.filename:
            reason += f" ({Path(error.filename).name})"
        return KnownFile(file.path, "", file.size, file.mtime_ns, "", reason, file.channels)
    except (
        ImportError,
        MemoryError,
    ) as error:  # not for good, so nothing may be stored under its digest
        lacking = (
            "too little memory to see which images it holds; run once with --config rehash=True"
        )
        reason = f"unsupported: {error}" if isinstance(error, ImportError) else lacking
        return KnownFile(file.path, "", file.size, file.mtime_ns, "", reason, file.channels)
    return KnownFile(file.path, digest, size, file.mtime_ns, description, "", file.channels)


def _with_companions(path: Path, digest: str, description: str) -> str:
    """The digest of a file of a set, to which the others of the set that lie beside it belong."""
    companions = Description.of_json(description).companions if description else ()
    if not companions:
        return digest
    names = [companion.name for companion in companions]
    others, _ = digest_of_content([path.parent / name for name in names], names)
    return digest_of([digest, others])


def has_its_companions(folder: Path, file: KnownFile) -> bool:
    """Whether the other files of a file's set are as they were when it was described."""
    if '"companions"' not in file.description:
        return True
    try:
        for name, size, mtime_ns in Description.of_json(file.description).companions:
            found = os.stat(folder / Path(file.path).parent / name)
            if (found.st_size, found.st_mtime_ns) != (size, mtime_ns):
                return False
    except OSError:
        return False
    return True


def digests_of_companions(files: Iterable[KnownFile]) -> dict[str, str]:
    """By the path of each file of a set a digest of what the others of the set were when it was described."""
    return {
        file.path: companions_digest(Description.of_json(file.description).companions)
        for file in files
        if '"companions"' in file.description
    }


def images_of_file(
    file: KnownFile, selections: Mapping[Cells, Selection]
) -> tuple[list[ManifestRow], Selected]:
    """The images of a file that any of several selections wants, each once, and what they leave out.

    An image belongs to the first selection that wants it.

    A selection that finds nothing in the file gives a row with the reason and the cells that ask for it, unless
    an image has these.

    Args:
        file: as it was read.
        selections: by the cells that ask for them.
    """
    if not file.description and selections == {NO_CELLS: EVERYTHING}:
        return [only_image(file)], Selected()
    description = Description.of_json(file.description) if file.description else None
    found: dict[Cells, tuple[Plane, str, Cells]] = {}
    images: set[Cells] = set()
    total = Selected()
    for cells, selection in selections.items():
        if file.problem:
            found[cells] = ONLY, file.problem, cells
            continue
        selected = select(description, selection)
        for plane, problem in selected.planes:
            if plane.cells in images:
                total.again.append(plane.cells)
                slices = 0
                if description and plane.slice in PROJECTIONS:
                    slices = description.scenes[plane.scene or 0].slices
                total.projected -= slices
                total.shown -= slices or 1
                continue
            images.add(plane.cells)
            found[plane.cells] = plane, problem, cells
        if selected.missing:
            found.setdefault(cells, (ONLY, selected.missing, cells))
        total.held = selected.held
        total.shown += selected.shown
        total.projected = min(total.held, total.projected + selected.projected)
    rows = [
        ManifestRow(
            file.path,
            "" if problem else image_id_of_plane(file.digest, plane),
            file.size,
            file.mtime_ns,
            problem,
            cells,
            file.channels,
            asked,
        )
        for cells, (plane, problem, asked) in found.items()
    ]
    return rows, total


def only_image(file: KnownFile) -> ManifestRow:
    """The one image of a file, or the one row of a file with a problem."""
    return ManifestRow(
        file.path, file.digest, file.size, file.mtime_ns, file.problem, NO_CELLS, file.channels
    )


EVERYTHING = Selection()
"""What is selected where the configuration says nothing."""
