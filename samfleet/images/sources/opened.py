"""Files that stay open between the planes that are read of them one after another."""

from collections.abc import Sequence
from pathlib import Path

from samfleet.images.sources.joined import JoinedSource
from samfleet.images.sources.source import Reading, Source, format_of, open_source

_WHOLE = 2**28
"""Bytes of the largest file that is read at once."""
_last: dict[tuple, Source] = {}


def is_read_whole(path: Path) -> bool:
    """Whether a file is read at once: it is not large, and of a format whose files usually hold one image."""
    if path.is_dir():
        return False
    module, _ = format_of(path)
    return module in ("flat", "tiff") and path.stat().st_size <= _WHOLE


def opened_source(
    path: Path,
    channels: Sequence[tuple[str, Path]],
    stat: tuple[int, int],
    reading: Reading,
) -> Source:
    """An open file, or open files that are joined; the last one stays open until another is asked for.

    Args:
        path: the file.
        channels: (name, path) of joined files, instead of the file.
        stat: size and time of the file, by which it is known to be the same.
        reading: how it is read.

    Raises:
        ImageError: it cannot be read. OSError and MemoryError say nothing about the file.
    """
    key = (path, tuple(channels), stat, reading)
    if key not in _last:
        close_source()
        _last[key] = JoinedSource(channels, reading) if channels else open_source(path, reading)
    return _last[key]


def close_source() -> None:
    """Close what is open, since it may not be what it was taken for."""
    while _last:
        _last.popitem()[1].close()
