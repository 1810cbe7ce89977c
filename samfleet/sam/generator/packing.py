"""Masks as bits, which stay on their device until suppression has chosen, then go to the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import islice

import numpy as np
import torch

from samfleet.sam.generator.geometry import Axis
from samfleet.sam.generator.transfer import to_device
from samfleet.sam.generator.upsampling import CellMasks
from samfleet.sam.masks.packed import PackedMask, Tiling


@dataclass(frozen=True)
class MaskBits:
    """Masks of one geometry, about 35 kB each at 1024 × 1024 pixels.

    Attributes:
        whole: (masks, bytes) uint8, whether each cell is inside as a whole, as bits.
        row, column: (all cells along outlines,) int16, sorted by mask.
        pixels: (all cells along outlines, bytes) uint8, their pixels as bits.
        cells: (masks,) int64, the number of cells along each outline; always on the host.
    """

    whole: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    pixels: torch.Tensor
    cells: torch.Tensor

    @classmethod
    def of(cls, tensors: Iterator[torch.Tensor], cells: torch.Tensor) -> MaskBits:
        """Masks of the next `tensors`, with `cells` along each outline."""
        whole, row, column, pixels = islice(tensors, 4)
        return cls(whole, row, column, pixels, cells)

    def tensors(self) -> list[torch.Tensor]:
        """Every field that is on the device."""
        return [self.whole, self.row, self.column, self.pixels]

    @classmethod
    def concatenate(cls, parts: list[MaskBits]) -> MaskBits:
        """All masks of some parts, in their order."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def select(self, index: torch.Tensor) -> MaskBits:
        """The masks at (n,) int64 numbers, given on the host, in their order."""
        index, place, cells = _places(index, self.cells, self.whole.device)
        return MaskBits(
            self.whole[index], self.row[place], self.column[place], self.pixels[place], cells
        )


def bits_of(masks: CellMasks, chosen: torch.Tensor) -> MaskBits:
    """Packs some of a batch's masks on their device.

    Args:
        chosen: (n,) int64 on the host, numbers of masks.
    """
    outline = masks.outline
    index, place, cells = _places(chosen, masks.cells, masks.whole.device)
    return MaskBits(
        whole=_pack(masks.whole[index].flatten(1)),
        row=outline.row[place].to(torch.int16),
        column=outline.column[place].to(torch.int16),
        pixels=_pack_planes(masks.pixels.flatten(0, 1))[place],
        cells=cells,
    )


def _places(
    index: torch.Tensor, cells: torch.Tensor, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Numbers of masks and the places of all their cells, on a device, and how many each has, on the host.

    Args:
        index: (n,) int64 on the host, numbers of masks.
        cells: (masks,) int64 on the host, how many cells each mask has.
    """
    first = (cells.cumsum(0) - cells)[index]
    cells = cells[index]
    shift = first - (cells.cumsum(0) - cells)
    index, shift, counts = to_device(torch.stack([index, shift, cells]), device)
    # Without the size of the result the host would have to wait for it.
    places = torch.repeat_interleave(shift, counts, output_size=int(cells.sum()))
    return index, places + torch.arange(len(places), device=device), cells


def _pack(flags: torch.Tensor) -> torch.Tensor:
    """(n, flags) bool as (n, bytes) uint8, the first flag in the highest bit."""
    if flags.device.type == "cpu":
        return torch.from_numpy(np.packbits(flags.numpy(), axis=1))
    flags = torch.nn.functional.pad(flags, (0, -flags.shape[1] % 8)).unflatten(1, (-1, 8))
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=flags.device)
    return (flags * weights).sum(2, dtype=torch.uint8)


def _pack_planes(flags: torch.Tensor) -> torch.Tensor:
    """(flags, n) bool as (n, bytes) uint8, as `_pack` of the transposed."""
    if flags.device.type != "cpu":
        return _pack(flags.T)
    packed = np.zeros((-(-len(flags) // 8), flags.shape[1]), np.uint8)
    for number, plane in enumerate(flags.numpy().view(np.uint8)):
        packed[number // 8] |= plane << (7 - number % 8)
    return torch.from_numpy(packed).T


class Packer:
    """Packs masks of one geometry, to keep them and to send them to other processes.

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

    def pack(self, bits: MaskBits, boxes: np.ndarray) -> list[PackedMask]:
        """Packs masks of the host, each cropped to the cells that its box touches.

        Args:
            boxes: (masks, 4) int64, x0 y0 x1 y1 in the frame, both ends inside.
        """
        shape = tuple(len(start) for start in self._tiling.start)
        whole = np.unpackbits(bits.whole.numpy(), axis=1, count=shape[0] * shape[1])
        ends = bits.cells.numpy().cumsum()
        parts = [slice(end - count, end) for end, count in zip(ends, bits.cells, strict=True)]
        row, column, pixels = (x.numpy() for x in (bits.row, bits.column, bits.pixels))
        return [
            self._pack(box, flags.reshape(shape), row[part], column[part], pixels[part])
            for box, flags, part in zip(boxes, whole, parts, strict=True)
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
            pixels=pixels[kept],
        )


@lru_cache(maxsize=64)
def packer_of(y: Axis, x: Axis) -> Packer:
    """The packer for two axes; the same one for all batches, so that their masks share one tiling."""
    return Packer(y, x)
