"""Zeiss' CZI, read by `czifile` of 2026 or newer.

Earlier versions returned other values at each reading of one file, and later ones need Python 3.12: without one, CZI is
refused.
"""

import contextlib
import math
import statistics
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.images.formats.image import Image, check_level, missing_reader, unreadable
from samfleet.images.sources.axes import Axes, height_width_channels, place_name, real
from samfleet.images.sources.source import MOST_CHUNK_BYTES, PartWindows, Reading, image_of
from samfleet.images.units import iso_time, pixel_side
from samfleet.planes import Description, PixelSide, Scene

_OLDEST = 2026
_SUBBLOCK = "ZISRAWSUBBLOCK"
_NOT_THERE = "this plane is not in the file"


class _Subblocks:
    """Subblocks of one channel of a plane, of which later ones cover earlier ones."""

    def __init__(self, entries: list[Any]):
        self._entries = entries
        ends = []
        for entry in entries:
            at, sizes = (dict(zip(entry.dims, n, strict=True)) for n in (entry.start, entry.shape))
            ends.append([at["X"], at["Y"], at["X"] + sizes["X"], at["Y"] + sizes["Y"]])
        self._left, self._top, self._right, self._bottom = np.array(ends).T

    def within(self, left: int, top: int, width: int, height: int) -> tuple[Any, ...]:
        """Those that touch a part of the plane."""
        columns = (self._left < left + width) & (self._right > left)
        rows = (self._top < top + height) & (self._bottom > top)
        return tuple(self._entries[number] for number in np.flatnonzero(rows & columns))


