"""Label images: every object in the value of its number, as Fiji, napari, Cellpose and others read them."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from samfleet.exports.source import Kind, Source
from samfleet.opened.masks import (
    MASK_COLUMNS,
    RANKING_COLUMNS,
    label_strips,
    label_type,
)

_STRIP_BYTES = 1 << 22
_BIGTIFF = 1 << 31


def _strips(source: Source) -> tuple[int, Iterator[np.ndarray]]:
    """How many rows a strip has, and the strips."""
    image = source.image
    width = max(1, image.width) * np.dtype(label_type(source.objects)).itemsize
    rows = min(image.height, max(1, _STRIP_BYTES // width))
    return rows, label_strips(source.objects, (image.height, image.width), rows)


def _write_image(path: Path, source: Source) -> None:
    image, kind = source.image, label_type(source.objects)
    rows, strips = _strips(source)
    highest = max((row["label"] for row in source.objects), default=0)
    described = ["ImageJ=1.54f", f"min={0}", f"max={float(max(1, highest))}"]
    resolution = None
    if image.pixel_size:
        described += ["unit=micron"]
        resolution = (1 / image.pixel_size, 1 / image.pixel_size)
    big = image.width * image.height * np.dtype(kind).itemsize > _BIGTIFF
    with tifffile.TiffWriter(path, byteorder="<", bigtiff=big) as file:
        file.write(
            (
                zlib.compress(strip.astype(strip.dtype.newbyteorder("<")).tobytes(), 6)
                for strip in strips
            ),
            shape=(image.height, image.width),
            dtype=kind,
            photometric="minisblack",
            compression="zlib",
            rowsperstrip=rows,
            resolution=resolution,
            resolutionunit="NONE",
            description="\n".join(described) + "\n",
            metadata=None,
            software="samfleet",
        )


def _write_areas(path: Path, source: Source) -> None:
    numbers = [row["label"] for row in source.objects]
    shown = np.zeros(max(numbers, default=0) + 1, np.int64)
    for strip in _strips(source)[1]:
        shown += np.bincount(strip.ravel(), minlength=len(shown))
    areas = {
        "label": numbers,
        "area": [row["area"] for row in source.objects],
        "area_in_label_image": [int(shown[number]) for number in numbers],
    }
    pd.DataFrame(areas).to_csv(path, index=False)


LABELS = Kind(
    "labels",
    (*MASK_COLUMNS, *RANKING_COLUMNS, "area"),
    {".tif": _write_image, ".csv": _write_areas},
)
"""TIFFs of uint16, or uint32 above 65535 objects, and a table of areas beside each."""
