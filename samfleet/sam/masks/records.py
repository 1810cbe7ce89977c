"""Choose masks and make records of them: the part of mask generation that needs no device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.boxes import held
from samfleet.sam.masks.packed import CompactMask
from samfleet.sam.masks.regions import remove_small_regions
from samfleet.sam.masks.rle import encode, run_lengths
from samfleet.sam.masks.suppression import keep_best, keep_best_masks, suppress
from samfleet.sam.tiles import Layout


@dataclass(frozen=True)
class TileReport:
    """What was done with the tiles of an image.

    Attributes:
        size: pixels of a tile as asked for, at the last look.
        done: tiles that were shown to the model, at all looks.
        left_out: tiles with nothing but background, at all looks.
        cut: objects that every tile cuts and that were not found in the whole image either, about.
    """

    size: int
    done: int
    left_out: int
    cut: int


@dataclass(frozen=True, eq=False)
class FoundMasks:
    """The masks of an image after filters and non-maximum suppression.

    Attributes:
        size: (height, width) of the image.
        boxes: (n, 4) int64, x0 y0 x1 y1 in the image, both ends inside.
        predicted_iou, stability: (n,) float32.
        points: (n, 2) float64, x and y of the prompts in the image.
        crops: (n, 4) int64, x0 y0 x1 y1 of the crops that the masks were found in.
        masks: n masks, in their crops, of which each pixel stands for ``reductions`` squared.
        min_mask_region_area: islands and holes with fewer pixels will be removed; 0 keeps them.
        nms_thresh: greatest IoU of two masks' boxes after that.
        mask_nms_thresh, mask_nms_of: how much of their pixels two masks may share at last, see
            `keep_best_masks`; None for as much as they do.
        reductions: (n,) int64, by what factor the crops were smaller than in the image; None for 1.
        tiles: what was done with tiles; None without tiles.
        layout: the tiles of the first look. Masks that were found in the whole image are dropped if, once
            small regions are removed, a tile holds their largest part.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    predicted_iou: np.ndarray
    stability: np.ndarray
    points: np.ndarray
    crops: np.ndarray
    masks: Sequence[CompactMask]
    min_mask_region_area: int
    nms_thresh: float
    mask_nms_thresh: float | None = None
    mask_nms_of: str = "union"
    reductions: np.ndarray | None = None
    tiles: TileReport | None = None
    layout: Layout | None = None

    def region(self, number: int) -> tuple[np.ndarray, tuple[int, int]]:
        """The pixels of a mask: (height, width) bool, and (row, column) of the first in the image."""
        region, (row, column) = self.masks[number].unpack()
        if self.reductions is not None and (factor := int(self.reductions[number])) > 1:
            region = region.repeat(factor, axis=0).repeat(factor, axis=1)
            row, column = row * factor, column * factor
        x0, y0 = self.crops[number, :2].tolist()
        return region, (row + y0, column + x0)


@dataclass(frozen=True, eq=False, slots=True)
class SurvivingMask:
    """A mask as it is stored, with what SAM tells about it.

    Attributes:
        pixels: its pixels.
        rle: the ``counts`` of its COCO run-length encoding.
        bbox: [x, y, width, height] as SAM defines them: width and height are one pixel too small.
        predicted_iou, stability: SAM's scores.
        point: [x, y] of the prompt.
        crop_box: [x, y, width, height] of the crop that it was found in.
    """

    pixels: BitMask
    rle: str
    bbox: list[int]
    predicted_iou: float
    stability: float
    point: list[float]
    crop_box: list[int]


