"""OME-Zarr 0.4: each image as it was measured, with its objects as labels beside it.

The format is Zarr 2 with chunks in nested folders, which every reader of OME-Zarr knows.
See https://ngff.openmicroscopy.org/0.4/.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.exports.source import Kind, Source
from samfleet.opened.masks import (
    MASK_COLUMNS,
    MEASUREMENTS,
    RANKING_COLUMNS,
    label_strips,
    label_type,
    measurements_of,
)

_VERSION = "0.4"
_CHUNK = 1024
_LABELS = "objects"


def _write(path: Path, source: Source) -> None:
    assert source.read is not None
    name, pixel_size = source.image.name, source.image.pixel_size
    channels = np.moveaxis(source.read.pixels, 2, 0)
    _write_group(path, {"multiscales": _write_levels(path, channels, "cyx", name, pixel_size)})
    labels = path / "labels"
    _write_group(labels, {"labels": [_LABELS]})
    multiscales = _write_levels(labels / _LABELS, _label_image(source), "yx", _LABELS, pixel_size)
    about = [{"label-value": row["label"], **measurements_of(row)} for row in source.objects]
    image_label = {"version": _VERSION, "properties": about, "source": {"image": "../../"}}
    attributes = {"multiscales": multiscales, "image-label": image_label}
    _write_group(labels / _LABELS, attributes)


def _label_image(source: Source) -> np.ndarray:
    """(height, width), as large as the image, which is in memory as well."""
    size = source.image.height, source.image.width
    labels = np.empty(size, label_type(source.objects))
    for number, strip in enumerate(label_strips(source.objects, size, _CHUNK)):
        labels[number * _CHUNK : number * _CHUNK + len(strip)] = strip
    return labels


def _write_levels(
    folder: Path, pixels: np.ndarray, axes: str, name: str, pixel_size: float | None
) -> list[dict[str, Any]]:
    """Write an array and, while it is larger than a chunk, every second pixel of it; returns `multiscales`."""
    datasets: list[dict[str, Any]] = []
    while True:
        step, level = 2 ** len(datasets), str(len(datasets))
        _write_array(folder / level, pixels)
        scale = [1.0 if axis == "c" else step * (pixel_size or 1.0) for axis in axes]
        transformation = {"type": "scale", "scale": scale}
        datasets.append({"path": level, "coordinateTransformations": [transformation]})
        if max(pixels.shape[-2:]) <= _CHUNK:
            break
        pixels = pixels[..., ::2, ::2]
    return [
        {
            "version": _VERSION,
            "name": name,
            "axes": [_axis(axis, pixel_size) for axis in axes],
            "datasets": datasets,
        }
    ]


def _axis(name: str, pixel_size: float | None) -> dict[str, str]:
    if name == "c":
        return {"name": name, "type": "channel"}
    return {"name": name, "type": "space"} | ({"unit": "micrometer"} if pixel_size else {})


def _write_group(folder: Path, attributes: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / ".zgroup", {"zarr_format": 2})
    _write_json(folder / ".zattrs", attributes)


def _write_array(folder: Path, pixels: np.ndarray) -> None:
    """Write an array in chunks, those at its end being filled up with zeros."""
    chunk = (1,) * (pixels.ndim - 2) + (_CHUNK, _CHUNK)
    kind = pixels.dtype.newbyteorder("<")
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "zarr_format": 2,
        "shape": pixels.shape,
        "chunks": chunk,
        "dtype": kind.str,
        "compressor": {"id": "zlib", "level": 1},
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }
    _write_json(folder / ".zarray", description)
    counts = (-(-length // size) for length, size in zip(pixels.shape, chunk, strict=True))
    for place in np.ndindex(*counts):
        window = tuple(
            slice(number * size, (number + 1) * size)
            for number, size in zip(place, chunk, strict=True)
        )
        part = pixels[window]
        filled = np.zeros(chunk, kind)
        filled[tuple(map(slice, part.shape))] = part
        file = folder.joinpath(*map(str, place))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(zlib.compress(filled.tobytes(), 1))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


ZARR = Kind(
    "zarr",
    (*MASK_COLUMNS, *RANKING_COLUMNS, *MEASUREMENTS),
    {".ome.zarr": _write},
    needs_pixels=True,
    makes_folders=True,
)
"""OME-Zarr folders, each with an image and its labels."""
