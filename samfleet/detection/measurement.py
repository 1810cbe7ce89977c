"""Measure candidates on the pixels as read: intensities, background, shape, overlap.

Everything is in raw units. Intensities are lists with one number for each measured plane: the maximum
of the channels, the luminance (the maximum again if the image is not colour), then every channel. A pixel
that is NaN or infinite has no part in any of them, and a number of no pixel at all is None.
"""

import functools
import math
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from samfleet.brightness import Brightness
from samfleet.detection.quality import PlaneQuality
from samfleet.detection.row import CandidateRow
from samfleet.detection.shapes import ellipse, feret_diameter_max
from samfleet.sam.masks.bitmask import overlaps
from samfleet.sam.masks.parts import count_parts, largest_part
from samfleet.sam.masks.records import FoundMasks, SurvivingMask, surviving_masks

LUMINANCE_WEIGHTS = (0.299, 0.587, 0.114)
"""Red, green, blue: ITU-R BT.601-7, section 2.5.1."""

_FALLBACK_PERCENTILE = 5.0

_ROWS_AT_ONCE = 512

# What a pattern of 2 × 2 pixels adds to the perimeter, by the Crofton formula in four directions.
# The pattern's number is the sum of: right below 1, right above 2, left below 4, left above 8.
_STEP, _DIAGONAL = math.pi / 4, math.pi / (4 * math.sqrt(2))
_CROFTON = np.zeros(16)
_CROFTON[[1, 5]] = _STEP * (1 + 1 / math.sqrt(2))
_CROFTON[[2, 7, 10, 11]] = _DIAGONAL
_CROFTON[3] = 2 * _DIAGONAL
_CROFTON[[8, 12]] = _STEP
_CROFTON[[9, 13]] = 2 * _STEP


def distinct_planes(pixels: np.ndarray, is_color: bool) -> Iterator[np.ndarray]:
    """The measured planes that differ, one at a time: large ones do not fit into memory together.

    Args:
        pixels: (..., channels), any real dtype.
        is_color: whether the channels are red, green and blue.

    Yields:
        (...) in raw units, of the pixels' dtype or float64, with NaN for what is not finite: the maximum
        is that of the channels that are, the luminance needs all three.
    """
    if pixels.dtype.kind == "f":
        pixels = np.where(np.isfinite(pixels), pixels, pixels.dtype.type(np.nan))
    channels = [pixels[..., channel] for channel in range(pixels.shape[-1])]
    if len(channels) > 1:
        yield functools.reduce(np.fmax, channels)
    if is_color:
        yield pixels @ np.array(LUMINANCE_WEIGHTS)
    yield from channels


def plane_numbers(channels: int, is_color: bool) -> list[int]:
    """For every measured plane its number among those that `distinct_planes` yields."""
    if channels == 1:
        return [0, 0, 0]
    luminance = int(is_color)
    return [0, luminance, *range(luminance + 1, luminance + 1 + channels)]


def measure_found(
    pixels: np.ndarray, is_color: bool, found: FoundMasks, only_largest_part: bool
) -> tuple[tuple[dict, list[CandidateRow]], float]:
    """Choose among the masks that were found and measure them; runs in a worker process.

    Args:
        pixels, is_color: as for `measure_masks`.
        found: the masks.
        only_largest_part: of masks in several pieces, only the largest one is measured and stored.

    Returns:
        What `measure_masks` returns, and how many seconds it took.
    """
    start = time.perf_counter()
    masks = surviving_masks(found)
    measured = measure_masks(pixels, is_color, masks, only_largest_part)
    return measured, time.perf_counter() - start


