"""Axes and diameter of a shape, as scikit-image's `regionprops` defines them."""

import math

import cv2
import numpy as np

_PAIRS_AT_ONCE = 1 << 20


def ellipse(region: np.ndarray, area: int) -> dict[str, float]:
    """Axes, eccentricity and orientation of the ellipse that has the region's second moments.

    Orientation is the angle between the rows' axis (downwards) and the major axis, from -π/2 to π/2, counter-clockwise.

    Args:
        region: (height, width) bool.
        area: number of its pixels.
    """
    names = ("major_axis_length", "minor_axis_length", "eccentricity", "orientation")
    if not area:
        return dict.fromkeys(names, math.nan)
    rows, columns = (np.arange(size, dtype=np.float64) for size in region.shape)
    in_row, in_column = pixels_in_lines(region, 1), pixels_in_lines(region, 0)
    rows -= in_row @ rows / area
    columns -= in_column @ columns / area
    over_rows = float(in_row @ rows**2) / area
    over_columns = float(in_column @ columns**2) / area
    both = float(rows @ (region @ columns)) / area
    middle = (over_rows + over_columns) / 2
    apart = math.hypot((over_rows - over_columns) / 2, both)
    large, small = middle + apart, max(0.0, middle - apart)
    if over_rows == over_columns:
        orientation = math.copysign(math.pi / 4, both) if both else math.pi / 4
    else:
        orientation = math.atan2(2 * both, over_rows - over_columns) / 2
    eccentricity = math.sqrt(max(0.0, 1 - small / large)) if large else 0.0
    axes = 4 * math.sqrt(large), 4 * math.sqrt(small)
    return dict(zip(names, (*axes, eccentricity, orientation), strict=True))


def pixels_in_lines(region: np.ndarray, axis: int) -> np.ndarray:
    """How many pixels each column (over axis 0) or row (over axis 1) of a region has: (n,) int64."""
    counts = cv2.reduce(region.view(np.uint8), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    return counts.ravel().astype(np.int64)


def convex_hull(region: np.ndarray) -> np.ndarray:
    """The pixels at the corners of a region's convex hull: (n, 2) int32, columns and rows.

    Args:
        region: (height, width) bool.
    """
    rows = np.flatnonzero(region.any(axis=1)).astype(np.int32)
    if not len(rows):
        return np.zeros((0, 2), np.int32)
    lines = region[rows]
    left, right = lines.argmax(axis=1), lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
    ends = np.empty((2 * len(rows), 2), np.int32)
    ends[:, 0] = np.concatenate([left, right])
    ends[:, 1] = np.concatenate([rows, rows])
    return cv2.convexHull(ends)[:, 0]


def hull_area(hull: np.ndarray) -> float:
    """Area of the convex hull of pixels, each being a square; 0 if there are none.

    Args:
        hull: as `convex_hull` gives it.
    """
    return cv2.contourArea(cv2.convexHull(_corners(hull))) if len(hull) else 0.0


def feret_diameter_max(hull: np.ndarray) -> float:
    """The longest distance between two points of the outline, which runs half a pixel outside the pixels' centres.

    Args:
        hull: as `convex_hull` gives it.
    """
    if not len(hull):
        return math.nan
    points = hull.astype(np.float64)
    longest = 0.0
    step = max(1, _PAIRS_AT_ONCE // len(points))
    for first in range(0, len(points), step):
        across, down = np.abs(points[first : first + step, None] - points).transpose(2, 0, 1)
        # half a pixel at both ends lengthens the distance most along the axis on which they are further apart
        squares = (np.maximum(across, down) + 1) ** 2 + np.minimum(across, down) ** 2
        longest = max(longest, float(squares.max()))
    return math.sqrt(longest)


_CORNERS = np.array([(0, 0), (1, 0), (0, 1), (1, 1)], np.int32)


def _corners(hull: np.ndarray) -> np.ndarray:
    """The corners of a hull's pixels, among which are those of the hull of all pixels' corners."""
    return (hull[:, None] + _CORNERS).reshape(-1, 2)
