"""What a file holds, and one plane of it: the same for every format. Nothing is read but what is asked for."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np

from samfleet.content import is_zarr, stat_of
from samfleet.images.formats.decoding import decoding, finished
from samfleet.images.formats.image import (
    Image,
    ImageError,
    Limits,
    missing_reader,
    unreadable,
    unsupported,
)
from samfleet.images.units import about_sides, square_side
from samfleet.planes import ONLY, PROJECTIONS, Description, Plane, Scene, companions_digest


@dataclass(frozen=True, slots=True)
class Reading:
    """How planes are read.

    Attributes:
        limits: how large an image may be.
        lookup_table: "auto", "applied" or "ignored", the setting `image.lookup_table`.
        level: which resolution of a pyramid; 0 is the full one.
    """

    limits: Limits
    lookup_table: str = "auto"
    level: int = 0


class Source(Protocol):
    """An open file. To be constructed from a path and a `Reading`, which may raise ImageError.

    Whatever else its methods raise means that the file is damaged.
    """

    description: Description

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane with all its channels, as stored; reads nothing else.

        Must call `limits.check` before it reads, and raise an ImageError rather than return pixels that are
        not stored in the file.
        """

    def close(self) -> None:
        """Close the file."""


class PlaneWindows(Protocol):
    """Windows of one plane of an open file; `samfleet.images.windows` has what is made of them.

    Attributes:
        about: one pixel of the image as `Source.read` gives it, and what else is known of it.
        size: (height, width) in pixels.
    """

    about: Image
    size: tuple[int, int]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The pixels of rows y0 to y1 and columns x0 to x1, as `Source.read` would give them."""


@runtime_checkable
class WindowedSource(Protocol):
    """An open file of which windows can be read, so that a large plane need not fit into memory."""

    description: Description

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> PlaneWindows | None:
        """Windows of one plane; None if it can only be read whole.

        Args:
            scene, time, slice: as for `Source.read`.
            checked: whether all windows were read once, so that checks that take long can be left out.

        Raises:
            ImageError: the plane is not in the file.
        """


@runtime_checkable
class FolderSource(Protocol):
    """An open folder."""

    def folder(self, scene: int) -> Path:
        """The part of it that the pixels of a scene are in."""


MOST_CHUNK_BYTES = 1 << 27
"""Of a chunk of more bytes than this no window is read: who decodes it may as well read the whole plane."""


class PartWindows:
    """Windows of a plane of which a function reads any part.

    Args:
        scene: as described.
        part: the pixels of rows y0 to y1 and columns x0 to x1: (rows, columns, channels).
    """

    def __init__(self, scene: Scene, part: Callable[[int, int, int, int], np.ndarray]):
        self.size = scene.height, scene.width
        self.about = image_of(scene, part(0, 1, 0, 1))
        self._part = part

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The pixels of rows y0 to y1 and columns x0 to x1."""
        return self._part(y0, y1, x0, x1)


_HEAD = 512
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"II*\x00", "tiff", "TiffSource"),
    (0, b"MM\x00*", "tiff", "TiffSource"),
    (0, b"II+\x00", "tiff", "TiffSource"),
    (0, b"MM\x00+", "tiff", "TiffSource"),
    (0, b"\xda\xce\xbe\x0a", "nd2", "Nd2Source"),
    (0, b"\x70\x00\x00\x00", "lif", "LifSource"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "oif", "OifSource"),
    (0, b"\x89HDF\r\n\x1a\n", "ims", "ImsSource"),
    (0, b"ZISRAWFILE", "czi", "CziSource"),
    (96, b"\xa0\xc0", "dv", "DvSource"),
    (96, b"\xc0\xa0", "dv", "DvSource"),
)
"""Offset and bytes by which a format is told, and the module and class here that read it."""


def open_source(path: Path, reading: Reading) -> Source:
    """Open a file, or the folder of a Zarr, by its content; the caller closes it.

    Raises:
        ImageError: it cannot be read. OSError and MemoryError say nothing about the file.
    """
    module, name = format_of(path)
    with decoding():
        try:
            # imported only when a file needs it
            source_class = getattr(import_module(f"samfleet.images.sources.{module}"), name)
            return source_class(path, reading)
        except ModuleNotFoundError as error:
            raise missing_reader(f"this file is read by the package {error.name}") from error