def measure_masks(
    pixels: np.ndarray,
    is_color: bool,
    masks: Sequence[SurvivingMask],
    only_largest_part: bool = False,
) -> tuple[dict, list[CandidateRow]]:
    """Measure the masks that SAM found in an image.

    Args:
        pixels: (height, width, channels), as read.
        is_color: whether the channels are red, green and blue.
        masks: the masks of the image.
        only_largest_part: of masks in several pieces, only the largest one is measured and stored.

    Returns:
        The measured columns of the image, and a row for every mask. The background of a plane is
        the median of its finite pixels outside all candidates smaller than half the image, or the
        5th percentile of all finite pixels if there are none outside.
    """
    height, width = pixels.shape[:2]
    covered = np.zeros((height, width), bool)
    candidates = []
    masks, n_parts = _in_parts(masks, (height, width), only_largest_part)
    shared = overlaps([mask.pixels for mask in masks])
    for number, mask in enumerate(masks):
        window, region = mask.pixels.window, mask.pixels.region()
        area = mask.pixels.area
        if area < height * width / 2:
            covered[window] |= region
        candidates.append(
            CandidateRow(
                candidate=number,
                area=area,
                n_parts=n_parts[number],
                overlapping=list(shared[number]),
                shared_pixels=list(shared[number].values()),
                **_sam_columns(mask),
                **_shape_columns(region, mask.pixels.corner, area),
                **_intensity_columns(pixels[window], region, is_color),
            )
        )
    columns = _plane_columns(pixels, is_color, ~covered)
    return {
        "width": width,
        "height": height,
        "n_invalid_pixels": count_invalid(pixels),
        **columns,
    }, candidates


def count_invalid(pixels: np.ndarray) -> int:
    """How many of (height, width, channels) pixels are NaN or infinite in at least one channel."""
    if pixels.dtype.kind != "f":
        return 0
    return int(np.count_nonzero(~np.isfinite(pixels).all(axis=2)))


def _in_parts(
    masks: Sequence[SurvivingMask], size: tuple[int, int], only_largest_part: bool
) -> tuple[Sequence[SurvivingMask], Sequence[int]]:
    """The masks that are measured, and how many parts each of those that SAM found has."""
    if not only_largest_part or not masks:
        return masks, [count_parts(mask) for mask in masks]
    measured, n_parts = zip(*(largest_part(mask, size) for mask in masks), strict=True)
    return measured, n_parts


def _plane_columns(pixels: np.ndarray, is_color: bool, free: np.ndarray) -> dict:
    """Background and maximum of every plane, and how many pixels are above each level of brightness.

    Args:
        free: (height, width) bool, the pixels outside all candidates.
    """
    background, maximum, quality = [], [], []
    brightness: Brightness | None = None  # of the first plane, the maximum of the channels
    for plane in distinct_planes(pixels, is_color):
        brightness = brightness or Brightness.of(plane)
        background.append(_background(plane, free))
        maximum.append(_maximum(plane))
        quality.append(PlaneQuality())
        for first in range(0, len(plane), _ROWS_AT_ONCE):
            quality[-1].add(plane[first : first + _ROWS_AT_ONCE])
    columns = [each.columns() for each in quality]
    numbers = plane_numbers(pixels.shape[2], is_color)
    return {
        "background": [background[n] for n in numbers],
        "image_maximum": [maximum[n] for n in numbers],
        "pixels_above": list(brightness.above) if brightness else [],
        **{name: [columns[n][name] for n in numbers] for name in columns[0]},
    }


def _sam_columns(mask: SurvivingMask) -> dict:
    point_x, point_y = mask.point
    return {
        "rle": mask.rle,
        "predicted_iou": mask.predicted_iou,
        "stability_score": mask.stability,
        "point_x": point_x,
        "point_y": point_y,
        **_box("crop", *mask.crop_box),
    }


