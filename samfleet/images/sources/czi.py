"""Zeiss' CZI, read by `czifile` of 2026 or newer.

Earlier versions returned other values at each reading of one file, and later ones need Python 3.12: without one, CZI is
refused.
"""

import contextlib
import math
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.images.formats.image import Image, missing_reader
from samfleet.images.sources.axes import Axes, check_level, height_width_channels, place_name, real
from samfleet.images.sources.source import MOST_CHUNK_BYTES, PartWindows, Reading, image_of
from samfleet.images.units import iso_time, pixel_side
from samfleet.planes import Description, Scene

_OLDEST = 2026


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
        sizes = _axes_of(levels[self._reading.level if not problem else 0]).sizes
        mpp = image.mpp
        return Scene(
            name,
            axes.times,
            axes.slices,
            _channels_of(image, axes),
            sizes.get("Y", 0),
            sizes.get("X", 0),
            str(np.dtype(image.dtype)),
            axes.sizes.get("S") == 3 and axes.channels == 3,
            None if mpp is None else pixel_side(*mpp),
            iso_time(image.datetime),
            len(levels),
            problem,
        )

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane."""
        _, _, axes, _ = self._places[scene]
        about = self.description.scenes[scene]
        self._reading.limits.check(
            about.height, about.width, axes.channels, np.dtype(about.dtype).itemsize
        )
        return image_of(about, _pixels(self._plane(scene, time, slice)))

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> PartWindows | None:
        """Windows of a plane, of which only the subblocks are read that they touch."""
        plane = self._plane(scene, time, slice)
        sizes = (math.prod(entry.shape) * entry.dtype.itemsize for entry in plane.directory_entries)
        if self._reading.level or max(sizes) > MOST_CHUNK_BYTES:
            return None
        left, top, _, _ = plane.bbox

        def part(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
            return _pixels(plane(roi=(left + x0, top + y0, x1 - x0, y1 - y0)))

        return PartWindows(self.description.scenes[scene], part)

    def _plane(self, scene: int, time: int, slice: int) -> Any:
        """A plane with all its channels, of which nothing is read yet."""
        _, image, axes, place = self._places[scene]
        if self._reading.level:
            image = image.levels[self._reading.level]
        first = dict(zip(image.dims, image.start, strict=True))  # the file may count from elsewhere
        at = {axis: n + first.get(axis, 0) for axis, n in axes.index(place, time, slice).items()}
        return image(**at) if at else image

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
    axes, pixels = list(plane.dims), np.asarray(plane.asarray())
    for axis in {"Y", "X"}.difference(axes):  # one row or one column
        axes, pixels = [axis, *axes], pixels[np.newaxis]
    return height_width_channels(pixels, axes)


def _axes_of(image: Any) -> Axes:
    return Axes({str(axis): int(size) for axis, size in image.sizes.items()})


def _channels_of(image: Any, axes: Axes) -> tuple[str, ...]:
    count = axes.channels
    names = list(image.channels)
    if len(names) != count:  # some files name a channel twice, once by its number
        names = [name for name in names if not str(name).startswith("Channel:")]
    return tuple(map(str, names)) if len(names) == count else ("",) * count


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
