"""Axes and diameter of a shape, as scikit-image's `regionprops` defines them."""

import math

import cv2
import numpy as np


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
    bits = region.view(np.uint8)
    rows, columns = (np.arange(size, dtype=np.float64) for size in region.shape)
    in_row = np.add.reduce(bits, axis=1, dtype=np.int64)
    in_column = np.add.reduce(bits, axis=0, dtype=np.int64)
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


def feret_diameter_max(region: np.ndarray) -> float:
    """The longest distance between two points of the outline, which runs half a pixel outside the pixels' centres.

    Args:
        region: (height, width) bool.
    """
    rows = np.flatnonzero(region.any(axis=1))
    if not len(rows):
        return math.nan
    columns = np.flatnonzero(region.any(axis=0))
    left, right = _ends(region[rows])
    top, bottom = _ends(region[:, columns].T)
    # twice the coordinates, so that they are integers
    points = [
        np.column_stack([2 * x + half, 2 * y + other])
        for x, y, half, other in (
            (left, rows, -1, 0),
            (right, rows, 1, 0),
            (columns, top, 0, -1),
            (columns, bottom, 0, 1),
        )
    ]
    hull = cv2.convexHull(np.concatenate(points).astype(np.int32))[:, 0].astype(np.float64)
    longest = max(float(np.square(hull - point).sum(axis=1).max()) for point in hull)
    return math.sqrt(longest) / 2


def _ends(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last place that is set in each line, which all have one."""
    return lines.argmax(axis=1), lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