def surviving_masks(found: FoundMasks) -> list[SurvivingMask]:
    """Removes small regions, then masks that have become duplicates, and encodes the other masks."""
    masks = []
    boxes = found.boxes.copy()
    unchanged = np.ones(len(boxes), np.float32)
    drawn_boxes = boxes.copy()
    for i in range(len(boxes)):
        region, corner = found.region(i)
        changed = False
        if found.min_mask_region_area > 0:
            region, corner, changed = remove_small_regions(
                region, corner, found.size, found.min_mask_region_area
            )
        pixels = BitMask.of(region, corner)
        masks.append(pixels)
        drawn_boxes[i] = _box(pixels)
        if changed:
            unchanged[i] = 0
            boxes[i] = drawn_boxes[i]
    kept = np.flatnonzero(~_is_redundant(found, masks))
    if found.min_mask_region_area > 0:
        # Unchanged masks come first.
        choose = suppress if found.tiles is None else keep_best
        kept = kept[choose(drawn_boxes[kept], unchanged[kept], found.nms_thresh)]
    if found.mask_nms_thresh is not None:
        chosen = [masks[number] for number in kept.tolist()]
        of_smaller = found.mask_nms_of == "smaller"
        kept = kept[
            keep_best_masks(chosen, _quality(found)[kept], found.mask_nms_thresh, of_smaller)
        ]
    return [
        SurvivingMask(
            pixels=masks[i],
            rle=counts_of(masks[i], found.size),
            bbox=_xywh(boxes[i]),
            predicted_iou=found.predicted_iou[i].item(),
            stability=found.stability[i].item(),
            point=found.points[i].tolist(),
            crop_box=_xywh(found.crops[i]),
        )
        for i in kept.tolist()
    ]


def _quality(found: FoundMasks) -> np.ndarray:
    """By what masks are chosen when their pixels are compared: (n,) float64, the greater the better.

    micro-sam's score, but masks from tiles come before those of the whole image.
    """
    quality = found.predicted_iou.astype(np.float64) * np.nan_to_num(found.stability)
    if found.layout is not None and len(found.layout.boxes) > 1:
        quality -= 2 * _of_whole_image(found)
    return quality


def _of_whole_image(found: FoundMasks) -> np.ndarray:
    """Which masks were found in the whole image: (n,) bool."""
    height, width = found.size
    return (found.crops == (0, 0, width, height)).all(1)


def _is_redundant(found: FoundMasks, masks: list[BitMask]) -> np.ndarray:
    """Which masks of the whole image have no part that a tile could not hold better: (n,) bool."""
    redundant = np.zeros(len(masks), bool)
    if found.layout is not None and len(found.layout.boxes) > 1:
        whole = np.flatnonzero(_of_whole_image(found))
        largest = [_largest_box(masks[number]) for number in whole.tolist()]
        redundant[whole] = held(found.layout, np.array(largest, np.int64).reshape(-1, 4))
    return redundant


def _largest_box(pixels: BitMask) -> tuple[int, int, int, int]:
    """The box of a mask's largest part, x0 y0 x1 y1 in the frame, both ends inside."""
    region = pixels.region().view(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(region, connectivity=8)
    if len(stats) == 1:
        return _box(pixels)
    x, y, width, height, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()].tolist()
    x, y = x + pixels.corner[1], y + pixels.corner[0]
    return x, y, x + width - 1, y + height - 1


def make_records(found: FoundMasks) -> list[dict]:
    """Records of the masks that are kept.

    Returns:
        Records as ``segment_anything.SamAutomaticMaskGenerator`` returns them with
        ``output_mode="coco_rle"``.
    """
    return [
        {
            "segmentation": {"size": list(found.size), "counts": mask.rle},
            "area": mask.pixels.area,
            "bbox": mask.bbox,
            "predicted_iou": mask.predicted_iou,
            "point_coords": [mask.point],
            "stability_score": mask.stability,
            "crop_box": mask.crop_box,
        }
        for mask in surviving_masks(found)
    ]


def counts_of(pixels: BitMask, size: tuple[int, int]) -> str:
    """The ``counts`` of a mask's COCO run-length encoding in a frame of (height, width)."""
    return encode(run_lengths(pixels.region(), pixels.corner, size), size)["counts"]


def _xywh(box: np.ndarray) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def _box(pixels: BitMask) -> tuple[int, int, int, int]:
    """The box of a mask, x0 y0 x1 y1 in the frame, both ends inside; zeros for an empty mask."""
    (y, x), (height, width) = pixels.corner, pixels.shape
    return x, y, x + width - 1, y + height - 1
