"""Masks that were found on their way to records, in processes without torch."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco
from torchvision.ops import batched_nms

from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.records import make_records, surviving_masks
from samfleet.sam.masks.suppression import keep_best_masks, suppress
from samfleet.sam.tiles import Tiles
from tests.builders import disc, found_masks
from tests.examples import examples


def library_suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    one_class = torch.zeros(len(boxes))
    boxes, scores = torch.as_tensor(boxes).float(), torch.as_tensor(scores)
    return batched_nms(boxes, scores, one_class, threshold).tolist()


def random_boxes(seed: int, count: int, side: int) -> np.ndarray:
    """Boxes on a coarse grid, so that many are equal and some are empty."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, side, (count, 2))
    return np.concatenate([corners, corners + random.integers(0, 6, (count, 2))], axis=1)


@examples(300)
@given(
    st.integers(0, 10**6),
    st.integers(0, 80),
    st.sampled_from([1, 4, 30]),
    st.sampled_from([1, 2, 5, 1000]),
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0]),
)
def test_suppression_is_torchvision_s(seed, count, side, levels, threshold):
    """With few levels of scores most are ties, and on a coarse grid IoUs equal thresholds."""
    boxes = random_boxes(seed, count, side)
    scores = np.random.default_rng(seed).integers(0, levels, count).astype(np.float32)
    assert suppress(boxes, scores, threshold).tolist() == library_suppress(boxes, scores, threshold)


@pytest.mark.parametrize("count", [1000, 1001, 3000])
def test_suppression_of_many_boxes_is_torchvision_s(count):
    """Above 1000 boxes torchvision leaves equal scores in another order."""
    boxes = random_boxes(1, count, 400)
    scores = np.random.default_rng(1).integers(0, 2, count).astype(np.float32)
    kept = suppress(boxes, scores, 0.5)
    assert 200 < len(kept) < count
    assert kept.tolist() == library_suppress(boxes, scores, 0.5)


@examples(200)
@given(
    st.integers(0, 10**6),
    st.integers(0, 12),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.9, 1.0]),
    st.booleans(),
)
def test_masks_are_chosen_by_the_pixels_that_they_share(seed, count, levels, threshold, of_smaller):
    random = np.random.default_rng(seed)
    masks = [np.zeros((12, 20), bool) for _ in range(count)]
    for mask in masks:
        y, x, h, w = random.integers(0, 7, 4)
        mask[y : y + h, x : x + w] = random.random((h, w)) > 0.2
    scores = random.integers(0, levels, count) / 7
    expected: list[int] = []
    for number in sorted(range(count), key=lambda n: -scores[n]):
        mask = masks[number]
        for better in expected:
            shared = int((mask & masks[better]).sum())
            sizes = int(mask.sum()), int(masks[better].sum())
            whole = min(sizes) if of_smaller else sum(sizes) - shared
            if shared and shared / whole > threshold:
                break
        else:
            expected.append(number)
    bits = [BitMask.of(mask, (0, 0)) for mask in masks]
    assert keep_best_masks(bits, scores, threshold, of_smaller).tolist() == expected


def test_neighbours_that_lie_aslant_are_not_taken_for_one_object():
    """Two bands from corner to corner have nearly the same box and no pixel in common."""
    rows, columns = np.mgrid[:40, :60]
    bands = [abs(columns - rows - shift) < 4 for shift in (8, 17)]
    for band in bands:
        band[:4] = band[36:] = False
    found = found_masks(*bands, bands[0])
    kept = surviving_masks(replace(found, mask_nms_thresh=0.5))
    assert [mask.pixels.area for mask in kept] == [int(band.sum()) for band in bands]
    assert len(surviving_masks(found)) == 3


def test_masks_within_others_are_duplicates_only_of_the_smaller_one():
    outer, inner = square_with_hole(0, 0), np.zeros((40, 60), bool)
    inner[:6, :6] = True
    found = replace(found_masks(outer, inner), mask_nms_thresh=0.5)
    assert len(surviving_masks(found)) == 2
    assert [m.pixels.area for m in surviving_masks(replace(found, mask_nms_of="smaller"))] == [144]


def test_of_masks_that_share_pixels_the_one_of_the_best_product_of_scores_stays():
    first, second = square_with_hole(0, 0), square_with_hole(1, 0)
    found = replace(found_masks(first, second), mask_nms_thresh=0.5)
    assert [mask.bbox[0] for mask in surviving_masks(found)] == [0]
    stability = np.array([0.8, 0.95], np.float32)
    unstable = replace(found, stability=stability)
    assert [mask.bbox[0] for mask in surviving_masks(unstable)] == [1]


