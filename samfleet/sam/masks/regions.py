"""Remove small islands and holes from masks that fill only a part of the frame.

The result is that of ``segment_anything.utils.amg.remove_small_regions``, which labels whole frames; here
only the region around the mask is labelled.
"""

from __future__ import annotations

import cv2
import numpy as np

_AT_ONCE = 1 << 22  # pixels whose labels are counted


def remove_small_regions(
    mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int], min_area: int
) -> tuple[np.ndarray, tuple[int, int], bool]:
    """Fills holes and then removes islands that have fewer pixels than ``min_area``.

    Regions are 8-connected. Background that the mask and the edge of the frame enclose counts as a
    hole.
    If every island is small, the largest one is kept.

    Args:
        mask: (height, width) bool, a region of the frame outside which nothing is set.
        corner: (row, column) of the region's first pixel in the frame.
        size: (height, width) of the frame.
        min_area: in pixels.

    Returns:
        The region and corner of the new mask, and whether anything was filled or removed.
    """
    mask, corner = _align(mask, corner, size, min_area)
    background, holes = _label(~mask)
    # Background at the region's sides continues outside, and there it is large enough.
    holes[_labels_at_cuts(background, corner, size)] = False
    small = _small(background, holes, min_area)
    changed = bool(small.any())
    if changed:
        mask = mask | small[background]
    islands, each = _label(mask)
    small = _small(islands, each, min_area)
    if small.any():
        changed = True
        if small[1:].all():
            small[1 + np.argmax(_areas(islands, len(small))[1:])] = False
        mask = mask & ~small[islands]
    return mask, corner, changed


def _label(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers connected regions from 1, (height, width) int32; and (n + 1,) bool, which numbers are regions."""
    count, labels = cv2.connectedComponents(flags.view(np.uint8), connectivity=8)
    return labels, np.arange(count) > 0


def _small(labels: np.ndarray, regions: np.ndarray, min_area: int) -> np.ndarray:
    """Which of some regions have fewer pixels, (n + 1,) bool; most masks have one, or no hole to be counted."""
    if not regions.any():
        return regions
    if len(regions) == 2:
        return regions & (np.count_nonzero(labels) < min_area)
    return regions & (_areas(labels, len(regions)) < min_area)


def _areas(labels: np.ndarray, count: int) -> np.ndarray:
    """Pixels of each label, (count,) int64. OpenCV tells them, too, at five times the cost of labelling."""
    flat = labels.ravel()
    areas = np.zeros(count, np.int64)
    for first in range(0, len(flat), _AT_ONCE):
        areas += np.bincount(flat[first : first + _AT_ONCE], minlength=count)
    return areas


def _align(
    mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int], min_area: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Widens a region to even corners, or to the whole frame if little of that is outside it."""
    # OpenCV labels blocks of 2 x 2 pixels: with even corners, labels have the order of the frame.
    begin = [corner[i] // 2 * 2 for i in (0, 1)]
    end = [corner[i] + mask.shape[i] for i in (0, 1)]
    if any(0 < area < min_area for area in _areas_beyond(begin, end, size)):
        begin, end = [0, 0], list(size)
    out = np.zeros((end[0] - begin[0], end[1] - begin[1]), dtype=bool)
    y, x = corner[0] - begin[0], corner[1] - begin[1]
    out[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return out, (begin[0], begin[1])


def _areas_beyond(begin: list[int], end: list[int], size: tuple[int, int]) -> list[int]:
    """Sizes in pixels of the connected parts of the frame outside a region."""
    for i in (0, 1):
        if begin[1 - i] == 0 and end[1 - i] == size[1 - i]:
            return [begin[i] * size[1 - i], (size[i] - end[i]) * size[1 - i]]
    return [size[0] * size[1] - (end[0] - begin[0]) * (end[1] - begin[1])]


def _labels_at_cuts(
    labels: np.ndarray, corner: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Labels along those sides of a region that are not sides of the frame."""
    sides = []
    for i, lines in ((0, labels), (1, labels.T)):
        if corner[i] > 0:
            sides.append(lines[0])
        if corner[i] + len(lines) < size[i]:
            sides.append(lines[-1])
    return np.concatenate(sides) if sides else np.zeros(0, labels.dtype)
