"""OME-Zarr 0.4: each image as it was measured, with its objects as labels beside it.

The format is Zarr 2 with chunks in nested folders, which every reader of OME-Zarr knows.
See https://ngff.openmicroscopy.org/0.4/.
"""

import itertools
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.channels import Channels
from samfleet.exports.source import Kind, Source
from samfleet.images.reading import OpenedImage, ReadImage
from samfleet.opened.masks import (
    MASK_COLUMNS,
    RANKING_COLUMNS,
    label_strips,
    label_type,
    measurements_of,
)

_VERSION = "0.4"
_CHUNK = 1024
_LABELS = "objects"
_RGB = ("FF0000", "00FF00", "0000FF")
_COLORS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def _write(path: Path, source: Source) -> None:
    assert source.read is not None
    windows = source.read.windows
    height, width, channels = windows.shape
    extremes: list[np.ndarray] = []

    def strips() -> Iterator[np.ndarray]:
        for first in range(0, height, _CHUNK):
            strip = windows.read(first, min(first + _CHUNK, height), 0, width)
            extremes.append(_extremes(strip))
            yield np.moveaxis(strip, 2, 0)

    image = _Array("cyx", (channels, height, width), windows.dtype, source.image.pixel_size)
    multiscales = image.write(path, strips(), source.image.name)
    shown = _shown(source.read, np.array(extremes))
    _write_group(path, {"multiscales": multiscales, "omero": shown})
    labels = path / "labels"
    _write_group(labels, {"labels": [_LABELS]})
    kind = np.dtype(label_type(source.objects))
    seen = _Array("yx", (height, width), kind, source.image.pixel_size)
    drawn = label_strips(source.objects, (height, width), _CHUNK)
    multiscales = seen.write(labels / _LABELS, drawn, _LABELS)
    about = [
        {"label-value": row["label"], **measurements_of(row, source.measurements)}
        for row in source.objects
    ]
    image_label = {"version": _VERSION, "properties": about, "source": {"image": "../../"}}
    attributes = {"multiscales": multiscales, "image-label": image_label}
    _write_group(labels / _LABELS, attributes)


def _shown(read: ReadImage | OpenedImage, extremes: np.ndarray) -> dict[str, Any]:
    """How a viewer shows the channels: `omero` of OME-Zarr, with their names, colours and ranges.

    Args:
        read: the image.
        extremes: the lowest and the highest value of each channel in parts of it, (parts, 2, channels).
    """
    ranges = np.stack([extremes[:, 0].min(0), extremes[:, 1].max(0)], axis=1)
    count = len(ranges)
    names = Channels(read.channels, count, read.is_color).names or ("",) * count
    colors = _RGB if read.is_color and count == len(_RGB) else itertools.cycle(_COLORS)
    channels = []
    for number, (name, color) in enumerate(zip(names, colors, strict=False)):
        window = _window(ranges[number])
        color = "FFFFFF" if count == 1 else color
        channels.append({"label": name, "color": color, "active": True, "window": window})
    return {"version": _VERSION, "channels": channels}


def _window(extremes: np.ndarray) -> dict[str, float]:
    """The range of a channel from its lowest and its highest value; one that viewers accept, who refuse an empty one."""
    low, high = map(float, extremes)
    if low > high:  # no value is finite
        low = high = 0.0
    if low == high:
        high += max(1.0, abs(high))
    return {"min": low, "max": high, "start": low, "end": high}


def _extremes(strip: np.ndarray) -> np.ndarray:
    """The lowest and the highest finite value of each channel, (2, channels); infinity and its negative if none is."""
    if strip.dtype.kind != "f":
        return np.stack([strip.min((0, 1)), strip.max((0, 1))])
    finite = np.isfinite(strip)
    lowest = strip.min((0, 1), where=finite, initial=np.inf)
    return np.stack([lowest, strip.max((0, 1), where=finite, initial=-np.inf)])


