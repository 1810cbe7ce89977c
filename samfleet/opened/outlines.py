"""The outline of a mask along the edges of its pixels, so that it encloses exactly the mask's area."""

import cv2
import numpy as np

from samfleet.opened.masks import Region

Ring = np.ndarray
"""(n, 2) int64, the x and y of a ring's corners; the last one is not the first one again."""

_DIAGONALS = (6, 9)
_ABOVE_LEFT, _ABOVE_RIGHT, _BELOW_LEFT, _BELOW_RIGHT = 1, 2, 4, 8


def polygons_of(region: Region) -> list[list[Ring]]:
    """The polygons of a mask: each has its outer ring first, and then its holes.

    Corners are those of pixels: the pixel in column 3 of row 5 is the square from (3, 5) to (4, 6). Pixels that
    touch at a corner alone are in different polygons, so that every polygon is valid (OGC simple features):
    rings do not cross or touch themselves. Outer rings run clockwise on the screen, holes the other way.
    """
    count, parts = cv2.connectedComponents(region.pixels.astype(np.uint8), connectivity=4)
    corner = np.array([region.x, region.y])
    polygons = []
    for part in range(1, count):
        rings = _rings(parts == part if count > 2 else region.pixels)
        rings.sort(key=signed_area, reverse=True)
        polygons.append([ring + corner for ring in rings])
    return polygons


def signed_area(ring: Ring) -> float:
    """The area that a ring encloses; negative if it runs anticlockwise on the screen."""
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _rings(pixels: np.ndarray) -> list[Ring]:
    """The rings of a mask whose pixels are connected by their sides.

    Of the corners on a line, the first and the second are joined, the third and the fourth, and so on, on every
    row of the grid and in every column. A ring goes along rows and columns in turn.
    """
    padded = np.pad(pixels.astype(np.uint8), 1)
    patterns = (
        _ABOVE_LEFT * padded[:-1, :-1]
        + _ABOVE_RIGHT * padded[:-1, 1:]
        + _BELOW_LEFT * padded[1:, :-1]
        + _BELOW_RIGHT * padded[1:, 1:]
    )
    odd = np.array([int(n).bit_count() % 2 for n in range(16)], bool)
    y, x = np.nonzero(odd[patterns])
    y2, x2 = np.nonzero(np.isin(patterns, _DIAGONALS))
    # where pixels touch diagonally, two rings have a corner, each around one pixel of the background
    falling = patterns[y2, x2] == _ABOVE_LEFT + _BELOW_RIGHT
    x = np.concatenate([x, x2, x2])
    y = np.concatenate([y, y2, y2])
    # the corner of the background above is the first on its column; it is on the right where pixels fall
    below = np.concatenate([np.zeros(len(x) - len(x2)), np.ones(len(x2))])
    right = np.concatenate([np.zeros(len(x) - 2 * len(x2)), falling, ~falling])
    along_row = _partners(np.lexsort((right, x, y)))
    along_column = _partners(np.lexsort((below, y, x)))
    corners = np.column_stack([x, y])
    rings, seen = [], np.zeros(len(x), bool)
    for first in range(len(x)):
        if seen[first]:
            continue
        ring, corner = [], first
        while True:
            other = along_row[corner]
            ring += [corner, other]
            corner = along_column[other]
            if corner == first:
                break
        seen[ring] = True
        rings.append(_directed(corners[ring], pixels))
    return rings


def _partners(order: np.ndarray) -> list[int]:
    """For every corner the one that it is joined with, if they are joined two by two in this order."""
    partners = np.empty(len(order), np.int64)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    return partners.tolist()


def _directed(ring: Ring, pixels: np.ndarray) -> Ring:
    """A ring whose first side is horizontal, with the mask to the right of whoever goes along it."""
    (x, y), (end, _) = ring[0], ring[1]
    below = y < len(pixels) and pixels[y, min(x, end)]
    return ring if below == (x < end) else ring[::-1]
