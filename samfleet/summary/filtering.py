"""The fluorescence filters: which stored candidates are objects. No mask is decoded."""

from dataclasses import dataclass

import numpy as np

FILTERS = (
    "min_predicted_iou",
    "min_stability_score",
    "min_area",
    "max_area",
    "min_mean_intensity",
    "max_overlap",
)
"""The filters in the order in which they are applied."""

_FLOAT_WHITES = (1.0, 255.0, 65535.0, 4294967295.0)


@dataclass(frozen=True)
class Candidates:
    """Columns of the candidates of one or more pictures, numpy arrays of equal length.

    Attributes:
        number: of the candidate in its picture.
        predicted_iou, stability_score: SAM's scores.
        area: pixels.
        mean_intensity: 0 to 255.
    """

    number: np.ndarray
    predicted_iou: np.ndarray
    stability_score: np.ndarray
    area: np.ndarray
    mean_intensity: np.ndarray

    def take(self, indices: np.ndarray) -> "Candidates":
        """Those at `indices`."""
        return Candidates(**{name: values[indices] for name, values in vars(self).items()})


def first_failed(candidates: Candidates, fluorescence: dict) -> np.ndarray:
    """For every candidate the index in FILTERS of the first that drops it, except overlap.

    Args:
        candidates: of any number of pictures.
        fluorescence: the configuration's `fluorescence`.

    Returns:
        int8 array; the index of `max_overlap` for those that pass all others.
    """
    drops = [
        candidates.predicted_iou < (fluorescence["min_predicted_iou"] or 0.0),
        candidates.stability_score < (fluorescence["min_stability_score"] or 0.0),
        candidates.area < fluorescence["min_area"],
        candidates.area > fluorescence["max_area"],
        candidates.mean_intensity < fluorescence["min_mean_intensity"],
        np.ones(len(candidates.area), bool),
    ]
    return np.argmax(drops, axis=0).astype(np.int8)


def suppress_overlaps(
    candidates: Candidates,
    overlapping: list[list[int]],
    shared_pixels: list[list[int]],
    max_overlap: float,
) -> np.ndarray:
    """Greedy suppression within one picture: the better of two overlapping candidates stays.

    Better is the higher predicted IoU, then the higher stability score, then the lower number. A
    candidate goes when it shares more than `max_overlap` of the smaller one's area with one that
    stays.

    Args:
        candidates: of one picture, those that passed the other filters.
        overlapping, shared_pixels: for each of them the numbers of the candidates that it shares
            pixels with, and how many.
        max_overlap: 0 to 1.

    Returns:
        Indices of those that stay, ascending.
    """
    order = np.lexsort((candidates.number, -candidates.stability_score, -candidates.predicted_iou))
    area_of_kept: dict[int, int] = {}
    kept = []
    for index in order:
        area = int(candidates.area[index])
        if all(
            number not in area_of_kept or shared <= max_overlap * min(area, area_of_kept[number])
            for number, shared in zip(overlapping[index], shared_pixels[index], strict=True)
        ):
            area_of_kept[int(candidates.number[index])] = area
            kept.append(int(index))
    return np.array(sorted(kept), dtype=np.int64)


def white_level(dtype: str, brightest: float) -> float:
    """The raw value that counts as 255 unless `fluorescence.white` says so.

    The largest value of an integer type, signed or not. For floating point the first of 1, 255,
    65535 and 4294967295 that is not below `brightest`, else `brightest`: most such pictures are
    converted integers or lie between 0 and 1.

    Args:
        dtype: name of the pixels' type.
        brightest: the brightest finite pixel of all pictures of this type, so that they share
            one scale.
    """
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        return float(np.iinfo(kind).max)
    return next((white for white in _FLOAT_WHITES if brightest <= white), float(brightest))
