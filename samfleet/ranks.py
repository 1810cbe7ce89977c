"""Numbers at given places of their order, exactly, though memory never holds all of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

_DIGIT = 16  # bits that one pass tells apart
_AT_ONCE = 1 << 20
_EXACT = 1 << 24  # as OpenCV's counts, which are float32


class RankCounter:
    """Finds the numbers at some places of the order of many that come in parts.

    Each pass over all numbers tells 16 bits of those that are looked for, from the highest on. So numbers of
    up to 16 bits are added once, of 32 bits twice, of 64 bits four times. NaN is not counted.

    Args:
        dtype: of the numbers, any real one.

    Attributes:
        dtype: of the numbers.
        count: how many numbers there are; right after the first pass.
    """

    def __init__(self, dtype: np.dtype | str):
        self.dtype = np.dtype(dtype)
        bits = 8 * self.dtype.itemsize
        self._digit = min(_DIGIT, bits)
        self._shift = bits - self._digit
        # for each number that is looked for: its digits so far, and its place among those that begin so
        self._found: list[tuple[int, int]] = []
        self._counts = {0: np.zeros(1 << self._digit, np.int64)}
        self.count = 0

    def add(self, values: np.ndarray) -> None:
        """Count some numbers, of any shape, in the pass that is under way."""
        values = values.ravel()
        for first in range(0, len(values), _AT_ONCE):
            part = values[first : first + _AT_ONCE]
            if part.dtype.kind == "f":
                part = part[~np.isnan(part)]
            self._add(_ordered(part))

    def _add(self, keys: np.ndarray) -> None:
        # the lowest bits of what is left after the shift
        digits = (keys >> keys.dtype.type(self._shift)).astype(f"u{self._digit // 8}", copy=False)
        if not self._found:
            self.count += len(keys)
            self._counts[0] += histogram(digits)
            return
        before = keys >> keys.dtype.type(self._shift + self._digit)
        for prefix, counts in self._counts.items():
            counts += histogram(digits[before == prefix])

    def look_for(self, ranks: Sequence[int]) -> bool:
        """End a pass.

        Args:
            ranks: places in the order, from 0 to `count` - 1, the same ones after every pass.

        Returns:
            Whether another pass is needed before `values` are known.
        """
        if not self._found:
            self._found = [(0, rank) for rank in ranks]
        for number, (prefix, rank) in enumerate(self._found):
            up_to = np.cumsum(self._counts[prefix])
            digit = int(np.searchsorted(up_to, rank, side="right"))
            before = int(up_to[digit - 1]) if digit else 0
            self._found[number] = (prefix << self._digit) | digit, rank - before
        if not self._shift:
            return False
        self._shift -= self._digit
        prefixes = {prefix for prefix, _ in self._found}
        self._counts = {prefix: np.zeros(1 << self._digit, np.int64) for prefix in prefixes}
        return bool(prefixes)

    @property
    def values(self) -> list[int | float]:
        """The numbers that were looked for, after the last pass."""
        keys = np.array([key for key, _ in self._found], f"u{self.dtype.itemsize}")
        return _numbers(keys, self.dtype).tolist()


def values_at(
    parts: Callable[[], Iterable[np.ndarray]],
    dtype: np.dtype,
    ranks_of: Callable[[int], Sequence[int]],
) -> list[int | float]:
    """The numbers at some places of the order of all numbers; empty if there are none.

    Args:
        parts: gives all numbers, as often as it is called.
        dtype: of the numbers.
        ranks_of: the places, given how many numbers there are.
    """
    counter = RankCounter(dtype)
    more = True
    while more:
        for part in parts():
            counter.add(part)
        if not counter.count:
            return []
        more = counter.look_for(ranks_of(counter.count))
    return counter.values


def histogram(values: np.ndarray) -> np.ndarray:
    """How often each number occurs in uint8 or uint16 values of any shape: (256,) or (65536,) int64."""
    numbers = 1 << 8 * values.dtype.itemsize
    values, counts = values.ravel(), np.zeros(numbers, np.int64)
    for first in range(0, len(values), _EXACT):
        # one row: OpenCV takes several times as long for a column
        part = values[None, first : first + _EXACT]
        counts += cv2.calcHist([part], [0], None, [numbers], [0, numbers]).ravel().astype(np.int64)
    return counts


def percentile_rank(count: int, percentile: float) -> int:
    """Where a percentile stands that is one of `count` numbers: numpy's method `inverted_cdf`."""
    return max(0, math.ceil(count * (percentile / 100) - 1))


def middle_ranks(count: int) -> tuple[int, int]:
    """Where the one or two numbers stand whose mean is the median of `count` numbers."""
    return (count - 1) // 2, count // 2


def _ordered(values: np.ndarray) -> np.ndarray:
    """Unsigned integers with the order of some real numbers."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    values = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("="), copy=False)
    keys = values.view(f"u{size}")
    sign = keys.dtype.type(1 << (8 * size - 1))
    if kind == "i":
        return keys ^ sign
    if kind == "f":
        return np.where(keys & sign, ~keys, keys | sign)
    return keys


def _numbers(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers of which `_ordered` made these integers."""
    sign = keys.dtype.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "i":
        keys = keys ^ sign
    elif dtype.kind == "f":
        keys = np.where(keys & sign, keys ^ sign, ~keys)
    return keys.view(dtype.newbyteorder("="))
