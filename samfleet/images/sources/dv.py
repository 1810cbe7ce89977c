"""DeltaVision's DV, whose header is read by `mrc`."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.images.formats.image import Image, check_level, unreadable
from samfleet.images.sources.axes import Axes, place_name, real
from samfleet.images.sources.source import PartWindows, Reading, image_of
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
        # stored in 32 bits, whose digits end earlier
        self._side = pixel_side(*(float(str(np.float32(side))) for side in found.voxel_size[:2]))
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
        about = self.description.scenes[scene]
        return image_of(about, self._part(scene, time, slice, 0, about.height, 0, about.width))

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> PartWindows:
        """Windows of a plane, of which only the rows are read that they touch."""
        part = partial(self._part, scene, time, slice)
        windows = PartWindows(self.description.scenes[scene], part)
        height, _ = windows.size
        part(height - 1, height, 0, 1)  # the end is in the file
        return windows

    def _part(
        self, scene: int, time: int, slice: int, y0: int, y1: int, x0: int, x1: int
    ) -> np.ndarray:
        """Rows and columns of a plane: (rows, columns, channels)."""
        at = self._axes.index(self._places[scene], time, slice)
        channels = range(self._axes.sizes.get("C", 1))
        rows = [self._rows(at | {"C": channel}, y0, y1) for channel in channels]
        return np.stack([part[:, x0:x1] for part in rows], axis=2)

    def _rows(self, at: dict[str, int], y0: int, y1: int) -> np.ndarray:
        """Whole rows of a section."""
        number = 0
        for axis, size in self._axes.sizes.items():
            if axis not in "YX":
                number = number * size + at.get(axis, 0)
        height, width = self._axes.sizes["Y"], self._axes.sizes["X"]
        first = (number * height + y0) * width * self._dtype.itemsize
        size = (y1 - y0) * width * self._dtype.itemsize
        self._file.seek(_HEADER + self._header.ext_hdr_len + first)
        data = self._file.read(size)
        if len(data) < size:
            raise unreadable("the file is truncated: this plane is beyond its end")
        return np.frombuffer(data, self._dtype).reshape(-1, width)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