def format_of(path: Path) -> tuple[str, str]:
    """The module and the class of this folder that read a file; raises ImageError for what is refused by name."""
    if path.is_dir():
        if not is_zarr(path):
            raise unsupported("a folder that is no Zarr")
        return "zarr", "ZarrSource"
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if path.suffix.lower() == ".vsi":
        raise unsupported(
            "a VSI, whose pixels are in other files, is not read; export it as OME-TIFF with cellSens, OlyVIA or QuPath"
        )
    for offset, signature, module, name in _SIGNATURES:
        if head.startswith(signature, offset):
            return module, name
    return ("oif", "OifSource") if path.suffix.lower() == ".oif" else ("flat", "FlatSource")


def part_of_folder(source: Source, plane: Plane) -> Path | None:
    """The part of an open folder that the pixels of an image are in; None for what is no folder."""
    return source.folder(plane.scene or 0) if isinstance(source, FolderSource) else None


def companions_of(path: Path, source: Source) -> str:
    """A digest of the files that an open file is a set with, as they are now; empty if it is none of a set.

    Raises:
        OSError: one is gone.
    """
    names = [companion.name for companion in source.description.companions]
    return companions_digest((name, *stat_of([path.parent / name])[:2]) for name in names)


def describe(path: Path, level: int = 0) -> Description:
    """What a file holds, from its header alone.

    Raises:
        ImageError: it cannot be read. OSError and MemoryError say nothing about the file.
    """
    source = open_source(path, Reading(Limits(2**62), level=level))
    try:
        return description_of(source)
    finally:
        source.close()


def description_of(source: Source) -> Description:
    """What an open file holds; raises ImageError if what it says of that is damaged."""
    with decoding():
        return source.description


def read(path: Path, plane: Plane, reading: Reading) -> Image:
    """One image of a file.

    Raises:
        ImageError: it cannot be read. OSError and MemoryError say nothing about the file.
    """
    source = open_source(path, reading)
    try:
        return read_plane(source, plane)
    finally:
        source.close()


def read_plane(source: Source, plane: Plane) -> Image:
    """One image of an open file: a plane, or a projection of Z, which has two planes in memory at a time.

    Raises:
        ImageError: it cannot be read. OSError and MemoryError say nothing about the file.
    """
    with decoding():
        scenes = source.description.scenes
        number, time = plane.scene or 0, plane.time or 0
        if not 0 <= number < len(scenes):
            raise unsupported(f"the file has {len(scenes)} scenes, and none is number {number}")
        scene = scenes[number]
        if scene.problem:
            status, _, reason = scene.problem.partition(": ")
            raise ImageError(status, reason)
        if plane.slice in PROJECTIONS and scene.slices > 1:
            image = _projected(source, number, time, scene.slices, plane.slice)
        else:
            slice = 0 if plane.slice in PROJECTIONS else int(plane.slice or 0)
            if not (0 <= time < scene.times and 0 <= slice < scene.slices):
                raise unreadable(f"the file has no {plane.words}")
            image = source.read(number, time, slice)
        if plane == ONLY:
            return finished(image)
        return finished(replace(image, plane=_words(plane, image)))


def image_of(scene: Scene, pixels: np.ndarray) -> Image:
    """A plane of a scene, with what the scene's description says of it.

    Args:
        scene: as described.
        pixels: (height, width, channels).
    """
    return Image(
        pixels,
        scene.is_color,
        warning=about_sides(scene.pixel_size_um),
        channels=() if scene.is_color else scene.channels,
        pixel_size_um=square_side(scene.pixel_size_um),
        acquired=scene.acquired,
    )


def plane_windows(source: Source, plane: Plane, checked: bool) -> PlaneWindows | None:
    """Windows of one image of an open file; None if it can only be read whole.

    Raises:
        ImageError: it cannot be read. OSError and MemoryError say nothing about the file.
    """
    if not isinstance(source, WindowedSource):
        return None
    with decoding():
        scenes = source.description.scenes
        number, time = plane.scene or 0, plane.time or 0
        if number >= len(scenes) or scenes[number].problem:
            return None
        scene = scenes[number]
        windows: PlaneWindows | None
        if plane.slice in PROJECTIONS and scene.slices > 1:
            windows = _projected_windows(source, number, time, scene.slices, plane.slice, checked)
        else:
            slice = 0 if plane.slice in PROJECTIONS else int(plane.slice or 0)
            if not (0 <= time < scene.times and 0 <= slice < scene.slices):
                return None
            windows = source.windows(number, time, slice, checked)
        if windows is not None and plane != ONLY:
            windows.about = replace(windows.about, plane=_words(plane, windows.about))
        return windows


