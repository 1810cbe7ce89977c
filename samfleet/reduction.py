"""Copies of images on a smaller scale, made part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import cv2
import numpy as np

_PART_PIXELS = 1 << 22


class Picture(Protocol):
    """An image as SAM sees it, which may be too large for memory.

    Attributes:
        size: (height, width) in pixels.
    """

    @property
    def size(self) -> tuple[int, int]: ...

    def parts(self, boxes: Iterable[tuple[int, int, int, int]]) -> Iterator[np.ndarray]:
        """The parts x0, y0, x1, y1 of the image in the order of their boxes, (height, width, 3) uint8 each.

        The next ones may be read ahead.
        """


def reduced(image: Picture, factor: int) -> np.ndarray:
    """A copy of an image, smaller by a whole factor; a rest at its right and lower edge is left out.

    Args:
        image: the image.
        factor: pixels along each side of the square whose mean is a pixel of the copy.

    Returns:
        (height // factor, width // factor, 3) uint8.
    """
    height, width = (length // factor for length in image.size)
    rows = max(1, _PART_PIXELS // (factor * factor * width)) * factor
    end = height * factor
    boxes = [(0, row, width * factor, min(row + rows, end)) for row in range(0, end, rows)]
    parts = [
        cv2.resize(part, (width, len(part) // factor), interpolation=cv2.INTER_AREA)
        for part in image.parts(boxes)
    ]
    return np.concatenate(parts)


def fitted(image: Picture, longest_side: int) -> np.ndarray:
    """A copy of an image whose longer side has at most so many pixels.

    Args:
        image: the image.
        longest_side: pixels.

    Returns:
        (height, width, 3) uint8.
    """
    height, width = image.size
    scale = min(1.0, longest_side / max(height, width))
    # by a whole factor first: what is larger by far need not be in memory
    factor = min(int(1 / scale), height, width)
    rgb = reduced(image, factor)
    if scale == 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
