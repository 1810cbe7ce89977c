"""Read TIFF and BigTIFF, including the variants that microscopes write."""

import io
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO, TypeVar

import numpy as np
import tifffile

from samfleet.images.formats.image import Image, Limits, Wanted, unreadable
from samfleet.images.formats.orientation import orientation_tag, upright
from samfleet.images.formats.tiff.colors import apply_color_model
from samfleet.images.formats.tiff.planes import TiffPlanes
from samfleet.images.formats.tiff.stacks import Plane
from samfleet.images.units import about_sides, square_side

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # fmt: skip
# The tags of the layout, the colours, and the metadata about planes and channels.
_RELEVANT_TAGS = {*range(254, 280), 284, 317, *range(320, 326), 330, 338, 339, 347, 530, 532, 32997, 32998, 33628, 33629, 34412}  # fmt: skip
_NO_CALIBRATION = 20  # ij.measure.Calibration.NONE
_MOST_TAGS = 4096  # tifffile considers more to be damage
_MOST_PAGES = 1_000_000
_LARGEST_COPY = 2**28


def read_tiff(data: bytes, wanted: Wanted, limits: Limits) -> Image:
    data = with_finite_page_list(data)
    opened = partial(open_tiff, lambda: io.BytesIO(data))
    return read_plane(TiffPlanes(opened, wanted.name), wanted.page, wanted.lookup_table, limits)


def open_tiff(file: Callable[[], Any], omexml: str | None = None) -> tifffile.TiffFile:
    """Open a TIFF that has at least one page.

    Args:
        file: gives a path or an open file.
        omexml: OME metadata in place of its own.

    Raises:
        ImageError: it is damaged.
    """
    try:
        tiff = tifffile.TiffFile(file(), omexml=omexml)
    except (tifffile.TiffFileError, struct.error) as error:
        raise unreadable(f"the TIFF is damaged or truncated ({error})") from error
    if not len(tiff.pages):
        raise unreadable("the TIFF has no page")
    return tiff


def read_plane(planes: TiffPlanes, page: int, lookup_table: str, limits: Limits) -> Image:
    """Plane `page` of a TIFF, with all its channels; raises ImageError."""
    plane = planes.plane(page, limits)
    return as_image(planes, page, plane, [part() for part in plane.parts], lookup_table)


def as_image(
    planes: TiffPlanes, page: int, plane: Plane, parts: list[np.ndarray], lookup_table: str
) -> Image:
    """What the parts of plane `page` mean, of which some rows and columns may have been read."""
    parts = [_height_width_channels(part, plane.axes) for part in parts]
    pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    image = apply_color_model(plane.keyframe, pixels, plane.samples, lookup_table)
    about = planes.about(page)
    channels = 1 if image.pixels.ndim == 2 else image.pixels.shape[2]
    named = not image.is_color and len(about.channels) >= channels
    sides = about_sides(about.pixel_size_um)
    warnings = [plane.warning, _calibration(planes.tiff), image.warning, sides]
    return replace(
        image,
        pixels=upright(image.pixels, orientation_tag(plane.keyframe)),
        plane=plane.words,
        warning="; ".join(filter(None, warnings)),
        channels=about.channels[:channels] if named else (),
        pixel_size_um=square_side(about.pixel_size_um),
        acquired=about.acquired,
    )


class FileBytes:
    """The bytes of an open file, which are read only where they are asked for."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = file.seek(0, os.SEEK_END)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


Bytes = TypeVar("Bytes", bytes, FileBytes)


def with_finite_page_list(data: Bytes) -> Bytes | bytes:
    """The same bytes, but a list of pages that loops ends where it would begin again.

    tifffile follows long loops forever, and ignores a tag whose value lies beyond the end of the
    file. So this raises ImageError if the list or a relevant tag leads out of the file.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    count, entry, pointer = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    count, entry, pointer = order + count, order + entry, order + pointer
    position = 8 if big else 4
    seen: set[int] = set()
    try:
        while page := _unpack(pointer, data, position):
            if page in seen:
                end = position + struct.calcsize(pointer)
                if len(data) > _LARGEST_COPY:
                    raise unreadable("the list of pages of the TIFF leads back to an earlier page")
                return data[:position] + bytes(end - position) + data[end:]
            seen.add(page)
            tags = _unpack(count, data, page)
            if tags > _MOST_TAGS or len(seen) > _MOST_PAGES:
                raise unreadable("the list of pages of the TIFF is damaged")
            start = page + struct.calcsize(count)
            position = start + tags * struct.calcsize(entry)
            for tag in struct.iter_unpack(entry, data[start:position]):
                _check_tag(tag, struct.calcsize(pointer), len(data))
    except struct.error as error:
        raise unreadable("the TIFF is truncated: a page lies beyond its end") from error
    return data


def _unpack(form: str, data: bytes | FileBytes, position: int) -> int:
    return int(struct.unpack(form, data[position : position + struct.calcsize(form)])[0])


def _check_tag(tag: tuple[int, int, int, int], inline: int, end: int) -> None:
    """Raise ImageError if a relevant tag (code, type, count, place) has its value beyond the end."""
    code, kind, count, place = tag
    size = count * _TYPE_SIZES.get(kind, 0)
    if size > inline and place + size > end and code in _RELEVANT_TAGS:
        raise unreadable("the TIFF is truncated: part of its header lies beyond its end")


def _calibration(tiff: tifffile.TiffFile) -> str:
    """A warning if ImageJ shows other values than are stored, as it does of signed 16-bit images."""
    metadata = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    names = ("cf", "c0", "c1", "c2", "c3", "c4")  # a function and its coefficients
    found = {name: metadata[name] for name in names if name in metadata}
    if found.get("cf", _NO_CALIBRATION) == _NO_CALIBRATION or found == {"cf": 0, "c0": 0, "c1": 1}:
        return ""
    words = ", ".join(f"{name}={value}" for name, value in found.items())
    return f"values are measured as stored, not with the calibration of ImageJ ({words})"


def _height_width_channels(pixels: np.ndarray, axes: str) -> np.ndarray:
    """Put Y and X first and merge the other axes into one."""
    order = [axes.index("Y"), axes.index("X")]
    order += [i for i in range(len(axes)) if i not in order]
    pixels = pixels.transpose(order)
    return pixels.reshape(*pixels.shape[:2], -1)
