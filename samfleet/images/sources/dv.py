"""DeltaVision's DV, whose header is read by `mrc`."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.images.formats.image import Image, unreadable
from samfleet.images.sources.axes import Axes, check_level, place_name, real
from samfleet.images.sources.source import Reading, image_of
from samfleet.images.units import pixel_side
from samfleet.planes import Description, Scene

_HEADER = 1024


class DvSource:
    """An open DV."""

    def __init__(self, path: Path, reading: Reading):
        import mrc

        class Header(mrc.DVFile):
            """Of a file whose pixels are not mapped: `mrc` would refuse the whole of a truncated one."""

            def open(self) -> None:
                pass

        check_level(reading.level)
        self._reading = reading
        found: Any = Header(path)
        self._header = found.hdr
        self._dtype = np.dtype(found.dtype)
        self._axes = Axes({str(axis): int(size) for axis, size in found.sizes.items()})
        self._side = pixel_side(*found.voxel_size[:2])
        self._places = self._axes.places()
        self._file = path.open("rb")

    @cached_property
    def description(self) -> Description:
        """What the file holds."""
        axes = self._axes
        return Description(
            tuple(
                Scene(
                    name=place_name(place),
                    times=axes.times,
                    slices=axes.slices,
                    channels=self._channels(),
                    height=axes.sizes["Y"],
                    width=axes.sizes["X"],
                    dtype=str(self._dtype.newbyteorder("=")),
                    pixel_size_um=self._side,
                    problem=axes.problem or real(self._dtype),
                )
                for place in self._places
            )
        )

    def _channels(self) -> tuple[str, ...]:
        """The emission wavelengths, where they are numbers."""
        waves = [getattr(self._header, f"wave{n}", 0) for n in range(1, 6)]
        waves += [0] * self._axes.channels
        return tuple(f"{wave} nm" if wave > 0 else "" for wave in waves[: self._axes.channels])

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane."""
        axes = self._axes
        axes.check(self._reading.limits, self._dtype.itemsize)
        at = axes.index(self._places[scene], time, slice)
        planes = [self._plane(at | {"C": channel}) for channel in range(axes.sizes.get("C", 1))]
        about = self.description.scenes[scene]
        return image_of(about, np.stack(planes, axis=2))

    def _plane(self, at: dict[str, int]) -> np.ndarray:
        number = 0
        for axis, size in self._axes.sizes.items():
            if axis not in "YX":
                number = number * size + at.get(axis, 0)
        shape = self._axes.sizes["Y"], self._axes.sizes["X"]
        size = math.prod(shape) * self._dtype.itemsize
        self._file.seek(_HEADER + self._header.ext_hdr_len + number * size)
        data = self._file.read(size)
        if len(data) < size:
            raise unreadable("the file is truncated: this plane is beyond its end")
        return np.frombuffer(data, self._dtype).reshape(shape)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
