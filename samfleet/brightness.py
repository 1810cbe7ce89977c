"""How bright pixels are, counted by the levels at which cameras end, and what follows for white."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

FEW = 1e-4
"""The part of all pixels, 0.01 %, that may lie above white if they are floats."""


def level(number: int) -> int:
    """The largest value of a kind of pixels: 1, then that of 8 bits, of 10, of 12 and so on."""
    return 4 ** (number + 3) - 1 if number else 1


@dataclass(frozen=True, slots=True)
class Brightness:
    """How bright the pixels of one or more images of the same type are.

    Attributes:
        pixels: how many there are.
        maximum: the largest finite value; NaN if there is none.
        above: how many finite values are above each `level`, up to the last that any is above.
    """

    pixels: int
    maximum: float
    above: tuple[int, ...]

    @classmethod
    def of(cls, values: np.ndarray) -> Brightness:
        """The brightness of an array of any real dtype with at least one value."""
        maximum, infinite = math.nan, 0
        if values.dtype.kind != "f":
            maximum = float(values.max())
        elif (finite := np.isfinite(values)).any():
            maximum = float(np.max(values, where=finite, initial=-np.inf))
            infinite = int(np.count_nonzero(values == np.inf))
        levels = itertools.takewhile(lambda value: value < maximum, map(level, itertools.count()))
        above = tuple(int(np.count_nonzero(values > value)) - infinite for value in levels)
        return cls(values.size, maximum, above)

    def __add__(self, other: Brightness) -> Brightness:
        pairs = itertools.zip_longest(self.above, other.above, fillvalue=0)
        return Brightness(
            self.pixels + other.pixels,
            float(np.fmax(self.maximum, other.maximum)),
            tuple(map(sum, pairs)),
        )

    def exceeded(self, part: float) -> int:
        """How many levels are exceeded by more than this part of all pixels."""
        return sum(count > part * self.pixels for count in self.above)

    def white(self, dtype: str) -> float:
        """The value that counts as 255 where `fluorescence.white` is not set.

        Of 255, 1023, 4095, … this is the first that no pixel exceeds, but not more than the type can
        hold. Floats can be in 0 to 1 as well, and a `FEW` of them may exceed it: correcting and
        resampling images leaves such pixels.
        """
        kind = np.dtype(dtype)
        if kind.kind == "f":
            return float(level(self.exceeded(FEW)))
        return float(min(level(max(1, self.exceeded(0))), np.iinfo(kind).max))


NOTHING = Brightness(0, math.nan, ())
"""The brightness of no pixels."""
