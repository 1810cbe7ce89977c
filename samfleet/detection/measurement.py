"""Measure candidates on the pixels as read: intensities, background, shape, overlap.

Everything is in raw units. Intensities are lists with one number for each measured plane: the maximum
of the channels, the luminance (the maximum again if the image is not colour), then every channel. A pixel
that is NaN or infinite has no part in any of them, and a number of no pixel at all is None.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from samfleet.brightness import NOTHING, Brightness
from samfleet.detection.quality import PlaneQuality
from samfleet.detection.row import CandidateRow
from samfleet.detection.shapes import (
    convex_hull,
    ellipse,
    feret_diameter_max,
    hull_area,
    pixels_in_lines,
)
from samfleet.images.windows import KeptBlocks, WholeImage, Windows, bands
from samfleet.ranks import RankCounter, histogram, middle_ranks
from samfleet.sam.masks.bitmask import BitMask, overlaps
from samfleet.sam.masks.parts import count_parts, largest_part
from samfleet.sam.masks.records import FoundMasks, SurvivingMask, surviving_masks

LUMINANCE_WEIGHTS = (0.299, 0.587, 0.114)
"""Red, green, blue: ITU-R BT.601-7, section 2.5.1."""

_FALLBACK_PERCENTILE = 5.0

_AT_ONCE = 1 << 23
"""Pixels of a mask's window that are measured at once. Sums of more are added up, for whole images as for
windows, so that both give the same bits."""

_ROWS_AT_ONCE = 512  # whose quality is counted at once, for windows as for whole images

_ROWS = 256  # masks are measured in the order of rows of tiles, each of which is then decoded once

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
        # element by element: the last bits of a matrix product depend on the size of the window
        red, green, blue = map(np.multiply, channels, np.array(LUMINANCE_WEIGHTS))
        yield red + green + blue
    yield from channels


def plane_numbers(channels: int, is_color: bool) -> list[int]:
    """For every measured plane its number among those that `distinct_planes` yields."""
    if channels == 1:
        return [0, 0, 0]
    luminance = int(is_color)
    return [0, luminance, *range(luminance + 1, luminance + 1 + channels)]


def _number_of_planes(windows: Windows) -> int:
    return 1 + max(plane_numbers(windows.shape[2], windows.is_color))


def measure_found(
    pixels: np.ndarray | Windows, is_color: bool, found: FoundMasks, only_largest_part: bool
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
    pixels: np.ndarray | Windows,
    is_color: bool,
    masks: Sequence[SurvivingMask],
    only_largest_part: bool = False,
) -> tuple[dict, list[CandidateRow]]:
    """Measure the masks that SAM found in an image.

    Args:
        pixels: (height, width, channels), as read, or what gives windows of them; the results are the same.
        is_color: whether the channels are red, green and blue.
        masks: the masks of the image.
        only_largest_part: of masks in several pieces, only the largest one is measured and stored.

    Returns:
        The measured columns of the image, and a row for every mask. The background of a plane is
        the median of its finite pixels outside all candidates smaller than half the image, or the
        5th percentile of all finite pixels if there are none outside.
    """
    windows = WholeImage(pixels, is_color) if isinstance(pixels, np.ndarray) else KeptBlocks(pixels)
    height, width, _ = windows.shape
    masks, n_parts = _in_parts(masks, (height, width), only_largest_part)
    shared = overlaps([mask.pixels for mask in masks])
    intensities = _intensities(windows, [mask.pixels for mask in masks])
    candidates = [
        CandidateRow(
            candidate=number,
            area=mask.pixels.area,
            n_parts=n_parts[number],
            overlapping=list(shared[number]),
            shared_pixels=list(shared[number].values()),
            **_sam_columns(mask),
            **_shape_columns(mask.pixels.region(), mask.pixels.corner, mask.pixels.area),
            **intensities[number],
        )
        for number, mask in enumerate(masks)
    ]
    covering = [m.pixels for m in masks if m.pixels.area < height * width / 2]
    columns = {"width": width, "height": height, **_image_columns(windows, covering)}
    windows.check()
    return columns, candidates


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


@dataclass
class _Plane:
    """What is known of a measured plane after some bands of the image.

    Attributes:
        outside: finds the median of the pixels outside all candidates.
        quality: how sharp, saturated and empty it is.
        maximum: the largest finite value; None if there is none yet.
    """

    outside: RankCounter
    quality: PlaneQuality
    maximum: float | None = None


def _image_columns(windows: Windows, covering: Sequence[BitMask]) -> dict:
    """Background and maximum of every plane, pixels above each level of brightness, and invalid pixels.

    Args:
        windows: the image.
        covering: the masks outside which the background is.
    """
    is_color, channels = windows.is_color, windows.shape[2]
    brightness, n_invalid = NOTHING, 0
    planes: list[_Plane] = []
    for pixels, free in _bands_outside(windows, covering):
        n_invalid += count_invalid(pixels)
        for number, plane in enumerate(distinct_planes(pixels, is_color)):
            if number == len(planes):
                planes.append(_Plane(RankCounter(plane.dtype), PlaneQuality()))
            if number == 0:  # the maximum of the channels
                brightness += Brightness.of(plane)
            seen = planes[number]
            known = (value for value in (seen.maximum, _maximum(plane)) if value is not None)
            seen.maximum = max(known, default=None)
            seen.outside.add(plane[free])
            for first in range(0, len(plane), _ROWS_AT_ONCE):
                seen.quality.add(plane[first : first + _ROWS_AT_ONCE])
    numbers = plane_numbers(channels, is_color)
    background = _backgrounds(windows, covering, planes)
    quality = [plane.quality.columns() for plane in planes]
    return {
        "n_invalid_pixels": n_invalid,
        "background": [background[n] for n in numbers],
        "image_maximum": [planes[n].maximum for n in numbers],
        "pixels_above": list(brightness.above),
        **{name: [quality[n][name] for n in numbers] for name in quality[0]},
    }


def _bands_outside(
    windows: Windows, covering: Sequence[BitMask]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pixels of every band of an image, and which of them are outside some masks: (rows, width) bool."""
    height, width, _ = windows.shape
    top = np.array([mask.corner[0] for mask in covering], np.int64)
    bottom = top + np.array([mask.shape[0] for mask in covering], np.int64)
    for first, end in bands((height, width)):
        free = np.ones((end - first, width), bool)
        for number in np.flatnonzero((top < end) & (bottom > first)).tolist():
            mask = covering[number]
            row, column = mask.corner
            low, high = max(first, row), min(end, row + mask.shape[0])
            part = free[low - first : high - first, column : column + mask.shape[1]]
            part &= ~mask.region(low - row, high - row)
        yield windows.read(first, end, 0, width), free


