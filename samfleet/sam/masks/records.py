"""Records of the masks of an image: the part of mask generation that needs no device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samfleet.sam.masks.packed import PackedMask
from samfleet.sam.masks.regions import remove_small_regions
from samfleet.sam.masks.rle import encode, run_lengths
from samfleet.sam.masks.suppression import suppress


@dataclass(frozen=True, eq=False)
class FoundMasks:
    """The masks of an image that are left after filters and non-maximum suppression.

    Attributes:
        size: (height, width) of the image.
        boxes: (n, 4) int64, x0 y0 x1 y1 in the image, both ends inside.
        predicted_iou, stability: (n,) float32.
        points: (n, 2) float64, x and y of the prompts in the image.
        crops: (n, 4) int64, x0 y0 x1 y1 of the crops that the masks were found in.
        masks: n masks, in their crops.
        min_mask_region_area: islands and holes of fewer pixels are to be removed; 0 leaves them.
        nms_thresh: greatest IoU of two masks' boxes after that.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    predicted_iou: np.ndarray
    stability: np.ndarray
    points: np.ndarray
    crops: np.ndarray
    masks: list[PackedMask]
    min_mask_region_area: int
    nms_thresh: float


def make_records(found: FoundMasks) -> list[dict]:
    """Removes small regions and what becomes a duplicate by that, and encodes the rest.

    Returns:
        Records as ``segment_anything.SamAutomaticMaskGenerator`` gives them with
        ``output_mode="coco_rle"``.
    """
    counts = []
    boxes = found.boxes.copy()
    unchanged = np.ones(len(boxes), np.float32)
    drawn_boxes = boxes.copy()
    for i, (mask, crop) in enumerate(zip(found.masks, found.crops, strict=True)):
        region, (row, column) = mask.unpack()
        corner = row + int(crop[1]), column + int(crop[0])
        if found.min_mask_region_area > 0:
            region, corner, changed = remove_small_regions(
                region, corner, found.size, found.min_mask_region_area
            )
            drawn_boxes[i] = _box(region, corner)
            if changed:
                unchanged[i] = 0
                boxes[i] = drawn_boxes[i]
        counts.append(run_lengths(region, corner, found.size))
    kept = np.arange(len(boxes))
    if found.min_mask_region_area > 0:
        # Masks that were left as they are first.
        kept = suppress(drawn_boxes, unchanged, found.nms_thresh)
    return [
        {
            "segmentation": encode(counts[i], found.size),
            "area": sum(counts[i][1::2]),
            "bbox": _xywh(boxes[i]),
            "predicted_iou": found.predicted_iou[i].item(),
            "point_coords": [found.points[i].tolist()],
            "stability_score": found.stability[i].item(),
            "crop_box": _xywh(found.crops[i]),
        }
        for i in kept.tolist()
    ]


def _xywh(box: np.ndarray) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def _box(region: np.ndarray, corner: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box of a mask's region, x0 y0 x1 y1 in the frame; zeros for an empty one."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if len(rows) == 0:
        return 0, 0, 0, 0
    y, x = corner
    return columns[0] + x, rows[0] + y, columns[-1] + x, rows[-1] + y
