"""The fluorescence filters: which stored candidates are objects. No mask is decoded."""

from dataclasses import dataclass

import numpy as np

from samfleet.config.settings import FluorescenceSettings

FILTERS = (
    "min_predicted_iou",
    "min_stability_score",
    "min_area",
    "max_area",
    "min_mean_intensity",
    "min_contrast",
    "min_circularity",
    "min_solidity",
    "exclude_edge",
    "max_overlap",
)
"""The filters in the order in which they are applied."""


@dataclass(frozen=True)
class Candidates:
    """Columns of the candidates of one or more images, numpy arrays of equal length.

    Attributes:
        number: of the candidate in its image.
        predicted_iou, stability_score: SAM's scores.
        area: in pixels.
        intensity_mean: on the scale of 0 to 255, of the pixels that are finite; NaN if none is.
        contrast: the same above the image's background.
        circularity, solidity: of the shape.
        touches_edge: bool, whether a pixel is at the edge of the image.
    """

    number: np.ndarray
    predicted_iou: np.ndarray
    stability_score: np.ndarray
    area: np.ndarray
    intensity_mean: np.ndarray
    contrast: np.ndarray
    circularity: np.ndarray
    solidity: np.ndarray
    touches_edge: np.ndarray

    def take(self, indices: np.ndarray) -> "Candidates":
        """Those at `indices`."""
        return Candidates(**{name: values[indices] for name, values in vars(self).items()})


@dataclass(frozen=True)
class OverlappingPairs:
    """Candidates that share pixels, numpy arrays of equal length.

    Attributes:
        first, second: indices of the two candidates.
        shared_pixels: how many pixels they share.
    """

    first: np.ndarray
    second: np.ndarray
    shared_pixels: np.ndarray


def first_failed(candidates: Candidates, fluorescence: FluorescenceSettings) -> np.ndarray:
    """For every candidate, the index in FILTERS of the first one that drops it, except overlap.

    Args:
        candidates: of any number of images.
        fluorescence: the section of the configuration.

    Returns:
        int8 array; the index of `max_overlap` for those that pass all others.
    """
    drops = [
        _below(candidates.predicted_iou, fluorescence.min_predicted_iou),
        _below(candidates.stability_score, fluorescence.min_stability_score),
        candidates.area < fluorescence.min_area,
        candidates.area > fluorescence.max_area,
        _below(candidates.intensity_mean, fluorescence.min_mean_intensity),
        _below(candidates.contrast, fluorescence.min_contrast),
        _below(candidates.circularity, fluorescence.min_circularity),
        _below(candidates.solidity, fluorescence.min_solidity),
        candidates.touches_edge & fluorescence.exclude_edge,
        np.ones(len(candidates.area), bool),
    ]
    return np.argmax(drops, axis=0).astype(np.int8)


def _below(values: np.ndarray, minimum: float | None) -> np.ndarray:
    """Whether values do not reach a minimum; NaN does not, which stands for the score of no pixel."""
    return np.zeros(len(values), bool) if minimum is None else ~(values >= minimum)


def suppress_overlaps(
    candidates: Candidates, passed: np.ndarray, pairs: OverlappingPairs, max_overlap: float
) -> np.ndarray:
    """Greedy suppression: of two overlapping candidates of an image, the better one is kept.

    The better one has the higher predicted IoU, then the higher stability score, then the lower number.
    A candidate is dropped if it shares more than `max_overlap` of the smaller one's area with a better
    candidate that is kept.

    Args:
        candidates: of any number of images.
        passed: bool array, which ones passed the other filters.
        pairs: all candidates that share pixels, each pair in both directions.
        max_overlap: 0 to 1.

    Returns:
        bool array, which ones are kept.
    """
    first, second = pairs.first, pairs.second
    smaller = np.minimum(candidates.area[first], candidates.area[second])
    conflict = passed[first] & passed[second] & (pairs.shared_pixels > max_overlap * smaller)
    rivals: dict[int, list[int]] = {}
    for one, other in zip(first[conflict].tolist(), second[conflict].tolist(), strict=True):
        rivals.setdefault(one, []).append(other)
    disputed = np.fromiter(rivals, np.int64, len(rivals))
    quality = candidates.take(disputed)
    order = np.lexsort((quality.number, -quality.stability_score, -quality.predicted_iou))
    kept = passed.copy()
    for index in disputed[order].tolist():
        if kept[index]:
            kept[rivals[index]] = False  # a better rival that is kept would have removed this one
    return kept
