"""Masks of the tables as pixels: of the box of one object, or of all objects of an image, by strips."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samfleet.results import OBJECT_COLUMNS
from samfleet.sam.masks.rle import runs_of

MASK_COLUMNS = ("label", "bbox_x", "bbox_y", "bbox_width", "bbox_height", "height", "rle")
"""The columns of objects.parquet that a mask is made from."""

RANKING_COLUMNS = ("predicted_iou", "stability_score")
"""The columns by which the better of two objects is known, then by the lower label."""


@dataclass(frozen=True, slots=True)
class Region:
    """The pixels of a mask in its box.

    Attributes:
        x, y: the first column and row of the box in the image.
        pixels: (height, width) bool.
    """

    x: int
    y: int
    pixels: np.ndarray


def region_of(row: Mapping[str, Any]) -> Region:
    """The mask of an object, however large its image is.

    Args:
        row: the MASK_COLUMNS of an object.
    """
    x, y, width, height = (int(row[f"bbox_{name}"]) for name in ("x", "y", "width", "height"))
    ends = np.cumsum(runs_of(row["rle"]))
    start, last = ends[:-1:2], ends[1::2] - 1
    start = start[: len(last)]
    # a run crosses from one column to the next only where the box is as high as the image
    flat = np.zeros(width * height + 1, np.int8)
    flat[_places(start, int(row["height"]), x, y, height)] += 1
    flat[_places(last, int(row["height"]), x, y, height) + 1] -= 1
    pixels = np.cumsum(flat[:-1], dtype=np.int8).astype(bool).reshape(width, height).T
    return Region(x, y, pixels)


def _places(pixels: np.ndarray, image_height: int, x: int, y: int, height: int) -> np.ndarray:
    """Pixels of an image, counted column by column, as pixels of a box."""
    column, row = np.divmod(pixels, image_height)
    return (column - x) * height + row - y


def worst_first(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Objects with the better ones last, so that they are drawn over the others."""
    return sorted(
        rows, key=lambda row: (row["predicted_iou"], row["stability_score"], -row["label"])
    )


def label_type(rows: Sequence[Mapping[str, Any]]) -> type[np.unsignedinteger]:
    """The type of pixels that a label image of some objects needs."""
    highest = max((row["label"] for row in rows), default=0)
    return np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32


def label_strips(
    rows: Sequence[Mapping[str, Any]], size: tuple[int, int], rows_at_a_time: int
) -> Iterator[np.ndarray]:
    """A label image from top to bottom: 0 is background, and where objects overlap the better one is seen.

    Args:
        rows: objects with MASK_COLUMNS and RANKING_COLUMNS.
        size: (height, width) of the image.
        rows_at_a_time: rows of pixels of each strip but the last.

    Yields:
        (rows, width) of `label_type`.
    """
    height, width = size
    kind = label_type(rows)
    objects = worst_first(rows)
    boxes = np.array([[row["bbox_y"], row["bbox_height"]] for row in objects], np.int64)
    tops, bottoms = boxes.reshape(-1, 2)[:, 0], boxes.reshape(-1, 2).sum(axis=1)
    regions: dict[int, Region] = {}
    for top in range(0, height, rows_at_a_time):
        strip = np.zeros((min(rows_at_a_time, height - top), width), kind)
        bottom = top + len(strip)
        inside = np.flatnonzero((tops < bottom) & (bottoms > top)).tolist()
        regions = {number: region for number, region in regions.items() if bottoms[number] > top}
        for number in inside:
            region = regions.get(number) or region_of(objects[number])
            regions[number] = region
            first, last = max(top, region.y), min(bottom, region.y + len(region.pixels))
            pixels = region.pixels[first - region.y : last - region.y]
            target = strip[first - top : last - top, region.x : region.x + pixels.shape[1]]
            target[pixels] = objects[number]["label"]
        yield strip


_PLACES = ("scene", "time", "label", "candidate", "width", "height", "pixel_size_um")
MEASUREMENTS = tuple(
    name
    for name, kind in OBJECT_COLUMNS.items()
    if kind != "string" and name not in _PLACES and not name.startswith("bbox_")
)
"""The columns of every objects.parquet that say something about an object beside its number and its place."""


def measurements_of(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, float | int | bool]:
    """The measurements of an object that have a value and are finite.

    Args:
        row: an object with these columns.
        names: as `samfleet.opened.tables.measurement_columns` returns them.
    """
    return {name: row[name] for name in names if row[name] is not None and math.isfinite(row[name])}
