"""Files that are the channels of one image each, as plates are often exported."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from samfleet.images.formats.image import Image, ImageError, Limits, unreadable, unsupported
from samfleet.images.sources.source import (
    PlaneWindows,
    Reading,
    Source,
    WindowedSource,
    description_of,
    open_source,
)
from samfleet.planes import Description, Scene


class JoinedSource:
    """Open files of equal size, the channels of which are those of one image, in this order.

    A file of one channel gives it its name; those of several are numbered.
    """

    def __init__(self, channels: Sequence[tuple[str, Path]], reading: Reading):
        self._names = [name for name, _ in channels]
        self._paths = [path for _, path in channels]
        self._reading = reading
        self._stack = ExitStack()
        self._sources: list[Source] = []
        try:
            for path in self._paths:
                with _naming(path):
                    source = open_source(path, reading)
                    self._stack.callback(source.close)
                    self._sources.append(source)
            self.description = self._joined()
        except BaseException:
            self._stack.close()
            raise

    def _joined(self) -> Description:
        found = []
        for path, source in zip(self._paths, self._sources, strict=True):
            with _naming(path):
                found.append(description_of(source))
        first = found[0]
        for path, other in zip(self._paths, found, strict=True):
            if [_extent(scene) for scene in other.scenes] != [_extent(s) for s in first.scenes]:
                raise unsupported(
                    f"the files of its channels differ: {path.name} holds {_words(other)}, "
                    f"{self._paths[0].name} {_words(first)}"
                )
        scenes = []
        for scenes_of in zip(*(each.scenes for each in found), strict=True):
            names = [
                _name(name, number, len(scene.channels))
                for name, scene in zip(self._names, scenes_of, strict=True)
                for number in range(len(scene.channels))
            ]
            problem = next((scene.problem for scene in scenes_of if scene.problem), "")
            scenes.append(
                replace(scenes_of[0], channels=tuple(names), is_color=False, problem=problem)
            )
        return Description(tuple(scenes))

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane of all files."""
        images = []
        for path, source in zip(self._paths, self._sources, strict=True):
            with _naming(path):
                images.append(source.read(scene, time, slice))
        image = self._together(images)
        height, width, count = image.pixels.shape
        self._reading.limits.check(height, width, count, image.pixels.itemsize)
        return image

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> "_JoinedWindows | None":
        """Windows of one plane of all files; None if one of them has none."""
        found = []
        for path, source in zip(self._paths, self._sources, strict=True):
            with _naming(path):
                windows = None
                if isinstance(source, WindowedSource):
                    windows = source.windows(scene, time, slice, checked)
            if windows is None:
                return None
            found.append(windows)
        about = self._together([windows.about for windows in found])
        return _JoinedWindows(self._paths, found, about)

    def _together(self, images: list[Image]) -> Image:
        """The images of the files as one; raises ImageError if their pixels are of different types."""
        pixels = [_with_channels(image.pixels) for image in images]
        if len({each.dtype for each in pixels}) > 1:
            raise unsupported(
                f"the files of its channels are of different types: {', '.join(str(each.dtype) for each in pixels)}"
            )
        names = [
            _name(name, number, each.shape[2])
            for name, each in zip(self._names, pixels, strict=True)
            for number in range(each.shape[2])
        ]
        warnings = dict.fromkeys(image.warning for image in images if image.warning)
        return Image(
            np.concatenate(pixels, axis=2),
            False,
            warning="; ".join(warnings),
            channels=tuple(names),
            pixel_size_um=next((i.pixel_size_um for i in images if i.pixel_size_um), None),
            acquired=next((image.acquired for image in images if image.acquired), ""),
        )

    def close(self) -> None:
        """Close the files."""
        self._stack.close()


class _JoinedWindows:
    """Windows of one plane of all files."""

    def __init__(self, paths: list[Path], found: list[PlaneWindows], about: Image):
        self._paths, self._found, self.about = paths, found, about
        self.size = found[0].size

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The pixels of rows y0 to y1 and columns x0 to x1."""
        parts = []
        for path, windows in zip(self._paths, self._found, strict=True):
            with _naming(path):
                parts.append(_with_channels(windows.read(y0, y1, x0, x1)))
        return np.concatenate(parts, axis=2)


class _naming:
    """A block in which errors are said to be those of a file."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ImageError):
            raise type(error)(error.status, f"{self._path.name}: {error.reason}") from error
        if isinstance(error, FileNotFoundError):
            raise unreadable(f"{self._path.name}: there is no such file") from error


def _extent(scene: Scene) -> tuple[int, ...]:
    return scene.times, scene.slices, scene.height, scene.width


def _words(description: Description) -> str:
    scene = description.scenes[0]
    return f"{description.images} of {scene.width} x {scene.height} pixels"


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _name(name: str, number: int, channels: int) -> str:
    return name if channels == 1 else f"{name}_{number}"


def describe(paths: Sequence[Path], names: Sequence[str]) -> Description:
    """What joined files hold; raises ImageError if they do not fit each other."""
    source = JoinedSource(list(zip(names, paths, strict=True)), Reading(Limits(2**62)))
    try:
        return source.description
    finally:
        source.close()