def _backgrounds(
    windows: Windows, covering: Sequence[BitMask], planes: list[_Plane]
) -> list[float | None]:
    """The background of every plane, after the first pass over the image."""
    outside = {number: plane.outside for number, plane in enumerate(planes)}
    medians = {number: counter for number, counter in outside.items() if counter.count}
    _count(windows, covering, medians, middle_ranks)
    rest = {n: RankCounter(outside[n].dtype) for n in outside.keys() - medians.keys()}
    if rest:
        _count_band_by_band(windows, (), rest)
        rest = {number: counter for number, counter in rest.items() if counter.count}
        _count(windows, (), rest, _fallback_ranks)
    found = {n: float(np.mean(counter.values)) for n, counter in medians.items()}
    found |= {n: _fallback(counter) for n, counter in rest.items()}
    return [found.get(number) for number in outside]


def _count(
    windows: Windows,
    covering: Sequence[BitMask],
    counters: dict[int, RankCounter],
    ranks_of: Callable[[int], Sequence[int]],
) -> None:
    """Go over an image until the numbers at some ranks are known, after the first time."""
    while counters := {n: c for n, c in counters.items() if c.look_for(ranks_of(c.count))}:
        _count_band_by_band(windows, covering, counters)


def _count_band_by_band(
    windows: Windows, covering: Sequence[BitMask], counters: dict[int, RankCounter]
) -> None:
    """Count the pixels outside some masks, in the planes of these numbers."""
    for pixels, free in _bands_outside(windows, covering):
        for number, plane in enumerate(distinct_planes(pixels, windows.is_color)):
            if number in counters:
                counters[number].add(plane[free])


def _fallback_ranks(count: int) -> tuple[int, int]:
    place = _fallback_place(count)
    return math.floor(place), math.ceil(place)


def _fallback_place(count: int) -> float:
    return (count - 1) * _FALLBACK_PERCENTILE / 100


def _fallback(counter: RankCounter) -> float:
    """A percentile between two numbers, as numpy interpolates it."""
    low, high = map(float, counter.values)
    part = _fallback_place(counter.count) % 1
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


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
    hull = convex_hull(region)
    convex = hull_area(hull)
    return {
        **_box("bbox", x, y, width, height),
        "centroid_x": _mean_place(region, 0, area) + x,
        "centroid_y": _mean_place(region, 1, area) + y,
        "perimeter_crofton": length,
        "circularity": 4 * math.pi * area / length**2 if length else math.nan,
        "solidity": area / convex if convex else math.nan,
        **ellipse(region, area),
        "feret_diameter_max": feret_diameter_max(hull),
        "extent": area / (height * width) if area else math.nan,
    }


