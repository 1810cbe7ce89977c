"""Non-maximum suppression like torchvision's on a CPU, without the time and memory of importing it."""

from __future__ import annotations

import numpy as np

# With more boxes, ``torchvision.ops.batched_nms`` sorts the result again, and not stably.
SORTED_ONCE = 1000


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Chooses boxes greedily by score; of boxes with equal scores, the first one comes first.

    Args:
        boxes: (n, 4) x0 y0 x1 y1.
        scores: (n,) float32.
        threshold: greatest IoU with a better box.

    Returns:
        (k,) int64, numbers of the boxes that are kept, the best first: the same numbers in the same
        order as ``torchvision.ops.batched_nms`` returns for float32 boxes of one class on a CPU.
    """
    boxes = boxes.astype(np.float32)
    top_left, bottom_right = boxes[:, :2], boxes[:, 2:]
    areas = (bottom_right - top_left).prod(1)
    waiting = np.argsort(-scores, kind="stable")
    kept = []
    with np.errstate(
        invalid="ignore"
    ):  # the IoU of two empty boxes is NaN, which suppresses nothing
        while len(waiting):
            best, waiting = waiting[0], waiting[1:]
            kept.append(best)
            sides = np.minimum(bottom_right[best], bottom_right[waiting])
            sides = np.maximum(sides - np.maximum(top_left[best], top_left[waiting]), 0)
            shared = sides.prod(1)
            iou = shared / (areas[best] + areas[waiting] - shared)
            waiting = waiting[~(iou.astype(np.float64) > threshold)]
    numbers = np.array(kept, np.int64)
    return _sort_again(numbers, scores) if len(boxes) > SORTED_ONCE else numbers


def _sort_again(kept: np.ndarray, scores: np.ndarray) -> np.ndarray:
    # Only torch itself sorts equal scores in its order, so images with that many masks import it.
    import torch

    kept = np.sort(kept)
    return kept[torch.from_numpy(scores[kept]).sort(descending=True)[1].numpy()]
