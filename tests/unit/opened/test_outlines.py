"""Masks and outlines, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco
from skimage.measure import label

from samfleet.opened.masks import label_strips, region_of
from samfleet.opened.outlines import polygons_of, signed_area
from samfleet.sam.masks.rle import runs_of
from tests.builders import disc, rle_counts
from tests.detected import object_row

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(np.any)


@given(MASKS)
def test_a_region_holds_the_pixels_of_its_mask(mask):
    region = region_of(object_row(mask))
    again = np.zeros_like(mask)
    height, width = region.pixels.shape
    again[region.y : region.y + height, region.x : region.x + width] = region.pixels
    np.testing.assert_array_equal(again, mask)


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=9))
def test_runs_are_those_that_were_encoded(runs):
    size = [sum(runs), 1]
    counts = coco.frPyObjects({"size": size, "counts": runs}, *size)["counts"].decode()
    assert runs_of(counts).tolist() == runs


@given(MASKS)
def test_polygons_enclose_the_mask_and_are_valid(mask):
    region = region_of(object_row(mask))
    polygons = polygons_of(region)
    assert len(polygons) == label(mask, connectivity=1).max()
    assert sum(signed_area(ring) for rings in polygons for ring in rings) == mask.sum()
    inside = np.zeros(mask.shape, int)
    for rings in polygons:
        assert signed_area(rings[0]) > 0 and all(signed_area(hole) < 0 for hole in rings[1:])
        for ring in rings:
            assert len({tuple(corner) for corner in ring.tolist()}) == len(ring)
            inside += np.sign(signed_area(ring)).astype(int) * covered(ring, mask.shape)
    np.testing.assert_array_equal(inside, mask)


def covered(ring: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels within a ring along pixels' edges: those with an odd number of its sides to their left."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for (x, y), (end_x, end_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if x == end_x:
            crossings[min(y, end_y) : max(y, end_y), x] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2


def test_a_mask_in_a_huge_image_is_decoded_in_its_box_alone():
    """40,000 × 40,000 pixels would be 1.6 GB; its run-length encoding has few runs."""
    height = 40_000
    runs = [height * 30_000 + 20_000]
    for _ in range(9):
        runs += [5, height - 5]
    counts = coco.frPyObjects({"size": [height, height], "counts": [*runs, 0]}, height, height)
    row = {"rle": counts["counts"].decode(), "height": height}
    row |= {"bbox_x": 30_000, "bbox_y": 20_000, "bbox_width": 9, "bbox_height": 5}
    region = region_of(row)
    assert region.pixels.shape == (5, 9) and region.pixels.all()


@pytest.mark.parametrize("rows", [1, 7, 60, 100])
def test_strips_together_are_the_label_image(rows):
    first, second = disc(60, 80, 20, 20, 12), disc(60, 80, 30, 25, 12)
    objects = [
        object_row(first, 1, predicted_iou=0.9, stability_score=0.9),
        object_row(second, 2, predicted_iou=0.9, stability_score=0.8),
    ]
    labels = np.concatenate(list(label_strips(objects, (60, 80), rows)))
    expected = np.where(first, 1, np.where(second, 2, 0))
    np.testing.assert_array_equal(labels, expected)
    objects[1] |= {"stability_score": 0.9}  # the lower number is the better one
    labels = np.concatenate(list(label_strips(objects, (60, 80), rows)))
    np.testing.assert_array_equal(labels, expected)
    assert rle_counts(labels == 1) == objects[0]["rle"]
