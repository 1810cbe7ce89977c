"""Match predicted objects one to one with labelled ones, by intersection over union (IoU).

The average precision is that of the Data Science Bowl 2018 (Caicedo et al. 2019, Nature Methods 16,
1247): TP / (TP + FP + FN), averaged over the IoU thresholds 0.50, 0.55, …, 0.95.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from samfleet.sam.masks.rle import runs_of

THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
"""The IoU thresholds over which the average precision is averaged."""


REPORTED_THRESHOLDS = (0.5, 0.75)

_MOST_IDS = 1 << 26  # that are counted in a table
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Matches:
    """How labelled and predicted objects of one image overlap.

    Args:
        truth_areas: int64, shape (t,), pixels of each labelled object.
        predicted_areas: int64, shape (p,), pixels of each predicted object.
        truth, predicted: int64, shape (n,), indices of the n pairs that share pixels.
        shared: int64, shape (n,), the number of pixels that each pair shares.

    Raises:
        ValueError: if the arrays do not fit together.
    """

    truth_areas: np.ndarray
    predicted_areas: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    shared: np.ndarray

    def __post_init__(self) -> None:
        if not self.truth.shape == self.predicted.shape == self.shared.shape:
            raise ValueError("truth, predicted and shared must have one entry for each pair")
        if (self.shared <= 0).any():
            raise ValueError("a pair must share at least one pixel")

    @property
    def iou(self) -> np.ndarray:
        """float64, shape (n,), intersection over union of each pair."""
        areas = self.truth_areas[self.truth] + self.predicted_areas[self.predicted]
        return self.shared / (areas - self.shared)

    def true_positives(self, threshold: float) -> int:
        """Largest number of one-to-one pairs whose IoU reaches `threshold` (above 0).

        Predicted objects may overlap. So several of them can reach the threshold with one labelled
        object, and the other way round; this takes an assignment, not only counting.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        good = self.iou >= threshold
        rows, row = np.unique(self.truth[good], return_inverse=True)
        columns, column = np.unique(self.predicted[good], return_inverse=True)
        if len(rows) == len(row) or len(columns) == len(column):
            return min(len(rows), len(columns))  # one side has only one partner each
        possible = csr_array((np.ones(len(row), np.int8), (row, column)))
        return int((maximum_bipartite_matching(possible) >= 0).sum())

    def best_ious(self) -> np.ndarray:
        """float64, shape (t,), for each labelled object the best IoU of any prediction with it."""
        best = np.zeros(len(self.truth_areas))
        np.maximum.at(best, self.truth, self.iou)
        return best


def match_objects(
    truth_labels: np.ndarray, predicted: np.ndarray | Iterable[np.ndarray | Mapping]
) -> Matches:
    """Compare a label map with predicted objects.

    Args:
        truth_labels: Integers, shape (height, width), 0 for background.
        predicted: Another label map; or masks that may overlap, each a bool array of that shape
            or a COCO run-length encoding ``{"size": [height, width], "counts": …}``.

    Raises:
        ValueError: if a shape or type does not fit.
    """
    truth, count = _consecutive(truth_labels)
    areas = (np.bincount(part.ravel(), minlength=count + 1) for part in _parts(truth))
    truth_areas = sum(areas, np.zeros(count + 1, np.int64))[1:]
    if isinstance(predicted, np.ndarray) and predicted.dtype != bool and predicted.ndim == 2:
        if predicted.shape != truth.shape:
            raise ValueError(f"labels of {truth.shape} and predictions of {predicted.shape}")
        labels, _ = _consecutive(predicted)
        pixels = _pixels_of_labels(labels)
    else:
        pixels = (_pixels_of_mask(one, truth.shape) for one in predicted)
    return _count(truth.ravel(), truth_areas, pixels)


def _pixels_of_labels(labels: np.ndarray) -> Iterable[np.ndarray]:
    """The pixels of each of the ids 1, 2, …, as indices into the flattened label map."""
    if labels.max(initial=0) <= 50:
        return (np.flatnonzero(labels == k + 1) for k in range(labels.max(initial=0)))
    # one sort instead of a scan for each object
    order = np.argsort(labels, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(labels.ravel()))
    return np.split(order, ends[:-1])[1:]


def _count(truth: np.ndarray, truth_areas: np.ndarray, pixels: Iterable[np.ndarray]) -> Matches:
    areas, pairs = [], []
    for number, where in enumerate(pixels):
        areas.append(len(where))
        below, shared = np.unique(truth[where], return_counts=True)
        pairs += [(label - 1, number, n) for label, n in zip(below, shared, strict=True) if label]
    columns = np.array(pairs, np.int64).reshape(-1, 3).T
    return Matches(truth_areas, np.array(areas, np.int64), *columns)