def _box(name: str, x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {f"{name}_x": x, f"{name}_y": y, f"{name}_width": width, f"{name}_height": height}


def _shape_columns(region: np.ndarray, corner: tuple[int, int], area: int) -> dict:
    """Shape in pixels; circularity is 4π·area/perimeter², solidity area/hull.

    Args:
        region: (height, width) bool, with pixels in its first and last rows and columns.
        corner: (row, column) of its first pixel in the image.
        area: number of its pixels.
    """
    (y, x), (height, width) = corner, region.shape
    if not area:
        height = width = 0
    length = perimeter(region)
    hull = _hull_area(region)
    return {
        **_box("bbox", x, y, width, height),
        "centroid_x": _mean_place(region, 0, area) + x,
        "centroid_y": _mean_place(region, 1, area) + y,
        "perimeter_crofton": length,
        "circularity": 4 * math.pi * area / length**2 if length else math.nan,
        "solidity": area / hull if hull else math.nan,
        **ellipse(region, area),
        "feret_diameter_max": feret_diameter_max(region),
        "extent": area / (height * width) if area else math.nan,
    }


def _mean_place(region: np.ndarray, axis: int, area: int) -> float:
    """Mean of the pixels' columns (over axis 0) or rows (over axis 1)."""
    counts = np.add.reduce(region.view(np.uint8), axis=axis, dtype=np.int64)
    return int(counts @ np.arange(len(counts))) / area if area else math.nan


def perimeter(region: np.ndarray) -> float:
    """Perimeter in pixels by the Crofton formula in four directions, as scikit-image computes it.

    With it, the circularity of a disc is 1 at every size.

    Args:
        region: (height, width) bool; nothing outside it is set.
    """
    height, width = region.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = region
    pairs = padded[1:] + 2 * padded[:-1]
    patterns = pairs[:, 1:] + 4 * pairs[:, :-1]
    return float(_CROFTON @ np.bincount(patterns.ravel(), minlength=16))


def _hull_area(region: np.ndarray) -> float:
    """Area of the convex hull of the pixels, each being a square."""
    rows = np.flatnonzero(region.any(axis=1)).astype(np.int32)
    if not len(rows):
        return 0.0
    left = region[rows].argmax(axis=1)
    right = region.shape[1] - region[rows, ::-1].argmax(axis=1)
    corners = [
        np.column_stack([column, row]) for column in (left, right) for row in (rows, rows + 1)
    ]
    return cv2.contourArea(cv2.convexHull(np.concatenate(corners).astype(np.int32)))


def _intensity_columns(pixels: np.ndarray, region: np.ndarray, is_color: bool) -> dict:
    """Number of finite pixels, and their sum, mean, maximum and standard deviation, of every plane.

    Args:
        pixels: (height, width, channels).
        region: (height, width) bool, the pixels that count.
    """
    # numpy selects from one channel many times faster than from all channels together
    under = np.stack([channel[region] for channel in np.moveaxis(pixels, 2, 0)], axis=1)
    statistics = [_statistics(plane) for plane in distinct_planes(under, is_color)]
    numbers = plane_numbers(pixels.shape[2], is_color)
    columns = zip(*(statistics[number] for number in numbers), strict=True)
    return {name: list(column) for name, column in zip(_STATISTICS, columns, strict=True)}


_STATISTICS = (
    "valid_pixels",
    "intensity_sum",
    "intensity_mean",
    "intensity_max",
    "intensity_std",
)


def _statistics(plane: np.ndarray) -> tuple[int, *tuple[float | None, ...]]:
    """The columns _STATISTICS of (n,) values, as numpy computes them in float64."""
    plane = _known(plane)
    if not len(plane):
        return 0, None, None, None, None
    values = plane.astype(np.float64)
    total = values.sum()
    mean = total / len(values)
    values -= mean
    values *= values
    std = np.sqrt(values.sum() / len(values))
    return len(values), float(total), float(mean), float(plane.max()), float(std)


def _known(values: np.ndarray) -> np.ndarray:
    """Those of some values that are not NaN, (n,)."""
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values.ravel()


def _maximum(plane: np.ndarray) -> float | None:
    known = _known(plane)
    return float(known.max()) if len(known) else None


def _background(plane: np.ndarray, free: np.ndarray) -> float | None:
    outside = _known(plane[free])
    if len(outside):
        return median(outside)
    known = _known(plane)
    if not len(known):
        return None
    return float(np.percentile(known.astype(np.float64), _FALLBACK_PERCENTILE))


def median(values: np.ndarray) -> float:
    """The median as numpy computes it in float64; for integers of cameras, by counting.

    Args:
        values: (n,) of any real dtype, at least one.
    """
    if values.dtype.kind != "u" or values.dtype.itemsize > 2:
        return float(np.median(values.astype(np.float64), overwrite_input=True))
    up_to = np.cumsum(np.bincount(values))
    middle = np.searchsorted(up_to, [(len(values) - 1) // 2, len(values) // 2], side="right")
    return float(middle.mean())