def test_masks_from_tiles_come_before_those_of_the_whole_image():
    whole, part = np.zeros((2, 100, 230), bool)
    whole[20:60, 20:215], part[20:60, 20:130] = True, True
    found = replace(found_masks(whole, part), mask_nms_thresh=0.5, mask_nms_of="smaller")
    assert [mask.pixels.area for mask in surviving_masks(found)] == [40 * 195]
    layout = Tiles(100).lay((100, 230))
    crops = np.array([[0, 0, 230, 100], [0, 0, 150, 100]])
    tiled = replace(found, layout=layout, crops=crops)
    assert [mask.pixels.area for mask in surviving_masks(tiled)] == [40 * 110]


def square_with_hole(left: int, hole: int) -> np.ndarray:
    """A square of 12 x 12 pixels in a frame of 40 x 60, without some pixels of one of its rows."""
    mask = np.zeros((40, 60), bool)
    mask[:12, left : left + 12] = True
    mask[5, left + 3 : left + 3 + hole] = False
    return mask


@examples(100)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30), st.floats(0, 1))
def test_records_hold_the_masks_that_were_packed(seed, height, width, level):
    mask = cv2.blur(np.random.default_rng(seed).random((height, width)), (3, 3)) > level
    (record,) = make_records(found_masks(mask.reshape(height, width)))
    assert np.array_equal(coco.decode(record["segmentation"]), mask.reshape(height, width))


def test_a_record_says_what_was_found():
    mask = square_with_hole(12, 2)
    (record,) = make_records(found_masks(mask, crop=(8, 0, 60, 40)))
    assert np.array_equal(coco.decode(record.pop("segmentation")), mask)
    assert record == {
        "area": 12 * 12 - 2,
        "bbox": [12, 0, 11, 11],
        "predicted_iou": float(np.float32(0.9)),
        "point_coords": [[1.5, 2.5]],
        "stability_score": float(np.float32(0.95)),
        "crop_box": [8, 0, 52, 40],
    }


def test_masks_that_small_regions_are_removed_from_come_last():
    small, large = square_with_hole(0, 2), square_with_hole(20, 6)
    areas = {
        min_area: [
            record["area"]
            for record in make_records(found_masks(small, large, min_mask_region_area=min_area))
        ]
        for min_area in (0, 3, 7)
    }
    assert areas == {0: [142, 138], 3: [138, 144], 7: [144, 144]}


def test_masks_that_become_alike_are_one():
    island, other = square_with_hole(0, 0), square_with_hole(0, 2)
    island[30, 50] = True
    found = found_masks(island, other, min_mask_region_area=3)
    assert found.nms_thresh < 1
    (record,) = make_records(found)
    assert (record["area"], record["bbox"]) == (144, [0, 0, 11, 11])


def test_no_masks():
    for min_area in (0, 100):
        assert make_records(found_masks(size=(40, 60), min_mask_region_area=min_area)) == []


def test_what_goes_to_workers_is_small_and_shares_its_tiling():
    masks = [disc(1024, 1024, 60 * i + 60, 60 * i + 60, 40) for i in range(15)]
    one, many = (len(pickle.dumps(found_masks(*masks[:n]))) for n in (1, 15))
    assert many - one < 14 * 10_000
    found = pickle.loads(pickle.dumps(found_masks(*masks)))
    assert len({id(mask.tiling) for mask in found.masks}) == 1


def test_a_mask_of_the_whole_image_is_dropped_if_a_tile_holds_it_once_it_is_cleaned():
    """With a stray pixel far away, no tile seems to hold it before that."""
    small, large = np.zeros((2, 100, 230), bool)
    small[10:20, 5:15] = large[40:60, 5:225] = True
    small[90, 220] = True
    found = found_masks(small, large, min_mask_region_area=5)
    assert [mask.pixels.area for mask in surviving_masks(found)] == [4400, 100]
    tiled = replace(found, layout=Tiles(100).lay((100, 230)))
    assert [mask.pixels.area for mask in surviving_masks(tiled)] == [4400]
    one_tile = replace(found, layout=Tiles(230).lay((100, 230)))
    assert len(surviving_masks(one_tile)) == 2


def test_a_mask_of_the_whole_image_that_joins_small_objects_is_dropped():
    """Each of them is found in a tile, with a better outline."""
    joined, ring = np.zeros((2, 100, 230), bool)
    for left in (5, 100, 200):
        joined[10:30, left : left + 20] = True
    ring[40:90, 5:225] = True
    ring[45:85, 10:220] = False
    found = replace(found_masks(joined, ring), layout=Tiles(100).lay((100, 230)))
    assert [mask.pixels.area for mask in surviving_masks(found)] == [int(ring.sum())]
