"""Imaris' IMS, which is HDF5, read by `h5py`."""

import math
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.images.formats.image import Image, check_level, unreadable, unsupported
from samfleet.images.sources.axes import real
from samfleet.images.sources.source import MOST_CHUNK_BYTES, PartWindows, Reading, image_of
from samfleet.images.units import iso_time, micrometres, pixel_side
from samfleet.planes import Description, PixelSide, Scene


class ImsSource:
    """An open IMS."""

    def __init__(self, path: Path, reading: Reading):
        import h5py

        self._reading = reading
        self._file = h5py.File(path, "r", locking=False)
        if "DataSet" not in self._file or "DataSetInfo" not in self._file:
            self._file.close()
            raise unsupported("the content is an HDF5 file that is no IMS; export it as OME-TIFF")
        levels = _count(self._file["DataSet"], "ResolutionLevel")
        check_level(reading.level, levels)
        self._level = self._file[f"DataSet/ResolutionLevel {reading.level}"]
        self._levels = levels

    @cached_property
    def description(self) -> Description:
        """What the file holds."""
        times = _count(self._level, "TimePoint")
        channels = _count(self._level["TimePoint 0"], "Channel") if times else 0
        if not channels:
            return Description((Scene(problem="unreadable: it has no plane"),))
        first = self._level["TimePoint 0/Channel 0"]
        slices, height, width = _size(first)
        image = self._file.get("DataSetInfo/Image")
        dtype = first["Data"].dtype
        return Description(
            (
                Scene(
                    _text(image, "Name") if _text(image, "Name") != "(name not specified)" else "",
                    times,
                    slices,
                    tuple(self._channel(number) for number in range(channels)),
                    height,
                    width,
                    str(dtype),
                    pixel_size_um=self._side(image, height, width),
                    acquired=iso_time(_text(image, "RecordingDate")),
                    levels=self._levels,
                    problem=real(dtype),
                ),
            )
        )

    def _channel(self, number: int) -> str:
        name = _text(self._file.get(f"DataSetInfo/Channel {number}"), "Name")
        return "" if name == "(name not specified)" else name

    def _side(self, image: Any, height: int, width: int) -> PixelSide:
        """The side of a pixel: the extent of the image, which is in µm unless it says otherwise."""
        unit = _text(image, "Unit") or "um"
        sides = []
        for axis, size in ((0, width), (1, height)):
            try:
                extent = float(_text(image, f"ExtMax{axis}")) - float(_text(image, f"ExtMin{axis}"))
            except ValueError:
                return None
            sides.append(micrometres(extent / size, unit))
        return pixel_side(*sides)

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane."""
        about = self.description.scenes[0]
        itemsize = np.dtype(about.dtype).itemsize
        self._reading.limits.check(about.height, about.width, len(about.channels), itemsize)
        return image_of(about, self._part(time, slice, 0, about.height, 0, about.width))

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> PartWindows | None:
        """Windows of a plane, of which only the chunks are read that they touch."""
        chunks = [data.chunks or (1, 1) for data in self._channels_at(time, slice)]
        about = self.description.scenes[0]
        if max(map(math.prod, chunks)) * np.dtype(about.dtype).itemsize > MOST_CHUNK_BYTES:
            return None
        return PartWindows(about, partial(self._part, time, slice))

    def _part(self, time: int, slice: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Rows and columns of a plane: (rows, columns, channels)."""
        parts = [data[slice, y0:y1, x0:x1] for data in self._channels_at(time, slice)]
        return np.stack(parts, axis=2)

    def _channels_at(self, time: int, slice: int) -> list[Any]:
        """The data of each channel; raises ImageError if one does not have this plane."""
        about = self.description.scenes[0]
        found = []
        for channel in range(len(about.channels)):
            data = self._level.get(f"TimePoint {time}/Channel {channel}/Data")
            if data is None or data.ndim != 3 or data.shape[0] <= slice:
                raise unreadable(f"channel {channel} of this plane is not in the file")
            if data.shape[1] < about.height or data.shape[2] < about.width:
                raise unreadable("the channels of this plane are of different sizes")
            found.append(data)
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _count(group: Any, name: str) -> int:
    """How many members of a group are called NAME 0, NAME 1 and so on."""
    number = 0
    while f"{name} {number}" in group:
        number += 1
    return number


def _size(channel: Any) -> tuple[int, int, int]:
    """Slices, height and width; arrays are padded to whole chunks."""
    stored = channel["Data"].shape
    said = [_text(channel, f"ImageSize{axis}") for axis in "ZYX"]
    sizes = [
        min(int(text), size) if text.isdecimal() and int(text) > 0 else size
        for text, size in zip(said, stored, strict=True)
    ]
    return sizes[0], sizes[1], sizes[2]


def _text(group: Any, name: str) -> str:
    """An attribute, which Imaris writes as an array of letters; empty if there is none."""
    value = None if group is None else group.attrs.get(name)
    if value is None:
        return ""
    letters = b"".join(np.atleast_1d(value).astype("S").tolist())
    return letters.decode("utf-8", "replace").strip("\0 ")
