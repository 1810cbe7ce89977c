"""An image that stays in its file: any window of it can be read, in any process."""

import errno
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from samfleet.content import is_unchanged, recent_stat
from samfleet.images.formats.decoding import decoding, normalised
from samfleet.images.formats.image import Image, ImageError, Limits, unsupported
from samfleet.images.sources.joined import JoinedSource
from samfleet.images.sources.opened import opened_source
from samfleet.images.sources.source import (
    Reading,
    Source,
    WindowedSource,
    companions_of,
    open_source,
    part_of_folder,
    plane_windows,
)
from samfleet.planes import Plane

MOST_PIXELS = (1 << 32) - 1
"""Run lengths of COCO are counted in 32 bits."""

Stamp = tuple[int, int]
"""Size and time of files, by which they are known to be the same."""


class ChangedFile(OSError):
    """A file is another one than it was when reading it began."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, "the file has changed while it was being read")


class FileWindows:
    """Windows of an image in a file. Another process to which this is sent opens the file itself.

    Args:
        path: the file.
        channels: (name, path) of files that are joined as channels, instead of the file.
        plane: which image of it.
        reading: how it is read; its limits do not matter.
        stamp: size and time that the files must have; None for whatever they are.
        companions: what `companions_of` must give; None for whatever it does.

    Attributes:
        about: one pixel of the image, and what else is known of it.
        source: the open file.
        shape, dtype, is_color: as `Windows` explains them.
        stamp: of the files.
        companions: of the file.

    Raises:
        ImageError: the file is damaged or not supported, or windows of it cannot be read.
        OSError: it cannot be read, or is another one than `stamp` says.
    """

    about: Image

    def __init__(
        self,
        path: Path,
        channels: tuple[tuple[str, Path], ...],
        plane: Plane,
        reading: Reading,
        stamp: Stamp | None = None,
        companions: str | None = None,
    ):
        self._path, self._channels, self._plane, self._reading = path, channels, plane, reading
        self._paths = [file for _, file in channels] or [path]
        self.stamp = stamp or recent_stat(self._paths, anew=True)[:2]
        self._check_stamp()
        self.source: Source = (
            JoinedSource(channels, reading) if channels else open_source(path, reading)
        )
        now = companions_of(path, self.source)
        self.companions = now if companions is None else companions
        windows = plane_windows(self.source, plane, stamp is not None)
        if windows is None:
            self.source.close()
            raise unsupported("it can only be read whole")
        self._windows = windows
        height, width = windows.size
        self.about = windows.about
        pixel = normalised(self.about.pixels)
        self.shape, self.dtype = (height, width, pixel.shape[2]), pixel.dtype
        self.is_color = self.about.is_color
        if height * width > MOST_PIXELS:
            raise ImageError(
                "too_large",
                f"{width} x {height} pixels are more than COCO's run lengths can count ({MOST_PIXELS})",
            )

    def _check_stamp(self) -> None:
        if recent_stat(self._paths)[:2] != self.stamp:
            raise ChangedFile

    def check(self) -> None:
        """Check, when its windows have been read, that the file was the same all the time.

        Raises:
            OSError: it was not.
        """
        part = part_of_folder(self.source, self._plane)
        now = companions_of(self._path, self.source)
        if now != self.companions or not is_unchanged(self._paths, self.stamp, part):
            raise ChangedFile

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self._check_stamp()
        with decoding():
            return normalised(self._windows.read(y0, y1, x0, x1))

    def __reduce__(self) -> tuple:
        recipe = (self._path, self._channels, self._plane, self._reading, self.stamp)
        return _reopened, (*recipe, self.companions)


@lru_cache(maxsize=2)
def _reopened(
    path: Path,
    channels: tuple[tuple[str, Path], ...],
    plane: Plane,
    reading: Reading,
    stamp: Stamp,
    companions: str,
) -> FileWindows:
    return FileWindows(path, channels, plane, reading, stamp, companions)


def large_image(
    path: Path,
    channels: tuple[tuple[str, Path], ...],
    plane: Plane,
    reading: Reading,
    more_than: int,
) -> FileWindows | None:
    """Windows of an image of more than so many pixels; None if it is smaller, or to be read whole.

    Args:
        path, channels, plane: as `FileWindows` explains them.
        reading: how it is read whole.
        more_than: pixels.

    Raises:
        ImageError: it is larger than any image may be.
        OSError: it cannot be read.
    """
    try:
        if _pixels(path, channels, plane, reading) <= more_than:
            return None
        return FileWindows(path, channels, plane, replace(reading, limits=Limits(1 << 62)))
    except ImageError as error:
        if error.status == "too_large":
            raise
        return None  # whoever reads it whole says what is wrong


def _pixels(
    path: Path, channels: tuple[tuple[str, Path], ...], plane: Plane, reading: Reading
) -> int:
    """How many pixels an image has, of a format that has windows; else 0. The file stays open for who reads it next."""
    stamp = recent_stat([file for _, file in channels] or [path])[:2]
    source = opened_source(path, channels, stamp, reading)
    if not isinstance(source, WindowedSource):
        return 0
    with decoding():
        scenes, number = source.description.scenes, plane.scene or 0
        return scenes[number].height * scenes[number].width if number < len(scenes) else 0