def _consecutive(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """The label map with the ids replaced by 1, 2, …, and how many there are."""
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"a label map must be a 2-D array of integers, not {labels.dtype} {labels.shape}"
        )
    if labels.size and labels.min() < 0:
        raise ValueError("a label map must not have negative labels")
    most = int(labels.max(initial=0))
    if most > _MOST_IDS:
        ids, index = np.unique(labels, return_inverse=True)
        first = int(ids[0] > 0)  # 1 if no pixel is background
        return index.reshape(labels.shape) + first, len(ids) - 1 + first
    present = np.zeros(most + 1, bool)
    for part in _parts(labels):
        present[part] = True
    present[0] = False
    numbers = np.cumsum(present, dtype=np.uint32)
    count = int(numbers[-1])
    if count == most:
        return labels, count
    consecutive = np.empty(labels.shape, np.uint32)
    for part, target in zip(_parts(labels), _parts(consecutive), strict=True):
        target[...] = numbers[part]
    return consecutive, count


def _parts(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows at a time, since numbers of pixels take eight times the memory of small labels."""
    rows = max(1, _AT_ONCE // max(1, labels.shape[1]))
    return (labels[first : first + rows] for first in range(0, len(labels), rows))


def _pixels_of_mask(one: np.ndarray | Mapping, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of a mask, as indices into the flattened label map; of run lengths without a frame."""
    if not isinstance(one, Mapping):
        mask = np.asarray(one)
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(f"a mask must be bool {shape}, not {mask.dtype} {mask.shape}")
        return np.flatnonzero(mask)
    counts = one["counts"]
    if not isinstance(counts, list):
        counts = runs_of(counts if isinstance(counts, str) else counts.decode())
    runs = np.asarray(counts, np.int64)
    height, width = shape
    if tuple(one["size"]) != shape or runs.sum() != height * width or runs.min(initial=0) < 0:
        raise ValueError(f"a mask of {tuple(one['size'])} must fill {shape}")
    ends = np.cumsum(runs)
    lengths = runs[1::2]
    start = ends[1::2] - lengths
    places = np.repeat(start - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    column, row = np.divmod(places, height)
    return row * width + column


@dataclass(frozen=True)
class Counts:
    """The counts that scores are computed from, for one image or pooled over several.

    Args:
        labelled: Number of labelled objects.
        predicted: Number of predicted objects.
        true_positives: For each threshold in `THRESHOLDS`, the number of right predictions.
        best_iou_sum: Sum over the labelled objects of their best IoU.
    """

    labelled: int
    predicted: int
    true_positives: tuple[int, ...]
    best_iou_sum: float

    def __post_init__(self) -> None:
        if len(self.true_positives) != len(THRESHOLDS):
            raise ValueError(f"true_positives needs {len(THRESHOLDS)} numbers")
        if max(self.true_positives) > min(self.labelled, self.predicted):
            raise ValueError("more right predictions than objects")

    @classmethod
    def of(cls, matches: Matches) -> "Counts":
        return cls(
            len(matches.truth_areas),
            len(matches.predicted_areas),
            tuple(matches.true_positives(t) for t in THRESHOLDS),
            float(matches.best_ious().sum()),
        )

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.labelled + other.labelled,
            self.predicted + other.predicted,
            tuple(a + b for a, b in zip(self.true_positives, other.true_positives, strict=True)),
            self.best_iou_sum + other.best_iou_sum,
        )


def score(counts: Counts | Matches, *, sparse: bool = False) -> dict[str, float]:
    """Precision, recall and F1 at IoU 0.5 and 0.75, average precision, mean best IoU.

    An image with neither labelled nor predicted objects has a score of 1 throughout. Otherwise a
    score that would divide by 0 is 0.

    Args:
        counts: Of one image, or pooled.
        sparse: Only some objects are labelled, so that an unmatched prediction may be right. Then
            only recall and mean best IoU are given, and the rest is NaN.
    """
    if isinstance(counts, Matches):
        counts = Counts.of(counts)
    scores: dict[str, float] = {}
    for threshold in REPORTED_THRESHOLDS:
        hits = counts.true_positives[THRESHOLDS.index(threshold)]
        percent = int(100 * threshold)
        scores[f"tp_{percent}"] = hits
        scores[f"fp_{percent}"] = counts.predicted - hits
        scores[f"fn_{percent}"] = counts.labelled - hits
        empty = not counts.labelled and not counts.predicted
        scores[f"precision_{percent}"] = _part(hits, counts.predicted, empty)
        scores[f"recall_{percent}"] = _part(hits, counts.labelled, empty)
        scores[f"f1_{percent}"] = _part(2 * hits, counts.predicted + counts.labelled, empty)
    either = [counts.labelled + counts.predicted - hits for hits in counts.true_positives]
    parts = [_part(h, n, n == 0) for h, n in zip(counts.true_positives, either, strict=True)]
    scores["average_precision"] = float(np.mean(parts))
    scores["mean_best_iou"] = _part(counts.best_iou_sum, counts.labelled, either[0] == 0)
    if sparse:
        known = ("tp", "fn", "recall", "mean_best_iou")
        scores = {k: v if k.startswith(known) else float("nan") for k, v in scores.items()}
    return scores


def _part(numerator: float, denominator: float, nothing_to_find: bool) -> float:
    if nothing_to_find:
        return 1.0
    return float(numerator / denominator) if denominator else 0.0
