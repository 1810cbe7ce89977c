"""Non-maximum suppression: by boxes like torchvision's on a CPU, without importing it, and by pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from samfleet.sam.masks.bitmask import BitMask, overlaps
from samfleet.sam.masks.boxes import meeting

# With more boxes, ``torchvision.ops.batched_nms`` sorts the result again, and not stably.
SORTED_ONCE = 1000


def keep_best(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Chooses boxes greedily by score; of boxes with equal scores, the first one comes first.

    Args:
        boxes: (n, 4) x0 y0 x1 y1.
        scores: (n,) float32.
        threshold: greatest IoU with a better box.

    Returns:
        (k,) int64, numbers of the boxes that are kept, the best first.
    """
    rivals = _rivals(boxes.astype(np.float32), threshold)
    alive = np.ones(len(boxes), bool)
    kept = []
    for best in np.argsort(-scores, kind="stable").tolist():
        if alive[best]:
            kept.append(best)
            alive[rivals.get(best, [])] = False
    return np.array(kept, np.int64)


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Like ``keep_best``, but the same numbers in the same order as torchvision on a CPU.

    ``torchvision.ops.batched_nms`` returns them for float32 boxes of one class.
    """
    numbers = keep_best(boxes, scores, threshold)
    return _sort_again(numbers, scores) if len(boxes) > SORTED_ONCE else numbers


def keep_best_masks(
    masks: Sequence[BitMask],
    scores: np.ndarray,
    threshold: float,
    of_smaller: bool = False,
    unless: Callable[[int, int, float], bool] | None = None,
) -> np.ndarray:
    """Chooses masks greedily by score; of masks with equal scores, the first one comes first.

    Args:
        masks: (n,) of one frame.
        scores: (n,) float.
        threshold: greatest part of its pixels that a mask may share with a better one.
        of_smaller: whether that is a part of the smaller mask, not of both together (IoU).
        unless: whether of two masks, the better one first, which share such a part, both are kept all the same.

    Returns:
        (k,) int64, numbers of the masks that are kept, the best first.
    """
    shared, areas = overlaps(masks), [mask.area for mask in masks]
    alive = np.ones(len(masks), bool)
    kept = []
    for best in np.argsort(-scores, kind="stable").tolist():
        if not alive[best]:
            continue
        kept.append(best)
        for other, pixels in shared[best].items():
            one, two = areas[best], areas[other]
            whole = min(one, two) if of_smaller else one + two - pixels
            if alive[other] and (part := pixels / whole) > threshold:
                alive[other] = unless is not None and unless(best, other, part)
    return np.array(kept, np.int64)


def _rivals(boxes: np.ndarray, threshold: float) -> dict[int, list[int]]:
    """For each box those with a greater IoU; only boxes that meet are compared."""
    top_left, bottom_right = boxes[:, :2], boxes[:, 2:]
    areas = (bottom_right - top_left).prod(1)
    rivals: dict[int, list[int]] = {}
    # boxes that do not meet suppress nothing
    for one, others in meeting(top_left[:, ::-1], bottom_right[:, ::-1]):
        sides = np.minimum(bottom_right[one], bottom_right[others])
        shared = (sides - np.maximum(top_left[one], top_left[others])).prod(1)
        with np.errstate(invalid="ignore"):  # two boxes without area: NaN, which suppresses nothing
            iou = shared / (areas[one] + areas[others] - shared)
        for other in others[iou.astype(np.float64) > threshold].tolist():
            rivals.setdefault(one, []).append(other)
            rivals.setdefault(other, []).append(one)
    return rivals


def _sort_again(kept: np.ndarray, scores: np.ndarray) -> np.ndarray:
    # Only torch itself sorts equal scores in its order, so images with that many masks import it.
    import torch

    kept = np.sort(kept)
    return kept[torch.from_numpy(scores[kept]).sort(descending=True)[1].numpy()]
