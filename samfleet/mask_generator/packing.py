"""Masks at rest: a few kilobytes each, until non-maximum suppression has chosen among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from samfleet.mask_generator.geometry import Axis
from samfleet.mask_generator.upsampling import CellMasks


@dataclass(frozen=True)
class PackedMask:
    """One mask of ``CellMasks``, cut to the cells that its box touches.

    Attributes:
        packer: what unpacks it.
        first: (row, column) of the first cell.
        shape: rows and columns of cells.
        whole: ``CellMasks.whole`` as bits.
        row, column: int16, the cells along the outline, counted from ``first``.
        pixels: the pixels of these cells as bits.
    """

    packer: Packer
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
        return self.packer.unpack(self)


class Packer:
    """Packs and unpacks masks of one geometry.

    Args:
        y, x: its axes.
    """

    def __init__(self, y: Axis, x: Axis) -> None:
        self._start = tuple(axis.start.cpu().numpy() for axis in (y, x))
        self._count = tuple(axis.count.cpu().numpy() for axis in (y, x))
        # The cell of every pixel.
        self._cell = tuple(np.repeat(np.arange(len(count)), count) for count in self._count)
        self._cell_shape = tuple(int(count.max()) for count in self._count)

    def pack(self, masks: CellMasks, chosen: torch.Tensor) -> list[PackedMask]:
        """Packs some of a batch's masks.

        Args:
            chosen: (n,) int64, numbers of masks.
        """
        boxes = masks.boxes[chosen].cpu().numpy()
        whole = masks.whole[chosen].cpu().numpy()
        outline = [
            field.cpu().numpy()
            for field in (masks.outline.mask, masks.outline.row, masks.outline.column)
        ]
        numbers = chosen.cpu().numpy()
        begin, end = (np.searchsorted(outline[0], numbers, side) for side in ("left", "right"))
        pixels = masks.pixels.flatten(0, 1).T.cpu().numpy()
        return [
            self._pack(
                boxes[i],
                whole[i],
                outline[1][begin[i] : end[i]],
                outline[2][begin[i] : end[i]],
                pixels[begin[i] : end[i]],
            )
            for i in range(len(numbers))
        ]

    def _pack(
        self,
        box: np.ndarray,
        whole: np.ndarray,
        row: np.ndarray,
        column: np.ndarray,
        pixels: np.ndarray,
    ) -> PackedMask:
        top, left = self._cell[0][box[1]], self._cell[1][box[0]]
        bottom, right = self._cell[0][box[3]], self._cell[1][box[2]]
        kept = (row >= top) & (row <= bottom) & (column >= left) & (column <= right)
        part = whole[top : bottom + 1, left : right + 1]
        return PackedMask(
            packer=self,
            first=(int(top), int(left)),
            shape=part.shape,
            whole=np.packbits(part),
            row=(row[kept] - top).astype(np.int16),
            column=(column[kept] - left).astype(np.int16),
            pixels=np.packbits(pixels[kept], axis=1),
        )

    def unpack(self, mask: PackedMask) -> tuple[np.ndarray, tuple[int, int]]:
        """As ``PackedMask.unpack``."""
        rows, columns = (
            slice(first, first + length)
            for first, length in zip(mask.first, mask.shape, strict=True)
        )
        whole = np.unpackbits(mask.whole, count=mask.shape[0] * mask.shape[1])
        region = whole.view(bool).reshape(mask.shape)
        region = region.repeat(self._count[1][columns], axis=1)
        region = region.repeat(self._count[0][rows], axis=0)
        height, width = self._cell_shape
        pixels = np.unpackbits(mask.pixels, axis=1, count=height * width)
        cell, y, x = np.nonzero(pixels.reshape(-1, height, width))
        corner = self._start[0][mask.first[0]], self._start[1][mask.first[1]]
        y += self._start[0][rows][mask.row[cell]] - corner[0]
        x += self._start[1][columns][mask.column[cell]] - corner[1]
        region[y, x] = True
        return region, (int(corner[0]), int(corner[1]))
