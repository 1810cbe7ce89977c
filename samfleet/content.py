"""Size, time and digest of what is one file to us: a file, the folder of a Zarr, or several files joined.

Standard library only, since the Snakefile imports this.
"""

import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from samfleet.digests import digest_of, digest_of_rows, image_id_of_file

ZARR_METADATA = frozenset({"zarr.json", ".zattrs", ".zgroup", ".zarray"})
"""Names of the files that make a folder one of Zarr."""


def is_zarr(folder: str | Path) -> bool:
    """Whether a folder is one of Zarr, by what is in it or by its name."""
    return os.fspath(folder).lower().endswith(".zarr") or not ZARR_METADATA.isdisjoint(
        os.listdir(folder)
    )


def stat_of(paths: Sequence[str | Path]) -> tuple[int, int, int]:
    """Size, time in ns, and mode of files that are one to us.

    Of a folder or of several files, the size is the sum, the mode that of the first, and the time a number that
    changes with the name, size or time of any file.

    Raises:
        OSError: one cannot be looked at.
    """
    return _look(paths)[0]


_Folders = dict[str, tuple[int, int]]
"""For every folder the number of its files, and what changes with the name, size or time of any."""


def _look(paths: Sequence[str | Path]) -> tuple[tuple[int, int, int], _Folders]:
    """What `stat_of` returns, and what was seen in each folder."""
    first = os.stat(paths[0])
    if len(paths) == 1 and not stat.S_ISDIR(first.st_mode):
        return (first.st_size, first.st_mtime_ns, first.st_mode), {}
    rows, folders = [], _Folders()
    for path in paths:
        for name, file in _files(path):
            found = os.stat(file)
            rows.append((name, found.st_size, found.st_mtime_ns))
            count, mixed = folders.get(folder := os.path.dirname(file), (0, 0))
            seen = hash((file, found.st_size, found.st_mtime_ns))
            folders[folder] = count + 1, mixed ^ seen
    total = sum(size for _, size, _ in rows)
    return (total, int(digest_of_rows(rows)[:15], 16), first.st_mode), folders


@dataclass(frozen=True)
class _Look:
    """What was seen of folders, how long that took, and until when it is good enough."""

    found: tuple[int, int, int]
    folders: _Folders
    seconds: float
    until: float


_RARELY = 20
_QUICKLY = 0.05
_last: dict[tuple, _Look] = {}


def recent_stat(paths: Sequence[str | Path], anew: bool = False) -> tuple[int, int, int]:
    """Like `stat_of`, but of folders perhaps what was found a moment ago: asking takes a twentieth of the time at most.

    The folder of a plate has very many files, and is asked for with every image and window.

    Args:
        paths: of files that are one to us.
        anew: whether to look in any case.

    Raises:
        OSError: one cannot be looked at.
    """
    key = tuple(paths)
    start = time.monotonic()
    if (last := _last.get(key)) and start < last.until and not anew:
        return last.found
    found, folders = _look(paths)
    _last.clear()
    if any(map(os.path.isdir, paths)):
        end = time.monotonic()
        _last[key] = _Look(found, folders, end - start, end + _RARELY * (end - start))
    return found


def is_unchanged(
    paths: Sequence[str | Path], found: tuple[int, int], part: str | Path | None = None
) -> bool:
    """Whether files that are one to us are still as `recent_stat` has just found them, in size and time.

    Args:
        paths: of the files.
        found: what it found.
        part: the folder within a folder that matters. What takes longer to look at than a moment is looked at as
            rarely as `recent_stat` does.

    Raises:
        OSError: one cannot be looked at.
    """
    if (last := _last.get(tuple(paths))) is None:
        return recent_stat(paths)[:2] == found
    inside = os.fspath(part or paths[0])
    before = {
        folder: seen
        for folder, seen in last.folders.items()
        if folder == inside or folder.startswith(inside + os.sep)
    }
    files, all_files = (sum(n for n, _ in each.values()) for each in (before, last.folders))
    if len(paths) > 1 or not before or last.seconds * files > _QUICKLY * all_files:
        return recent_stat(paths, anew=last.seconds <= _QUICKLY)[:2] == found
    return last.found[:2] == found and _look([inside])[1] == before


def _files(path: str | Path) -> Iterator[tuple[str, str]]:
    """(relative name, path) of a file, or of every file in a folder, in the order of names."""
    path = os.fspath(path)
    if not os.path.isdir(path):
        yield "", path
        return
    found = []
    for folder, folders, files in os.walk(path, followlinks=False):
        folders.sort()
        found += [os.path.join(folder, name) for name in files]
    for file in sorted(found):
        yield os.path.relpath(file, path).encode("utf-8", "surrogateescape").hex(), file


def digest_of_content(paths: Sequence[str | Path], names: Sequence[str] = ()) -> tuple[str, int]:
    """The digest and the number of bytes of files that are one to us.

    Args:
        paths: one file or folder, or several files.
        names: of the channels that several files are.

    Raises:
        OSError: one cannot be read.
    """
    if len(paths) == 1 and not os.path.isdir(paths[0]):
        return image_id_of_file(paths[0])
    digests, total = [], 0
    for path in paths:
        rows = []
        for name, file in _files(path):
            digest, size = image_id_of_file(file)
            rows.append((name, digest))
            total += size
        digests.append(digest_of_rows(rows))
    return digest_of([digests, list(names)]), total
