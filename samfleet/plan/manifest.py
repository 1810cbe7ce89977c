"""The manifest: every image file of a collection with the id of its content.

Standard library only, since the Snakefile imports this.
"""

import errno
import itertools
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from samfleet.digests import digest_of_rows, image_id_of_file
from samfleet.files import (
    TableError,
    escape_name,
    read_rows,
    unescape_name,
    write_rows,
    writing,
)
from samfleet.plan.collection import Collection, ScannedFile
from samfleet.results import MANIFEST_COLUMNS

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """An image file with the id of its content, or with the problem that prevented reading it."""

    path: str
    image_id: str
    size: int
    mtime_ns: int
    problem: str = ""


def read_manifest(path: str | Path, journal: bool = False) -> Iterator[ManifestRow]:
    """The rows of a manifest; none if the file does not exist.

    Args:
        journal: whether it is a journal of hashes, which may end in the middle of a line.

    Raises:
        TableError: the table is damaged.
    """
    for name, identity, size, mtime_ns, problem in read_rows(
        path, MANIFEST_COLUMNS, appended=journal
    ):
        try:
            row = ManifestRow(unescape_name(name), identity, int(size), int(mtime_ns), problem)
        except ValueError as error:
            raise TableError(path, f"size and time of {name} are damaged") from error
        yield row


def write_manifest(path: str | Path, rows: Iterable[ManifestRow]) -> None:
    """Write a manifest atomically."""
    write_rows(path, MANIFEST_COLUMNS, (_fields(row) for row in rows))


def manifest_digest(rows: Iterable[ManifestRow]) -> str:
    """The digest of the file that `write_manifest` makes of these rows."""
    return digest_of_rows(itertools.chain([MANIFEST_COLUMNS], map(_fields, rows)))


def _fields(row: ManifestRow) -> tuple:
    problem = escape_name(row.problem)
    return escape_name(row.path), row.image_id, row.size, row.mtime_ns, problem


def identify(
    collection: Collection, known: dict[tuple[str, int, int], str], journal: str | Path
) -> list[ManifestRow]:
    """Find the image id of every file, hashing only files whose stat is not in `known`.

    Args:
        known: image id by (path, size, mtime_ns).
        journal: every new hash is appended to this file at once, so that none is lost if the
            plan is interrupted.
    """
    new = [f for f in collection.files if (f.path, f.size, f.mtime_ns) not in known]
    hashed: dict[str, ManifestRow] = {}
    if new:
        Path(journal).parent.mkdir(parents=True, exist_ok=True)
        fresh = not os.path.exists(journal) or not os.path.getsize(journal)
        with (
            writing(journal),
            open(journal, "a", buffering=1, encoding="utf-8") as file,
            ThreadPoolExecutor(8) as pool,
        ):
            # the line feed ends a line that an interrupted plan did not finish
            file.write("\t".join(MANIFEST_COLUMNS) + "\n" if fresh else "\n")
            for row in _in_order(pool, collection.root, new):
                hashed[row.path] = row
                if not row.problem:
                    file.write("\t".join(map(str, _fields(row))) + "\n")
    return [
        hashed.get(f.path)
        or ManifestRow(f.path, known[f.path, f.size, f.mtime_ns], f.size, f.mtime_ns)
        for f in collection.files
    ]


def _in_order(
    pool: ThreadPoolExecutor, root: Path, files: list[ScannedFile]
) -> Iterator[ManifestRow]:
    """The rows of files in their order; a file that takes long is named while it is waited for."""
    for file, future in [(file, pool.submit(_identify_file, root, file)) for file in files]:
        try:
            row = future.result(_PATIENCE_SECONDS)
        except TimeoutError:
            name = escape_name(file.path)
            logger.warning(
                "%s: its content does not come in %g s; waiting", name, _PATIENCE_SECONDS
            )
            row = future.result()
        yield row


def _identify_file(root: Path, file: ScannedFile) -> ManifestRow:
    try:
        if file.mode and not stat.S_ISREG(file.mode):
            raise OSError(errno.EINVAL, "not a regular file")  # opening a pipe would block for ever
        identity, size = image_id_of_file(root / file.path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return ManifestRow(file.path, "", file.size, file.mtime_ns, f"cannot be read: {reason}")
    return ManifestRow(file.path, identity, size, file.mtime_ns)
