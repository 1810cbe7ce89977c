"""Where an object ends and the next one begins, as the maps show it.

A watershed of the maps from one marker an object is how micro-sam segments without SAM: A. Archit et al., "Segment
Anything for Microscopy", Nature Methods 2025. Here it corrects the outlines of SAM's masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import find_objects

from samfleet.config.settings import SeedSettings
from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.suppression import keep_best_masks
from samfleet.sam.prompts.seeds import smoothed_maps

INSIDE, OUTSIDE = 1.5, 3.0
"""What the maps add to logits at most in a basin, and take from them outside: one a pixel from the basin's edge."""

FAR_OUTSIDE = 20.0
"""What they take farther away than a basin is long: there a mask has stray pixels only."""

LITTLE, MUCH = 0.25, 0.8
"""Parts of the smaller mask: two masks that share no more than little are two objects, whatever the maps show."""

RISE, HIGH_RISE = 0.2, 0.25
"""How far the relief must rise between the points of two masks which share more, and much more, if they are two objects."""


@dataclass(frozen=True, eq=False)
class Relief:
    """What maps show, in which each object is a hollow.

    Attributes:
        foreground: (height, width) bool.
        distance: (height, width) float32, the mean of both distances, from 0 in the middle of an object to 1.
    """

    foreground: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, maps: np.ndarray, seeds: SeedSettings) -> Relief:
        """The relief of (3, height, width) float32 maps of the unpadded part of the encoder's frame."""
        foreground, center, boundary = smoothed_maps(maps, seeds)
        return cls(foreground >= seeds.foreground, (center + boundary) / 2)

    def pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns, (n,) int64, of (n, 2) float64 points, x and y."""
        columns, rows = np.rint(points).astype(np.int64).T
        height, width = self.distance.shape
        return rows.clip(0, height - 1), columns.clip(0, width - 1)

    def rise(self, one: np.ndarray, other: np.ndarray) -> float:
        """How far one has to climb on the straight way between two points, (2,) float64, from the higher one."""
        steps = 2 + int(np.hypot(*(one - other)))
        way = self.distance[self.pixels(np.linspace(one, other, steps))]
        return float(way.max() - max(way[0], way[-1]))


class Basins:
    """The foreground, divided among the objects that lie around given points.

    Args:
        relief: what is divided.
        points: (n, 2) float64, x and y in the frame, one in each object.
    """

    def __init__(self, relief: Relief, points: np.ndarray) -> None:
        # only here, since it takes half a second to import
        from skimage.segmentation import watershed

        markers = np.zeros(relief.distance.shape, np.int32)
        markers[relief.pixels(points)] = np.arange(len(points)) + 1
        inside = relief.foreground | (markers > 0)
        self._labels = watershed(relief.distance, markers, mask=inside)
        self._windows = find_objects(self._labels, len(points))

    def agreement(self, masks: np.ndarray, scale: int) -> np.ndarray:
        """What the IoU of masks with their objects is if the maps are right.

        A mask's object is made of the basin of which the mask has most, and of all others of which it has more than
        half, since an object can have several points.

        Args:
            masks: (n, height, width) bool, of the foreground's part of the frame.
            scale: pixels of the frame for one of the masks, along each side.

        Returns:
            (n,) float32, from 0 to 1.
        """
        labels = self._labels[::scale, ::scale]
        sizes = np.bincount(labels.ravel(), minlength=len(self._windows) + 1)
        return np.array([_agreement(labels[mask], sizes) for mask in masks], np.float32)

    def evidence(self, numbers: range, scale: int, size: tuple[int, int]) -> np.ndarray:
        """What the maps add to the logits of masks: from -`OUTSIDE` to `INSIDE`, and far away -`FAR_OUTSIDE`.

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
            each[:] = -FAR_OUTSIDE
            place, region = self._around(number, scale, size)
            height, width = (length // scale for length in region.shape)
            each[place] = cv2.resize(_depth(region), (width, height), interpolation=cv2.INTER_AREA)
        return added

    def _around(
        self, number: int, scale: int, size: tuple[int, int]
    ) -> tuple[tuple[slice, ...], np.ndarray]:
        """Where a basin and its surroundings are among the logits, and its region there in pixels of the frame."""
        place = tuple(
            _widened(window, scale, length)
            for window, length in zip(self._windows[number], size, strict=True)
        )
        rows, columns = (slice(each.start * scale, each.stop * scale) for each in place)
        part = self._labels[rows, columns] == number + 1
        region = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        region[: part.shape[0], : part.shape[1]] = part
        return place, region


def distinct_masks(
    masks: np.ndarray, scores: np.ndarray, points: np.ndarray, relief: Relief
) -> np.ndarray:
    """One mask for each object, the best one.

    Where two masks share more than a little, the relief between their points tells whether they are of one object.

    Args:
        masks: (n, height, width) bool.
        scores: (n,) float.
        points: (n, 2) float64, x and y in the frame, what the masks were asked for with.
        relief: of the frame.

    Returns:
        (k,) int64, numbers of the masks, the best first.
    """

    def are_apart(one: int, other: int, shared: float) -> bool:
        least = RISE if shared < MUCH else HIGH_RISE
        return relief.rise(points[one], points[other]) >= least

    bits = [BitMask.of(mask, (0, 0)) for mask in masks]
    return keep_best_masks(bits, scores, LITTLE, of_smaller=True, unless=are_apart)


def largest_parts(masks: np.ndarray) -> np.ndarray:
    """The largest connected part of each mask: (n, height, width) bool."""
    return np.array([_largest_part(mask) for mask in masks], bool).reshape(masks.shape)


def _agreement(basins: np.ndarray, sizes: np.ndarray) -> float:
    """The IoU of a mask with its object, from the basin of each of its pixels, 0 for none, and all basins' sizes."""
    shared = np.bincount(basins, minlength=len(sizes))
    shared[0] = 0
    covered = 2 * shared > sizes
    covered[shared.argmax()] = True
    covered[0] = False  # no basin
    common = shared[covered].sum()
    return common / max(1, len(basins) + sizes[covered].sum() - common)


def _widened(window: slice, scale: int, length: int) -> slice:
    """Of `length` logits along one side those of a window in the frame, and as many again to either side."""
    margin = max(int(OUTSIDE) + 1, window.stop - window.start)
    end = -(-(window.stop + margin) // scale)
    return slice(max(0, window.start - margin) // scale, min(length, end))


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