def _mean_place(region: np.ndarray, axis: int, area: int) -> float:
    """Mean of the pixels' columns (over axis 0) or rows (over axis 1)."""
    counts = pixels_in_lines(region, axis)
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
    counts = np.zeros(16, np.int64)
    rows = max(1, _AT_ONCE // width)
    for first in range(0, height + 1, rows):
        part = padded[first : first + rows + 1]
        pairs = part[1:] + 2 * part[:-1]
        patterns = pairs[:, 1:] + 4 * pairs[:, :-1]
        counts += histogram(patterns)[:16]
    return float(_CROFTON @ counts)


def _intensities(windows: Windows, masks: Sequence[BitMask]) -> list[dict]:
    """The intensity columns of every mask."""
    places = [(mask.corner[0] // _ROWS, mask.corner[1]) for mask in masks]
    found: list[dict] = [{}] * len(masks)
    for number in sorted(range(len(masks)), key=places.__getitem__):
        found[number] = _intensity_columns(windows, masks[number])
    return found


def _intensity_columns(windows: Windows, mask: BitMask) -> dict:
    """Number of finite pixels, and their sum, mean, maximum and standard deviation, of every plane."""
    statistics = [_Statistics() for _ in range(_number_of_planes(windows))]

    def parts() -> Iterator[tuple[_Statistics, np.ndarray]]:
        for under in _pixels_under(windows, mask):
            planes = distinct_planes(under, windows.is_color)
            for statistic, values in zip(statistics, planes, strict=True):
                yield statistic, _known(values).astype(np.float64, copy=False)  # a copy as it is

    height, width = mask.shape
    is_one_part = height * width <= _AT_ONCE
    for statistic, values in parts():
        statistic.add(values)
        if is_one_part:
            statistic.add_deviations(values)
    if not is_one_part:
        for statistic, values in parts():
            statistic.add_deviations(values)
    numbers = plane_numbers(windows.shape[2], windows.is_color)
    columns = zip(*(statistics[number].columns() for number in numbers), strict=True)
    return {name: list(column) for name, column in zip(_STATISTICS, columns, strict=True)}


def _pixels_under(windows: Windows, mask: BitMask) -> Iterator[np.ndarray]:
    """The pixels under a mask, (n, channels), some rows at a time."""
    (row, column), (height, width) = mask.corner, mask.shape
    rows = max(1, _AT_ONCE // width)
    for first in range(0, height, rows):
        end = min(first + rows, height)
        pixels = windows.read(row + first, row + end, column, column + width)
        region = mask.region(first, end)
        # numpy selects from one channel many times faster than from all channels together
        yield np.stack([channel[region] for channel in np.moveaxis(pixels, 2, 0)]).T


_STATISTICS = (
    "valid_pixels",
    "intensity_sum",
    "intensity_mean",
    "intensity_max",
    "intensity_std",
)


class _Statistics:
    """The columns _STATISTICS of float64 numbers that come in parts: first all of them, then all again."""

    def __init__(self) -> None:
        self._count, self._total, self._deviations = 0, 0.0, 0.0
        self._maximum: float | None = None

    def add(self, numbers: np.ndarray) -> None:
        """Add a part of the numbers, (n,) without NaN."""
        if not len(numbers):
            return
        self._count += len(numbers)
        self._total += float(numbers.sum())
        largest = float(numbers.max())
        self._maximum = largest if self._maximum is None else max(self._maximum, largest)

    def add_deviations(self, numbers: np.ndarray) -> None:
        """Add a part again, once all are known; what is in it is lost."""
        if len(numbers):
            numbers -= self._total / self._count
            numbers *= numbers
            self._deviations += float(numbers.sum())

    def columns(self) -> tuple[int, *tuple[float | None, ...]]:
        if not self._count:
            return 0, None, None, None, None
        deviation = math.sqrt(self._deviations / self._count)
        return self._count, self._total, self._total / self._count, self._maximum, deviation


def _known(values: np.ndarray) -> np.ndarray:
    """Those of some values that are not NaN, (n,)."""
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values.ravel()


def _maximum(plane: np.ndarray) -> float | None:
    known = _known(plane)
    return float(known.max()) if len(known) else None
