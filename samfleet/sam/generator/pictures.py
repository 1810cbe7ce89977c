"""An image as SAM sees it, of which any part can be had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from samfleet.reduction import Picture
from samfleet.sam.tiles import Box


@dataclass(frozen=True, eq=False)
class WholePicture:
    """An image in memory.

    Attributes:
        rgb: (height, width, 3) uint8.

    Raises:
        ValueError: it has another shape or dtype.
    """

    rgb: np.ndarray

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise ValueError(
                f"expected (height, width, 3) uint8, not {self.rgb.shape} {self.rgb.dtype}"
            )

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.rgb.shape[:2]
        return height, width

    def parts(self, boxes: Iterable[Box]) -> Iterator[np.ndarray]:
        for x0, y0, x1, y1 in boxes:
            yield self.rgb[y0:y1, x0:x1]


def whole(picture: Picture) -> np.ndarray:
    """All of an image: (height, width, 3) uint8."""
    height, width = picture.size
    (rgb,) = picture.parts([(0, 0, width, height)])
    return rgb
