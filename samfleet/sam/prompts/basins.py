"""Where an object ends and the next one begins, as the maps show it.

A watershed of the maps from one marker an object is how micro-sam segments without SAM: A. Archit et al., "Segment
Anything for Microscopy", Nature Methods 2025. Here it corrects the outlines of SAM's masks.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import find_objects

from samfleet.config.settings import SeedSettings
from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.suppression import keep_best_masks
from samfleet.sam.prompts.seeds import smoothed_maps

INSIDE, OUTSIDE = 1.5, 3.0
"""What the maps add to logits at most in a basin, and take from them outside: one a pixel from the basin's edge."""


class Basins:
    """The foreground, divided among the objects that lie around given points.

    Args:
        maps: (3, height, width) float32 of the unpadded part of the encoder's frame, as for `seed_points`.
        points: (n, 2) float64, x and y in the frame, one in each object.
        seeds: what is foreground, and how the maps are smoothed.
    """

    def __init__(self, maps: np.ndarray, points: np.ndarray, seeds: SeedSettings) -> None:
        # only here, since it takes half a second to import
        from skimage.segmentation import watershed

        foreground, center, boundary = smoothed_maps(maps, seeds)
        height, width = foreground.shape
        markers = np.zeros((height, width), np.int32)
        columns, rows = np.rint(points).astype(np.int64).T
        labels = np.arange(len(points)) + 1
        markers[rows.clip(0, height - 1), columns.clip(0, width - 1)] = labels
        inside = (foreground >= seeds.foreground) | (markers > 0)
        self._labels = watershed((center + boundary) / 2, markers, mask=inside)
        self._windows = find_objects(self._labels, len(points))

    def evidence(self, numbers: range, scale: int, size: tuple[int, int]) -> np.ndarray:
        """What the maps add to the logits of masks, from -`OUTSIDE` to `INSIDE`.

        Args:
            numbers: of the points that the masks are of.
            scale: pixels of the frame for one of the logits, along each side.
            size: (height, width) of the logits.

        Returns:
            (n, height, width) float32; zeros for a point whose pixel another one has.
        """
        added = np.zeros((len(numbers), *size), np.float32)
        for each, number in zip(added, numbers, strict=True):
            if self._windows[number] is None:
                continue
            each[:] = -OUTSIDE
            place, region = self._around(number, scale, size)
            height, width = (length // scale for length in region.shape)
            each[place] = cv2.resize(_depth(region), (width, height), interpolation=cv2.INTER_AREA)
        return added

    def _around(
        self, number: int, scale: int, size: tuple[int, int]
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Where a basin and its surroundings are among the logits, and its region there in pixels of the frame."""
        margin = int(OUTSIDE) + 1
        first = [max(0, each.start - margin) // scale for each in self._windows[number]]
        last = [
            min(length, -(-(each.stop + margin) // scale))
            for each, length in zip(self._windows[number], size, strict=True)
        ]
        region = np.zeros([(b - a) * scale for a, b in zip(first, last, strict=True)], np.uint8)
        rows, columns = (slice(a * scale, b * scale) for a, b in zip(first, last, strict=True))
        part = self._labels[rows, columns] == number + 1
        region[: part.shape[0], : part.shape[1]] = part
        return (slice(first[0], last[0]), slice(first[1], last[1])), region


def distinct_masks(masks: np.ndarray, scores: np.ndarray, shared: float) -> np.ndarray:
    """Masks that share little with better ones, by the largest connected part of each.

    Args:
        masks: (n, height, width) bool.
        scores: (n,) float.
        shared: greatest part of the smaller one's pixels that two masks may share.

    Returns:
        (k,) int64, numbers of the masks, the best first.
    """
    parts = [BitMask.of(_largest_part(mask), (0, 0)) for mask in masks]
    return keep_best_masks(parts, scores, shared, of_smaller=True)


def _largest_part(mask: np.ndarray) -> np.ndarray:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 2:  # the background and at most one part
        return mask
    return labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def _depth(region: np.ndarray) -> np.ndarray:
    """Pixels to the edge of a (height, width) uint8 region, positive inside, within the limits: float32 of that shape."""
    inside, outside = (
        cv2.distanceTransform(each, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for each in (region, 1 - region)
    )
    return np.clip(inside - outside, -OUTSIDE, INSIDE)
