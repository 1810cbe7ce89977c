"""Pixels that are read a window at a time, so that memory need not hold a large image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

import numpy as np

_BAND_PIXELS = 1 << 23
_BAND_ROWS = 512
"""Bands have a multiple of this many rows, like tiles in files, so that each tile is decoded once."""
_BLOCK_BYTES, _LEAST_COLUMNS, _KEPT_BLOCKS = 1 << 22, 64, 8


Box = tuple[int, int, int, int]
"""A part of an image: x0, y0, x1, y1, the latter two outside."""


class Windows(Protocol):
    """An image of which any window can be read by itself.

    A format's windows can be sent to another process, which reads the file itself.

    Attributes:
        shape: (height, width, channels).
        dtype: of a pixel, in native byte order.
        is_color: whether the channels are red, green and blue.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def is_color(self) -> bool: ...

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The pixels of rows y0 to y1 and columns x0 to x1, the latter outside.

        Returns:
            (y1 - y0, x1 - x0, channels) of `dtype`, as reading the whole image would give them.

        Raises:
            ImageError: the file is damaged there.
            OSError: the file cannot be read, or is another one by now.
        """

    def check(self) -> None:
        """Check, when windows have been read, that they were of one and the same file.

        Raises:
            OSError: the file has changed meanwhile.
        """


@dataclass(frozen=True, eq=False)
class WholeImage:
    """Windows of an image that is in memory.

    Attributes:
        pixels: (height, width, channels).
        is_color: whether the channels are red, green and blue.
    """

    pixels: np.ndarray
    is_color: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.pixels.shape
        return height, width, channels

    @property
    def dtype(self) -> np.dtype:
        return self.pixels.dtype

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        return self.pixels[y0:y1, x0:x1]

    def check(self) -> None:
        """Memory does not change."""


class KeptBlocks:
    """Windows of which small ones are cut from blocks that are kept, since many are asked for near each other.

    Opening and decoding a part of a file takes far longer than copying an object's pixels from it.
    """

    def __init__(self, windows: Windows):
        self._windows = windows
        self.shape, self.dtype, self.is_color = windows.shape, windows.dtype, windows.is_color
        row_bytes = _BAND_ROWS * self.shape[2] * self.dtype.itemsize
        self._columns = max(_LEAST_COLUMNS, _BLOCK_BYTES // row_bytes)
        self._block = lru_cache(_KEPT_BLOCKS)(partial(_block, windows, self._columns))

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        if y1 - y0 > _BAND_ROWS or x1 - x0 > self._columns:
            return self._windows.read(y0, y1, x0, x1)
        found = np.empty((y1 - y0, x1 - x0, self.shape[2]), self.dtype)
        for row in range(y0 // _BAND_ROWS, (y1 - 1) // _BAND_ROWS + 1):
            for column in range(x0 // self._columns, (x1 - 1) // self._columns + 1):
                top, left = row * _BAND_ROWS, column * self._columns
                block = self._block(row, column)
                part = block[max(y0 - top, 0) : y1 - top, max(x0 - left, 0) : x1 - left]
                below, beside = max(top - y0, 0), max(left - x0, 0)
                height, width, _ = part.shape
                found[below : below + height, beside : beside + width] = part
        return found

    def check(self) -> None:
        self._windows.check()


def _block(windows: Windows, columns: int, row: int, column: int) -> np.ndarray:
    """The block at a place of the grid of blocks, smaller at the image's right and lower edge."""
    top, left = row * _BAND_ROWS, column * columns
    end, right = min(top + _BAND_ROWS, windows.shape[0]), min(left + columns, windows.shape[1])
    return windows.read(top, end, left, right)


def bands(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """First row and end of every band of an image of (height, width), from the top; small images are one."""
    height, width = size
    rows = max(1, _BAND_PIXELS // (_BAND_ROWS * max(1, width))) * _BAND_ROWS
    for first in range(0, height, rows):
        yield first, min(first + rows, height)


def read_bands(windows: Windows) -> Iterator[np.ndarray]:
    """All pixels of an image, band by band: (rows, width, channels) each."""
    height, width, _ = windows.shape
    for first, end in bands((height, width)):
        yield windows.read(first, end, 0, width)
