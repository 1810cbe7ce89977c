"""Compact masks, a few kilobytes each, as they are kept until non-maximum suppression has chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class CompactMask(Protocol):
    """A mask that takes little memory."""

    def unpack(self) -> tuple[np.ndarray, tuple[int, int]]:
        """(height, width) bool, a region with all of its pixels, and (row, column) of the first in the frame."""


@dataclass(frozen=True, eq=False)
class Tiling:
    """The cells that a frame is divided into; each field has an array for rows and one for columns.

    Attributes:
        start: (cells,) int32, the first pixel of a cell.
        count: (cells,) int32, the number of pixels of a cell.
    """

    start: tuple[np.ndarray, np.ndarray]
    count: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask, cropped to the cells that its box touches.

    Attributes:
        tiling: the cells of the frame.
        first: (row, column) of the first cell.
        shape: rows and columns of cells.
        whole: whether each cell is inside as a whole, as bits.
        row, column: int16, the cells along the outline, counted from ``first``.
        pixels: the pixels of these cells as bits; every cell has the size of the largest one.
    """

    tiling: Tiling
    first: tuple[int, int]
    shape: tuple[int, int]
    whole: np.ndarray
    row: np.ndarray
    column: np.ndarray
    pixels: np.ndarray

    def unpack(self) -> tuple[np.ndarray, tuple[int, int]]:
        """The mask's region of the frame.

        Returns:
            (height, width) bool, and (row, column) of its first pixel in the frame.
        """
        start, count = self.tiling.start, self.tiling.count
        rows, columns = (
            slice(first, first + length)
            for first, length in zip(self.first, self.shape, strict=True)
        )
        whole = np.unpackbits(self.whole, count=self.shape[0] * self.shape[1])
        region = whole.view(bool).reshape(self.shape)
        region = region.repeat(count[1][columns], axis=1)
        region = region.repeat(count[0][rows], axis=0)
        height, width = (int(axis.max()) for axis in count)
        pixels = np.unpackbits(self.pixels, axis=1, count=height * width)
        cell, y, x = np.nonzero(pixels.reshape(-1, height, width))
        corner = start[0][self.first[0]], start[1][self.first[1]]
        y += start[0][rows][self.row[cell]] - corner[0]
        x += start[1][columns][self.column[cell]] - corner[1]
        region[y, x] = True
        return region, (int(corner[0]), int(corner[1]))
