"""The pixels of a mask as bits: an eighth of the memory, and overlaps are counted byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samfleet.sam.masks.boxes import meeting


@dataclass(frozen=True, eq=False, slots=True)
class BitMask:
    """A mask, cropped to the rows and columns that contain its pixels.

    Attributes:
        corner: (row, column) of its first pixel in the frame; (0, 0) for an empty mask.
        shape: (height, width) in pixels; (1, 1) for an empty mask.
        bits: (height, bytes) uint8, one bit for each pixel of a row; the first pixel is the highest
            bit. Bytes begin at columns of the frame that are multiples of 8, so that the bytes of two
            masks can be compared.
    """

    corner: tuple[int, int]
    shape: tuple[int, int]
    bits: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, corner: tuple[int, int]) -> BitMask:
        """Pack a mask.

        Args:
            mask: (height, width) bool, a region of the frame outside which nothing is set.
            corner: (row, column) of the region's first pixel in the frame.
        """
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return cls((0, 0), (1, 1), np.zeros((1, 1), np.uint8))
        top, left = int(rows[0]), int(columns[0])
        tight = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        corner = corner[0] + top, corner[1] + left
        before = corner[1] % 8
        aligned = np.zeros((tight.shape[0], before + tight.shape[1]), bool)
        aligned[:, before:] = tight
        return cls(corner, tight.shape, np.packbits(aligned, axis=1))

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        (row, column), (height, width) = self.corner, self.shape
        return slice(row, row + height), slice(column, column + width)

    def region(self, first: int = 0, end: int | None = None) -> np.ndarray:
        """The pixels in the window: (height, width) bool.

        Args:
            first, end: only these rows of it, the latter outside.
        """
        before = self.corner[1] % 8
        pixels = np.unpackbits(self.bits[first:end], axis=1, count=before + self.shape[1])
        return np.ascontiguousarray(pixels[:, before:]).view(bool)

    def unpack(self) -> tuple[np.ndarray, tuple[int, int]]:
        """The pixels in the window, (height, width) bool, and (row, column) of the first one."""
        return self.region(), self.corner

    def shared_pixels(self, other: BitMask) -> int:
        """Number of pixels in both masks."""
        top = max(self.corner[0], other.corner[0])
        left = max(self.corner[1], other.corner[1]) // 8
        bottom = min(mask.corner[0] + mask.shape[0] for mask in (self, other))
        right = min(mask.corner[1] // 8 + mask.bits.shape[1] for mask in (self, other))
        if top >= bottom or left >= right:
            return 0
        one, two = (
            mask.bits[
                top - mask.corner[0] : bottom - mask.corner[0],
                left - mask.corner[1] // 8 : right - mask.corner[1] // 8,
            ]
            for mask in (self, other)
        )
        return int(np.bitwise_count(one & two).sum(dtype=np.int64))


def overlaps(masks: Sequence[BitMask]) -> list[dict[int, int]]:
    """For every mask the numbers of those that overlap it, ascending, each with its shared pixels.

    Only masks whose boxes overlap are compared.
    """
    shared: list[dict[int, int]] = [{} for _ in masks]
    corners = np.array([mask.corner for mask in masks], np.int64).reshape(-1, 2)
    shapes = np.array([mask.shape for mask in masks], np.int64).reshape(-1, 2)
    for one, others in meeting(corners, corners + shapes):
        for two in others.tolist():
            if pixels := masks[one].shared_pixels(masks[two]):
                shared[one][two] = shared[two][one] = pixels
    return [dict(sorted(found.items())) for found in shared]