def _words(plane: Plane, image: Image) -> str:
    return f"{plane.words} ({image.plane})" if image.plane.startswith("sharpest") else plane.words


def _projected(source: Source, scene: int, time: int, slices: int, kind: str) -> Image:
    """All slices of Z as one image."""
    warnings: dict[str, None] = {}
    read = partial(source.read, scene, time)
    images = _of_one_size(_readable(slices, read, warnings), warnings)
    words = ""
    if kind == "sharpest":
        number, image = max(images, key=lambda found: sharpness(found[1].pixels))
        words = f"sharpest: slice {number} of {slices}"
    else:
        first = next(images)
        parts = (image.pixels for _, image in chain([first], images))
        image = replace(first[1], pixels=_folded(kind, parts))
    return replace(image, plane=words, warning="; ".join(filter(None, warnings)))


_Found = TypeVar("_Found")


def _readable(
    slices: int, read: Callable[[int], _Found], warnings: dict[str, None]
) -> Iterator[tuple[int, _Found]]:
    """What is read of each slice of Z. One that is missing is left out, with a warning, unless all are."""
    lost = []
    for number in range(slices):
        try:
            found = read(number)
        except ImageError as error:
            if error.status != "unreadable":
                raise
            lost.append(error)
            continue
        yield number, found
    if len(lost) == slices:
        raise lost[-1]
    if lost:
        counted = f"{len(lost)} of {slices} slices cannot be read and are not in the projection"
        warnings.setdefault(f"{counted}: {lost[-1].reason}")


def _of_one_size(
    images: Iterator[tuple[int, Image]], warnings: dict[str, None]
) -> Iterator[tuple[int, Image]]:
    """The same, with their warnings gathered; raises ImageError if sizes differ."""
    shape = None
    for number, image in images:
        shape = shape or image.pixels.shape
        if image.pixels.shape != shape:
            raise unreadable(_DIFFERENT)
        warnings.setdefault(image.warning)
        yield number, image


_DIFFERENT = "the slices of Z are of different sizes"


def _folded(kind: str, parts: Iterable[np.ndarray]) -> np.ndarray:
    """The maximum or the mean of each pixel; of two parts, never more, is anything in memory."""
    count = 0
    for pixels in parts:
        count += 1
        if count == 1:
            dtype = pixels.dtype
            folded = pixels.astype(np.float64) if kind == "mean" else pixels
        elif kind == "mean":
            folded += pixels
        else:
            folded = np.fmax(folded, pixels)
    if kind == "mean":
        folded /= count
        folded = (np.rint(folded) if dtype.kind in "iub" else folded).astype(dtype)
    return folded


class _ProjectedWindows:
    """Windows of a projection, in which only a window of each slice is read."""

    def __init__(self, slices: list[PlaneWindows], kind: str, warnings: dict[str, None]):
        self._slices, self._kind = slices, kind
        self.size = slices[0].size
        abouts = _of_one_size(((n, each.about) for n, each in enumerate(slices)), warnings)
        pixels = _folded(kind, (about.pixels for _, about in abouts))
        warning = "; ".join(filter(None, warnings))
        self.about = replace(slices[0].about, pixels=pixels, warning=warning)

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The pixels of rows y0 to y1 and columns x0 to x1."""
        return _folded(self._kind, (each.read(y0, y1, x0, x1) for each in self._slices))


def _projected_windows(
    source: WindowedSource, scene: int, time: int, slices: int, kind: str, checked: bool
) -> PlaneWindows | None:
    """Windows of a projection; None if a slice has none, or all pixels must be seen to choose a slice."""
    if kind == "sharpest":
        return None
    warnings: dict[str, None] = {}
    found = []
    read = partial(source.windows, scene, time, checked=checked)
    for _, windows in _readable(slices, read, warnings):
        if windows is None:
            return None
        found.append(windows)
    if len({windows.size for windows in found}) > 1:
        raise unreadable(_DIFFERENT)
    return _ProjectedWindows(found, kind, warnings)


def sharpness(pixels: np.ndarray) -> float:
    """The variance of the Laplacian of the brightest channel, over (height, width, channels) pixels."""
    brightest = pixels if pixels.ndim == 2 else np.fmax.reduce(pixels, axis=2)
    values = np.nan_to_num(brightest.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return float(cv2.Laplacian(values, cv2.CV_64F).var())
