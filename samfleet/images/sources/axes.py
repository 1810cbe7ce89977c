"""Files whose images are arrays with named axes: which scenes, times and slices these make, and where each plane is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from samfleet.images.formats.image import Limits, unreadable

CHANNELS = frozenset("CSλΛ")
"""Axes whose positions are channels: C, the samples of a pixel, emission and excitation wavelengths."""


@dataclass(frozen=True)
class Axes:
    """The axes of an array, of which Y and X are the plane.

    Attributes:
        sizes: of all axes, in the order of the array.
    """

    sizes: Mapping[str, int]

    @property
    def problem(self) -> str:
        """Why it holds no plane; empty if it does."""
        if not {"Y", "X"} <= self.sizes.keys():
            scanned = "".join(self.sizes)
            return f"unsupported: its axes are {scanned}, so it has no plane of Y and X"
        if 0 in self.sizes.values():
            return "unreadable: it has no plane"
        return ""

    @property
    def times(self) -> int:
        """How many time points there are."""
        return self.sizes.get("T", 1)

    @property
    def slices(self) -> int:
        """How many slices of Z there are."""
        return self.sizes.get("Z", 1)

    @property
    def channels(self) -> int:
        """How many channels a plane has."""
        return int(np.prod([size for axis, size in self.sizes.items() if axis in CHANNELS]))

    def places(self) -> list[dict[str, int]]:
        """The positions along all other axes: each is a scene of its own."""
        others = {a: n for a, n in self.sizes.items() if a not in CHANNELS and a not in "TZYX"}
        return [
            dict(zip(others, place, strict=True)) for place in product(*map(range, others.values()))
        ]

    def index(self, place: Mapping[str, int], time: int, slice: int) -> dict[str, int]:
        """The positions of a plane along the axes that are not of the plane."""
        wanted = {"T": time, "Z": slice, **place}
        return {axis: wanted[axis] for axis in self.sizes if axis in wanted}

    def check(self, limits: Limits, itemsize: int) -> None:
        """Raise ImageError if a plane is larger than allowed."""
        limits.check(self.sizes["Y"], self.sizes["X"], self.channels, itemsize)


def place_name(place: Mapping[str, int]) -> str:
    """Where a scene is along axes that have no name for it: such as "P=2, M=0"."""
    return ", ".join(f"{axis}={at}" for axis, at in place.items())


def height_width_channels(pixels: np.ndarray, axes: Sequence[str]) -> np.ndarray:
    """Put Y and X first and merge the other axes, which must be channels, into one."""
    if pixels.ndim != len(axes):
        raise unreadable(f"a plane has {pixels.ndim} axes, and its metadata name {len(axes)}")
    order = [list(axes).index("Y"), list(axes).index("X")]
    order += [i for i in range(len(axes)) if i not in order]
    pixels = pixels.transpose(order)
    return pixels.reshape(*pixels.shape[:2], -1)


def real(dtype: np.dtype) -> str:
    """Why pixels of a type cannot be measured; empty if they can."""
    return "" if dtype.kind in "buif" else f"unsupported: {dtype} pixels are not supported"
