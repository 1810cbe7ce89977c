"""The connected parts of a mask. SAM's masks may have several, for example two cells of one brightness."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.records import SurvivingMask, counts_of


def count_parts(mask: SurvivingMask) -> int:
    """How many 8-connected parts a mask has."""
    return cv2.connectedComponents(mask.pixels.region().view(np.uint8), connectivity=8)[0] - 1


def largest_part(mask: SurvivingMask, size: tuple[int, int]) -> tuple[SurvivingMask, int]:
    """A mask without its smaller parts, and how many 8-connected parts it had.

    Of parts of equal size the one whose first pixel comes first, row by row, is kept. SAM's scores remain
    those of the whole mask.

    Args:
        mask: the mask.
        size: (height, width) of the image.
    """
    region = mask.pixels.region()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        region.view(np.uint8), connectivity=8
    )
    if count <= 2:  # one of them is the background
        return mask, count - 1
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = 1 + np.flatnonzero(areas == areas.max())
    # OpenCV numbers parts by blocks of 2 x 2 pixels, so its order is not that of first pixels
    first = labels.ravel()[np.isin(labels, largest).argmax()] if len(largest) > 1 else largest[0]
    pixels = BitMask.of(labels == first, mask.pixels.corner)
    return replace(mask, pixels=pixels, rle=counts_of(pixels, size)), count - 1