class CziSource:
    """An open CZI."""

    def __init__(self, path: Path, reading: Reading):
        czifile = _trusted_czifile()
        self._reading = reading
        self._file = czifile.CziFile(path)
        self._images = [(number, self._file.scenes[number]) for number in self._file.scenes]
        self._places = [
            (number, image, axes, place)
            for number, image in self._images
            for axes in [_axes_of(image)]
            for place in axes.places()
        ]

    @cached_property
    def description(self) -> Description:
        """What the file holds."""
        names = _scene_names(self._file.xml_element)
        return Description(tuple(self._scene(names, *place) for place in self._places))

    def _scene(
        self, names: dict[int, str], number: int, image: Any, axes: Axes, place: dict[str, int]
    ) -> Scene:
        name = " ".join(filter(None, [names.get(number, ""), place_name(place)]))
        levels = list(image.levels) or [image]
        problem = axes.problem or real(np.dtype(image.dtype))
        if not problem:
            check_level(self._reading.level, len(levels))
        level = levels[self._reading.level if not problem else 0]
        sizes = _axes_of(level).sizes
        return Scene(
            name,
            axes.times,
            axes.slices,
            _channel_names(self._file.xml_element, axes.channels),
            sizes.get("Y", 0),
            sizes.get("X", 0),
            str(np.dtype(image.dtype)),
            axes.sizes.get("S") == 3 and axes.channels == 3,
            self._side(image, level),
            iso_time(image.datetime),
            len(levels),
            problem,
        )

    def _side(self, image: Any, level: Any) -> PixelSide:
        """The side of a pixel in µm, at the level that is read."""
        if image.mpp is None:
            return None
        step = 1.0
        if self._reading.level:  # of most subblocks, since those at an edge may be cut
            step = statistics.median(max(entry.scale) for entry in level.directory_entries)
        return pixel_side(*(side * step for side in image.mpp))

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane. What no subblock covers is 0, as between the tiles of a mosaic."""
        about = self.description.scenes[scene]
        channels = self._places[scene][2].channels
        itemsize = np.dtype(about.dtype).itemsize
        self._reading.limits.check(about.height, about.width, channels, itemsize)
        plane = self._plane(scene, time, slice)
        if self._reading.level:
            return image_of(about, _pixels(plane))
        part = self._part(scene, self._channels(scene, plane), 0, about.height, 0, about.width)
        return image_of(about, part)

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> PartWindows | None:
        """Windows of a plane, of which only the subblocks are read that they touch."""
        plane = self._plane(scene, time, slice)
        sizes = (math.prod(entry.shape) * entry.dtype.itemsize for entry in plane.directory_entries)
        if self._reading.level or max(sizes) > MOST_CHUNK_BYTES:
            return None
        channels = self._channels(scene, plane)
        return PartWindows(self.description.scenes[scene], partial(self._part, scene, channels))

    def _plane(self, scene: int, time: int, slice: int) -> Any:
        """A plane with all its channels, of which nothing is read yet."""
        _, image, axes, place = self._places[scene]
        if self._reading.level:
            image = image.levels[self._reading.level]
        first = dict(zip(image.dims, image.start, strict=True))  # the file may count from elsewhere
        at = {axis: n + first.get(axis, 0) for axis, n in axes.index(place, time, slice).items()}
        try:
            return image(**at) if at else image
        except ValueError as error:  # no subblock is there
            raise unreadable(_NOT_THERE) from error

    def _channels(self, scene: int, plane: Any) -> list[_Subblocks]:
        """The subblocks of each channel of a plane; raises ImageError if one has none."""
        _, image, axes, _ = self._places[scene]
        start = dict(zip(image.dims, image.start, strict=True)).get("C")
        found: list[list[Any]] = [[] for _ in range(axes.sizes.get("C", 1))]
        for entry in plane.directory_entries:
            at = dict(zip(entry.dims, entry.start, strict=True))
            found[0 if start is None else at["C"] - start].append(entry)
        if not all(found):
            raise unreadable(_NOT_THERE if len(found) == 1 else f"a channel of {_NOT_THERE}")
        return [_Subblocks(entries) for entries in found]

    def _part(
        self, scene: int, channels: list[_Subblocks], y0: int, y1: int, x0: int, x1: int
    ) -> np.ndarray:
        """Rows and columns of a plane: (rows, columns, channels)."""
        image = self._places[scene][1]
        left, top, _, _ = image.bbox
        roi = left + x0, top + y0, x1 - x0, y1 - y0
        kind = image.pixeltype
        pixels = np.zeros((y1 - y0, x1 - x0, len(channels), kind.samples), kind.dtype)
        for number, channel in enumerate(channels):
            if touched := channel.within(*roi):
                if any(entry.read_segment_data(self._file).SID != _SUBBLOCK for entry in touched):
                    raise unreadable("a subblock of this plane is damaged or was deleted")
                # made anew, since czifile brings subblocks that are cut out into another order
                view = type(image)(self._file, touched, roi=roi, pixeltype=kind)
                pixels[:, :, number] = _pixels(view)
        return pixels.reshape(*pixels.shape[:2], -1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _trusted_czifile() -> Any:
    """The module, if it is there and not of the versions that gave other values at each reading.

    Raises:
        ImageError: it is not.
    """
    czifile: Any = None
    with contextlib.suppress(ImportError, SyntaxError):
        czifile = import_module("czifile")
    if czifile is None or int(str(czifile.__version__).partition(".")[0]) < _OLDEST:
        raise missing_reader(
            f"the content is a Zeiss CZI file, which needs Python 3.12 or newer and the package czifile ≥ {_OLDEST}"
        )
    return czifile


def _pixels(plane: Any) -> np.ndarray:
    """The pixels of a plane or a part of it: (rows, columns, channels)."""
    axes, pixels = list(plane.dims), np.asarray(plane.asarray(maxworkers=1))
    for axis in {"Y", "X"}.difference(axes):  # one row or one column
        axes, pixels = [axis, *axes], pixels[np.newaxis]
    return height_width_channels(pixels, axes)


def _axes_of(image: Any) -> Axes:
    return Axes({str(axis): int(size) for axis, size in image.sizes.items()})


def _channel_names(root: Any, count: int) -> tuple[str, ...]:
    """The names of channels: those of the display settings, else those of the image."""
    names: dict[str, str] = {}
    for part in ("Information/Image/Dimensions", "DisplaySetting"):
        for channel in () if root is None else root.iterfind(f".//{part}/Channels/Channel"):
            key = channel.get("Id") or str(len(names))
            names[key] = channel.get("Name") or channel.findtext("Name") or names.get(key, "")
    found = list(names.values())
    if len(found) != count:  # some files have a channel twice, once without a name
        found = list(filter(None, found))
    return tuple(found) if len(found) == count else ("",) * count


def _scene_names(root: Any) -> dict[int, str]:
    """The names of scenes by number: the well, if there is one, with the name of the scene."""
    names: dict[int, str] = {}
    for scene in () if root is None else root.iterfind(".//Dimensions/S/Scenes/Scene"):
        well = scene.find("ArrayName")
        if well is None or not (well.text or "").strip():
            well = scene.find("Shape")
            text = "" if well is None else str(well.get("Name") or "")
        else:
            text = str(well.text).strip()
        parts = dict.fromkeys(filter(None, [text, str(scene.get("Name") or "")]))
        names[int(scene.get("Index", len(names)))] = " ".join(parts)
    return names
