"""Fluorescence of candidates, on the pixels as read: intensities, background, shape, overlap.

Everything is in raw units. Intensities are lists, one number for each measured plane, in the
order of `measured_planes`: the maximum of the channels, the luminance, then every channel.
"""

import itertools
import math
import time
from collections.abc import Iterator

import cv2
import numpy as np
from pycocotools import mask as coco
from skimage.measure import perimeter_crofton

from samfleet.sam.masks.records import FoundMasks, make_records

LUMINANCE_WEIGHTS = (0.299, 0.587, 0.114)
"""Red, green, blue: ITU-R BT.601-7, section 2.5.1."""

_FALLBACK_PERCENTILE = 5.0


def measured_planes(pixels: np.ndarray, is_color: bool) -> Iterator[np.ndarray]:
    """What is measured of pixels, one plane at a time, since a large image has no room for all.

    Args:
        pixels: (..., channels), any real dtype.
        is_color: whether the channels are red, green and blue.

    Yields:
        (...) float64 in raw units: the maximum of the channels, the luminance (for images that
        are not colour the same as the maximum), then every channel. Pixels that are not finite
        count as 0.
    """
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    yield pixels.max(axis=-1).astype(np.float64)
    if is_color:
        yield pixels @ np.array(LUMINANCE_WEIGHTS)
    else:
        yield pixels.max(axis=-1).astype(np.float64)
    for channel in range(pixels.shape[-1]):
        yield pixels[..., channel].astype(np.float64)


def measure_found(
    pixels: np.ndarray, is_color: bool, found: FoundMasks
) -> tuple[tuple[dict, list[dict]], float]:
    """Make the records of masks and measure them; runs in a worker process.

    Returns:
        As `measure_candidates`, and the seconds that it took.
    """
    start = time.perf_counter()
    measured = measure_candidates(pixels, is_color, make_records(found))
    return measured, time.perf_counter() - start


def measure_candidates(
    pixels: np.ndarray, is_color: bool, records: list[dict]
) -> tuple[dict, list[dict]]:
    """Measure the masks that SAM found in an image.

    Args:
        pixels: (height, width, channels), as read.
        is_color: whether the channels are red, green and blue.
        records: as SamAutomaticMaskGenerator gives them, with COCO run-length encodings.

    Returns:
        Columns of the image and of every candidate as in `samfleet.store.segments`. The background of a
        plane is the median of its pixels under no candidate smaller than half the image, or
        its 5th percentile when candidates cover everything.
    """
    height, width = pixels.shape[:2]
    covered = np.zeros((height, width), bool)
    candidates = []
    for number, record in enumerate(records):
        mask = coco.decode(record["segmentation"]).view(bool)
        window = _window(mask)
        cropped = mask[window]
        area = int(np.count_nonzero(cropped))
        if area < height * width / 2:
            covered[window] |= cropped
        candidates.append(
            _sam_columns(number, record)
            | _shape_columns(cropped, area, window)
            | _intensity_columns(np.stack([*measured_planes(pixels[window][cropped], is_color)]))
        )
    for candidate, overlap in zip(candidates, _overlaps(records, candidates), strict=True):
        candidate.update(overlap)
    return {"width": width, "height": height} | _plane_columns(
        pixels, is_color, ~covered
    ), candidates