@dataclass(frozen=True)
class _Array:
    """An array in several resolutions, of which a few strips are in memory.

    Attributes:
        axes: their names.
        shape: their lengths; the last two are those of the image.
        dtype: of a pixel.
        pixel_size: µm, if it is known.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    pixel_size: float | None

    def write(self, folder: Path, strips: Iterable[np.ndarray], name: str) -> list[dict[str, Any]]:
        """Write strips of as many rows as a chunk has; returns `multiscales`.

        While an array is larger than a chunk, there is another of every second pixel.
        """
        halvings = math.ceil(math.log2(max(self.shape[-2:]) / _CHUNK))
        # a strip has no more rows to leave out after so many
        count = 1 + min(max(0, halvings), _CHUNK.bit_length() - 1)
        levels = [_Level(folder / str(n), self._shape(2**n), self.dtype) for n in range(count)]
        for strip in strips:
            for level in levels:
                level.add(strip)
                strip = strip[..., ::2, ::2]
        for level in levels:
            level.finish()
        datasets = [
            {
                "path": str(n),
                "coordinateTransformations": [{"type": "scale", "scale": self._scale(2**n)}],
            }
            for n in range(count)
        ]
        axes = [_axis(axis, self.pixel_size) for axis in self.axes]
        return [{"version": _VERSION, "name": name, "axes": axes, "datasets": datasets}]

    def _shape(self, step: int) -> tuple[int, ...]:
        height, width = (-(-length // step) for length in self.shape[-2:])
        return (*self.shape[:-2], height, width)

    def _scale(self, step: int) -> list[float]:
        return [1.0 if axis == "c" else step * (self.pixel_size or 1.0) for axis in self.axes]


class _Level:
    """An array that is written row of chunks by row of chunks, those at its end being filled up with zeros.

    Args:
        folder: of the array.
        shape, dtype: of the array.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype):
        self._folder, self._dtype = folder, dtype.newbyteorder("<")
        self._chunk = (1,) * (len(shape) - 2) + (_CHUNK, _CHUNK)
        self._strips: list[np.ndarray] = []
        self._rows = self._written = 0
        folder.mkdir(parents=True, exist_ok=True)
        description = {
            "zarr_format": 2,
            "shape": shape,
            "chunks": self._chunk,
            "dtype": self._dtype.str,
            "compressor": {"id": "zlib", "level": 1},
            "fill_value": 0,
            "order": "C",
            "filters": None,
            "dimension_separator": "/",
        }
        _write_json(folder / ".zarray", description)

    def add(self, strip: np.ndarray) -> None:
        """Add rows; those of several strips make a chunk, or those of one."""
        self._strips.append(strip)
        self._rows += strip.shape[-2]
        if self._rows >= _CHUNK:
            self.finish()

    def finish(self) -> None:
        """Write the rows that there are."""
        if not self._rows:
            return
        rows = np.concatenate(self._strips, axis=-2)
        self._strips, self._rows = [], 0
        columns = -(-rows.shape[-1] // _CHUNK)
        for place in np.ndindex(*rows.shape[:-2], columns):
            *before, column = place
            part = rows[(*before, slice(None), slice(column * _CHUNK, (column + 1) * _CHUNK))]
            filled = np.zeros((_CHUNK, _CHUNK), self._dtype)
            filled[tuple(map(slice, part.shape))] = part
            file = self._folder.joinpath(*map(str, (*before, self._written, column)))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(zlib.compress(filled.tobytes(), 1))
        self._written += 1


def _axis(name: str, pixel_size: float | None) -> dict[str, str]:
    if name == "c":
        return {"name": name, "type": "channel"}
    return {"name": name, "type": "space"} | ({"unit": "micrometer"} if pixel_size else {})


def _write_group(folder: Path, attributes: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / ".zgroup", {"zarr_format": 2})
    _write_json(folder / ".zattrs", attributes)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


ZARR = Kind(
    "zarr",
    (*MASK_COLUMNS, *RANKING_COLUMNS),
    {".ome.zarr": _write},
    measured=True,
    needs_pixels=True,
    makes_folders=True,
)
"""OME-Zarr folders, each with an image and its labels."""
