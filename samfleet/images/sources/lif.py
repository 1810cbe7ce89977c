"""Leica's LIF and LOF, read by `liffile`."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.images.formats.image import Image, check_level
from samfleet.images.sources.axes import CHANNELS, Axes, height_width_channels, place_name, real
from samfleet.images.sources.source import Reading, image_of
from samfleet.images.units import pixel_side
from samfleet.planes import Description, Scene


class LifSource:
    """An open LIF or LOF."""

    def __init__(self, path: Path, reading: Reading):
        import liffile

        check_level(reading.level)
        self._reading = reading
        self._file = liffile.LifFile(path)
        self._images: list[Any] = list(self._file.images)
        self._places = [
            (number, axes, place)
            for number, axes in enumerate(map(_axes_of, self._images))
            for place in axes.places()
        ]

    @cached_property
    def description(self) -> Description:
        """What the file holds."""
        return Description(tuple(self._scene(*place) for place in self._places))

    def _scene(self, number: int, axes: Axes, place: dict[str, int]) -> Scene:
        image = self._images[number]
        name = " ".join(filter(None, [_name_of(image), place_name(place)]))
        if problem := axes.problem or _flim(image) or real(np.dtype(image.dtype)):
            return Scene(name, problem=problem)
        stamps = image.timestamps
        return Scene(
            name,
            axes.times,
            axes.slices,
            _channels_of(image, axes),
            axes.sizes["Y"],
            axes.sizes["X"],
            str(image.dtype),
            axes.sizes.get("S") == 3 and axes.channels == 3,
            pixel_side(*(_step(image, axis) for axis in "XY")),
            str(stamps[0]) if stamps is not None and len(stamps) else "",
        )

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane."""
        number, axes, place = self._places[scene]
        image, about = self._images[number], self.description.scenes[scene]
        axes.check(self._reading.limits, np.dtype(image.dtype).itemsize)
        at = axes.index(place, time, slice)
        over = [axis for axis in axes.sizes if axis in CHANNELS and axis != "S"]
        parts = [
            _plane(image.frame(**at, **dict(zip(over, channel, strict=True))))
            for channel in np.ndindex(*(axes.sizes[axis] for axis in over))
        ]
        return image_of(about, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _axes_of(image: Any) -> Axes:
    return Axes({str(axis): int(size) for axis, size in image.sizes.items()})


def _name_of(image: Any) -> str:
    """The path of an image among the folders of the file, without the file's own name."""
    return str(image.path).partition("/")[2] or str(image.name)


def _flim(image: Any) -> str:
    return "unsupported: lifetimes (FLIM) are not measured" if image.is_flim else ""


def _plane(frame: np.ndarray) -> np.ndarray:
    """A frame as (height, width, samples)."""
    return height_width_channels(frame, "YXS" if frame.ndim == 3 else "YX")


def _channels_of(image: Any, axes: Axes) -> tuple[str, ...]:
    """The wavelengths of a spectral image, or the names of the dyes or look-up tables."""
    names = [""]
    for axis, size in axes.sizes.items():
        if axis not in CHANNELS:
            continue
        found = image.coords.get(axis)
        if axis in "λΛ" and found is not None:
            own = [f"{value * 1e9:.0f} nm" for value in np.asarray(found, float)]
        elif found is not None and np.asarray(found).dtype.kind in "UO":
            own = [str(value) for value in found]
        else:
            own = [""] * size
        names = [" ".join(filter(None, pair)) for pair in ((a, b) for a in names for b in own)]
    return tuple(names)


def _step(image: Any, axis: str) -> float | None:
    """The distance of neighbouring pixels in µm."""
    found = image.coords.get(axis)
    return None if found is None or len(found) < 2 else abs(float(found[1] - found[0])) * 1e6