def _plane_columns(pixels: np.ndarray, is_color: bool, free: np.ndarray) -> dict:
    """Background and maximum of every plane; `free` are the pixels under no candidate."""
    # the three planes of an image with one channel are the same
    planes = itertools.islice(
        measured_planes(pixels, is_color), 1 if pixels.shape[2] == 1 else None
    )
    background, maximum = [], []
    for plane in planes:
        background.append(_background(plane, free))
        maximum.append(float(plane.max()))
    repeat = 3 if len(maximum) == 1 else 1
    return {"background": background * repeat, "image_maximum": maximum * repeat}


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """The smallest rows and columns that hold the mask; one pixel for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 1), slice(0, 1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _sam_columns(number: int, record: dict) -> dict:
    counts = record["segmentation"]["counts"]
    point_x, point_y = record["point_coords"][0]
    return {
        "candidate": number,
        "rle": counts.decode("ascii") if isinstance(counts, bytes) else counts,
        "predicted_iou": float(record["predicted_iou"]),
        "stability_score": float(record["stability_score"]),
        "point_x": float(point_x),
        "point_y": float(point_y),
        **_box("crop", record["crop_box"]),
    }


def _box(name: str, xywh: list) -> dict:
    fields = (f"{name}_x", f"{name}_y", f"{name}_width", f"{name}_height")
    return dict(zip(fields, map(int, xywh), strict=True))


def _shape_columns(cropped: np.ndarray, area: int, window: tuple[slice, slice]) -> dict:
    """Shape in pixels.

    The perimeter is scikit-image's by the Crofton formula in four directions, which makes the
    circularity of discs 1 at every size; circularity is 4π·area/perimeter² and solidity
    area/(area of the convex hull of the pixels' squares).
    """
    rows, columns = window
    y, x = np.nonzero(cropped)
    length = float(perimeter_crofton(cropped, directions=4)) if area else 0.0
    hull = _hull_area(x, y)
    return {
        "area": area,
        **_box(
            "bbox",
            [
                columns.start,
                rows.start,
                columns.stop - columns.start if area else 0,
                rows.stop - rows.start if area else 0,
            ],
        ),
        "centroid_x": float(x.mean() + columns.start) if area else math.nan,
        "centroid_y": float(y.mean() + rows.start) if area else math.nan,
        "perimeter": length,
        "circularity": 4 * math.pi * area / length**2 if length else math.nan,
        "solidity": area / hull if hull else math.nan,
    }


def _hull_area(x: np.ndarray, y: np.ndarray) -> float:
    """Area of the convex hull of the squares of the pixels (x, y)."""
    if not x.size:
        return 0.0
    left, right = (
        np.full(y[-1] + 1, np.iinfo(np.int32).max, np.int32),
        np.full(y[-1] + 1, -1, np.int32),
    )
    np.minimum.at(left, y, x.astype(np.int32))
    np.maximum.at(right, y, x.astype(np.int32))
    rows = np.flatnonzero(right >= 0).astype(np.int32)
    corners = [
        np.column_stack([column, row])
        for column in (left[rows], right[rows] + 1)
        for row in (rows, rows + 1)
    ]
    return cv2.contourArea(cv2.convexHull(np.concatenate(corners).astype(np.int32)))


def _intensity_columns(values: np.ndarray) -> dict:
    """Sum, mean, maximum and standard deviation of (planes, pixels)."""
    if not values.shape[1]:
        values = np.zeros((len(values), 1))
    return {
        "intensity_sum": values.sum(axis=1).tolist(),
        "intensity_mean": values.mean(axis=1).tolist(),
        "intensity_maximum": values.max(axis=1).tolist(),
        "intensity_std": values.std(axis=1).tolist(),
    }


def _overlaps(records: list[dict], candidates: list[dict]) -> list[dict]:
    """For every candidate the numbers of those that share pixels with it, and how many."""
    encodings = [record["segmentation"] for record in records]
    if not encodings:
        return []
    # pycocotools 2.0.11 cannot take the areas of more than 255 masks with numpy 2
    areas = np.array([candidate["area"] for candidate in candidates], np.float64)
    iou = np.asarray(coco.iou(encodings, encodings, [0] * len(encodings)))
    # intersection = IoU × union = IoU × (a + b − intersection): whole numbers up to rounding
    shared = np.rint(iou * (areas[:, None] + areas[None]) / (1 + iou)).astype(np.int64)
    np.fill_diagonal(shared, 0)
    overlaps = []
    for row in shared:
        others = np.flatnonzero(row)
        overlaps.append({"overlapping": others.tolist(), "shared_pixels": row[others].tolist()})
    return overlaps


def _background(plane: np.ndarray, free: np.ndarray) -> float:
    if free.any():
        return float(np.median(plane[free]))
    return float(np.percentile(plane, _FALLBACK_PERCENTILE))
