"""Nikon's ND2, read by `nd2`."""

import os
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np

from samfleet.images.formats.image import Image, check_level, unreadable
from samfleet.images.sources.axes import Axes, place_name, real
from samfleet.images.sources.source import PartWindows, Reading, image_of
from samfleet.images.units import iso_time, pixel_side
from samfleet.planes import Description, Scene

_DATES = ("%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S")
_MAGIC = b"\xda\xce\xbe\x0a"
_END = 40
"""Bytes: a signature and where the list of what is in the file begins."""
_OF_A_FRAME = "CYXS"
"""Its axes, in the order in which `nd2` gives them."""


class Nd2Source:
    """An open ND2."""

    def __init__(self, path: Path, reading: Reading):
        import nd2

        check_level(reading.level)
        _check_end(path)
        self._reading = reading
        self._size = path.stat().st_size
        with ExitStack() as opened:
            self._file: Any = opened.enter_context(nd2.ND2File(path))
            self._bytes = opened.enter_context(path.open("rb")).fileno()
            self._close = finalize(self, opened.pop_all().close)  # `nd2` warns if others close
        sizes = {str(axis): size for axis, size in self._file.sizes.items()}  # none of them 1
        frame = {axis: sizes.pop(axis, 1) for axis in _OF_A_FRAME}
        self._axes = Axes(sizes | frame)
        self._places = self._axes.places()
        self._frames = {
            _key({axis: at for axis, at in indices.items() if axis in sizes}): number
            for number, indices in enumerate(self._file.loop_indices)
        }

    @cached_property
    def description(self) -> Description:
        """What the file holds."""
        names = self._channels()
        side = pixel_side(*self._file.voxel_size()[:2])
        problem = self._axes.problem or real(self._file.dtype)
        return Description(
            tuple(
                Scene(
                    name=self._position(place),
                    times=self._axes.times,
                    slices=self._axes.slices,
                    channels=names,
                    height=self._axes.sizes.get("Y", 0),
                    width=self._axes.sizes.get("X", 0),
                    dtype=str(self._file.dtype),
                    is_color=self._axes.sizes["S"] == self._axes.channels == 3,
                    pixel_size_um=side,
                    acquired=self._acquired(),
                    problem=problem,
                )
                for place in self._places
            )
        )

    def _channels(self) -> tuple[str, ...]:
        found = getattr(self._file.metadata, "channels", None) or []
        names = tuple(str(each.channel.name or "") for each in found)
        count = self._axes.channels
        return names if len(names) == count else ("",) * count

    def _position(self, place: dict[str, int]) -> str:
        for loop in self._file.experiment:
            points: Any = getattr(loop.parameters, "points", None)
            if loop.type == "XYPosLoop" and points and place.get("P", 0) < len(points):
                return str(points[place.get("P", 0)].name or place_name(place))
        return place_name(place)

    def _acquired(self) -> str:
        text = str((self._file.text_info or {}).get("date", "")).strip()
        for form in _DATES:
            try:
                return datetime.strptime(" ".join(text.split()), form).isoformat()
            except ValueError:
                continue
        return iso_time(text)

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane."""
        self._axes.check(self._reading.limits, self._file.dtype.itemsize)
        number = self._frame_number(scene, time, slice)
        about = self.description.scenes[scene]
        return image_of(about, self._part(number, 0, about.height, 0, about.width))

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> PartWindows | None:
        """Windows of a plane, unless it is compressed."""
        number = self._frame_number(scene, time, slice)
        if self._file.is_legacy or self._is_compressed:
            return None
        return PartWindows(self.description.scenes[scene], partial(self._part, number))

    @property
    def _is_compressed(self) -> bool:
        return bool(self._file.attributes.compressionType)

    def _part(self, number: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Rows and columns of a frame: (rows, columns, channels)."""
        sizes = self._axes.sizes
        if self._file.is_legacy or self._is_compressed:
            frame = self._file.read_frame(number).reshape([sizes[axis] for axis in _OF_A_FRAME])
            pixels = np.moveaxis(frame, 0, 2)[y0:y1, x0:x1]
        else:
            pixels = self._stored(number, y0, y1, x0, x1)
            pixels = pixels.reshape(y1 - y0, x1 - x0, sizes["C"], sizes["S"])
        if not self._file.is_legacy:
            pixels = pixels[..., ::-1]  # colours are stored as blue, green, red
        return np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], -1)

    def _stored(self, number: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The numbers of a part of a frame. `nd2` would map the file, whose pages then count as memory in use."""
        attributes, dtype = self._file.attributes, self._file.dtype
        pixel = attributes.componentCount * dtype.itemsize
        first, size = self._file._rdr._frame_offsets[number] + x0 * pixel, (x1 - x0) * pixel
        places = (first + row * attributes.widthBytes for row in range(y0, y1))
        return np.frombuffer(b"".join(os.pread(self._bytes, size, at) for at in places), dtype)

    def _frame_number(self, scene: int, time: int, slice: int) -> int:
        """The frame that a plane is; raises ImageError if it is not in the file, or not all of it."""
        number = self._frames.get(_key(self._axes.index(self._places[scene], time, slice)))
        if number is None:
            raise unreadable("this plane is not in the file, though the metadata name it")
        self._check_frame(number)
        return number

    def _check_frame(self, number: int) -> None:
        """Raise ImageError if a frame is not in the file, or not all of it: `nd2` gives zeros then."""
        offsets = getattr(self._file._rdr, "_frame_offsets", None)
        if offsets is None:  # of an old ND2, which is JPEG 2000
            return
        attributes = self._file.attributes
        needed = 1 if self._is_compressed else attributes.heightPx * (attributes.widthBytes or 0)
        if number not in offsets or offsets[number] + needed > self._size:
            raise unreadable("this plane is not in the file: it is truncated")

    def close(self) -> None:
        """Close the file."""
        self._close()


def _check_end(path: Path) -> None:
    """Raise ImageError if an ND2 lacks its end, which says where everything is; an old one has none."""
    with path.open("rb") as file:
        is_old = file.read(4) != _MAGIC
        file.seek(-min(_END, path.stat().st_size), os.SEEK_END)
        if not is_old and not file.read().startswith(b"ND2 CHUNK MAP SIGNATURE"):
            raise unreadable("the file is truncated: the list of its planes at its end is missing")


def _key(indices: Any) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((str(axis), int(at)) for axis, at in dict(indices).items()))
