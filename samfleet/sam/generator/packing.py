"""Packs masks, to keep them and to send them to other processes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from samfleet.sam.generator.geometry import Axis
from samfleet.sam.generator.upsampling import CellMasks
from samfleet.sam.masks.packed import PackedMask, Tiling


class Packer:
    """Packs masks of one geometry.

    Args:
        y, x: the axes of the geometry.
    """

    def __init__(self, y: Axis, x: Axis) -> None:
        self._tiling = Tiling(
            start=(y.start.cpu().numpy(), x.start.cpu().numpy()),
            count=(y.count.cpu().numpy(), x.count.cpu().numpy()),
        )
        # The cell of every pixel.
        self._cell = tuple(np.repeat(np.arange(len(n)), n) for n in self._tiling.count)

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
            tiling=self._tiling,
            first=(int(top), int(left)),
            shape=part.shape,
            whole=np.packbits(part),
            row=(row[kept] - top).astype(np.int16),
            column=(column[kept] - left).astype(np.int16),
            pixels=np.packbits(pixels[kept], axis=1),
        )


@lru_cache(maxsize=64)
def packer_of(y: Axis, x: Axis) -> Packer:
    """The packer for two axes; the same one for all batches, so that their masks share one tiling."""
    return Packer(y, x)
