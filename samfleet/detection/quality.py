"""How sharp, how saturated and how empty a measured plane is, from its rows in order."""

import math

import cv2
import numpy as np

from samfleet.ranks import histogram

_CEILINGS = frozenset({2**bits - 1 for bits in (8, 10, 12, 14, 16)} | {65520, 65472})
"""Where cameras end: full values of so many bits, and of 12 and 10 bits that are stored in the upper ones of 16."""


class PlaneQuality:
    """What is known of a plane after some of its rows."""

    def __init__(self) -> None:
        self._tail: np.ndarray | None = None  # the last one or two rows
        self._is_first = True
        self._laplacian, self._values = _Moments(), _Moments()
        self._zeros = 0
        self._maximum, self._at_maximum = -math.inf, 0
        self._ceiling: float = math.nan

    def add(self, rows: np.ndarray) -> None:
        """Add the next rows, (rows, width) of any real dtype; what is not finite does not count."""
        if rows.dtype in (np.uint8, np.uint16):
            self._count_whole(rows)
        else:
            self._count(rows)
            rows = rows.astype(np.float64)
            self._values.add(rows)
        block = rows if self._tail is None else np.concatenate([self._tail, rows])
        if len(block) < 2:
            self._tail = block
            return
        self._note_laplacian(block, slice(0 if self._is_first else 1, -1))
        self._is_first = False
        self._tail = block[-2:]

    def _note_laplacian(self, block: np.ndarray, rows: slice) -> None:
        laplacian = cv2.Laplacian(block, cv2.CV_64F)[rows]
        if block.dtype == np.float64:
            self._laplacian.add(laplacian)
        elif laplacian.size:  # whole numbers, whose sums are exact
            total, squares = int(laplacian.sum()), int(np.vdot(laplacian, laplacian))
            self._laplacian.add_sums(laplacian.size, int(laplacian[0, 0]), total, squares)

    def _count_whole(self, rows: np.ndarray) -> None:
        """The same from a histogram, without another look at the pixels."""
        counts = histogram(rows)
        present = np.flatnonzero(counts)
        self._zeros += int(counts[0])
        self._ceiling = float(len(counts) - 1)
        self._note_maximum(float(present[-1]), int(counts[present[-1]]))
        total = int(counts[present] @ present)
        squares = int(counts[present] @ present**2)
        self._values.add_sums(rows.size, int(rows[0, 0]), total, squares)

    def _count(self, rows: np.ndarray) -> None:
        self._zeros += int(np.count_nonzero(rows == 0))
        if rows.dtype.kind in "iu":
            self._ceiling = float(np.iinfo(rows.dtype).max)
        finite = rows if rows.dtype.kind != "f" else rows[np.isfinite(rows)]
        if finite.size:
            maximum = float(finite.max())
            self._note_maximum(maximum, int(np.count_nonzero(rows == maximum)))

    def _note_maximum(self, maximum: float, count: int) -> None:
        if maximum >= self._maximum:
            before = self._at_maximum if maximum == self._maximum else 0
            self._maximum, self._at_maximum = maximum, before + count

    def columns(self) -> dict[str, float | int | None]:
        """Variance of the Laplacian and standard deviation, in raw units, and numbers of pixels.

        `n_saturated` pixels have the largest value, if that is one at which cameras end or the type does.
        """
        if self._tail is not None:
            self._note_laplacian(self._tail, slice(-1, None))
            self._tail = None
        saturated = self._maximum in _CEILINGS or self._maximum == self._ceiling
        deviation = self._values.variance()
        return {
            "focus": self._laplacian.variance(),
            "image_std": None if deviation is None else math.sqrt(deviation),
            "n_saturated": self._at_maximum if saturated else 0,
            "n_zero": self._zeros,
        }


class _Moments:
    """Sums of numbers and of their squares, about the first one, so that little is lost to rounding."""

    def __init__(self) -> None:
        self._number, self._sum, self._squares = 0, 0.0, 0.0
        self._origin: float | None = None

    def add(self, values: np.ndarray) -> None:
        """Add numbers; those that are not finite do not count."""
        with np.errstate(invalid="ignore"):
            total = values.sum()
        if not np.isfinite(total):
            values = values[np.isfinite(values)]
        if not values.size:
            return
        if self._origin is None:
            self._origin = float(values.flat[0])
        values = values - self._origin
        self._number += values.size
        self._sum += float(values.sum())
        self._squares += float(np.vdot(values, values))

    def add_sums(self, number: int, first: int, total: int, squares: int) -> None:
        """Add so many whole numbers, given the first one, their sum and that of their squares."""
        if self._origin is None:
            self._origin = first
        origin = int(self._origin)
        self._number += number
        self._sum += float(total - number * origin)
        self._squares += float(squares - 2 * origin * total + number * origin**2)

    def variance(self) -> float | None:
        """Of all numbers; None if there is none."""
        if not self._number:
            return None
        mean = self._sum / self._number
        return max(0.0, self._squares / self._number - mean * mean)
