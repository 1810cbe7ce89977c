"""Masks as bits: every pixel in its place, and the pixels that two masks share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from samfleet.sam.masks.bitmask import BitMask, overlaps


@st.composite
def placed(draw, side: int = 40) -> tuple[np.ndarray, tuple[int, int]]:
    """A region, empty, sparse or full, and its corner in a frame of `side` pixels."""
    corner = draw(st.integers(0, side - 1)), draw(st.integers(0, side - 1))
    shape = tuple(draw(st.integers(1, side - first)) for first in corner)
    density = draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    return random.random(shape) < density, corner


def frame(region: np.ndarray, corner: tuple[int, int], side: int = 40) -> np.ndarray:
    whole = np.zeros((side, side), bool)
    (row, column), (height, width) = corner, region.shape
    whole[row : row + height, column : column + width] = region
    return whole


@settings(deadline=None)
@given(placed())
def test_a_mask_is_packed_pixel_by_pixel_and_cut_tightly(region_and_corner):
    whole = frame(*region_and_corner)
    mask = BitMask.of(*region_and_corner)
    region = mask.region()
    assert np.array_equal(frame(region, mask.corner), whole)
    assert np.array_equal(whole[mask.window], region)
    assert mask.area == whole.sum()
    assert region.shape == mask.shape
    assert region.flags.c_contiguous
    if whole.any():
        assert all(side.any() for side in (region[0], region[-1], region[:, 0], region[:, -1]))
    else:
        assert (mask.corner, mask.shape) == ((0, 0), (1, 1))


@settings(deadline=None, max_examples=200)
@given(st.lists(placed(), max_size=8))
def test_overlaps_are_those_of_whole_frames(regions):
    frames = [frame(*region) for region in regions]
    found = overlaps([BitMask.of(*region) for region in regions])
    for i, shared in enumerate(found):
        pixels = {j: int((frames[i] & other).sum()) for j, other in enumerate(frames) if j != i}
        assert shared == {j: count for j, count in pixels.items() if count}
        assert list(shared) == sorted(shared)


def test_overlaps_of_many_masks_are_those_of_dense_ious():
    """As it was done before: a table of the IoU of every mask with every other."""
    random = np.random.default_rng(2)
    masks = []
    for _ in range(120):
        corner = tuple(random.integers(0, 380, 2).tolist())
        masks.append((random.random(tuple(random.integers(1, 120, 2))) < 0.7, corner))
    encoded = [coco.encode(np.asfortranarray(frame(*m, side=500), np.uint8)) for m in masks]
    areas = np.array([mask.sum() for mask, _ in masks], float)
    iou = coco.iou(encoded, encoded, [0] * len(masks))
    dense = np.rint(iou * (areas[:, None] + areas) / (1 + iou)).astype(int)
    np.fill_diagonal(dense, 0)
    found = overlaps([BitMask.of(*mask) for mask in masks])
    assert [list(shared.items()) for shared in found] == [
        [(int(j), int(row[j])) for j in np.flatnonzero(row)] for row in dense
    ]


def test_only_masks_whose_boxes_meet_are_compared(monkeypatch):
    square = np.ones((10, 10), bool)
    masks = [BitMask.of(square, (0, 10 * i)) for i in range(50)]
    masks += [BitMask.of(square, (10 * i + 10, 0)) for i in range(50)]
    masks.append(BitMask.of(square, (0, 5)))
    compared = []
    shared_pixels = BitMask.shared_pixels
    monkeypatch.setattr(
        BitMask, "shared_pixels", lambda *pair: compared.append(pair) or shared_pixels(*pair)
    )
    assert overlaps(masks)[100] == {0: 50, 1: 50}
    assert len(compared) == 2


@pytest.mark.parametrize("count", [0, 1])
def test_few_masks_share_nothing(count):
    assert overlaps([BitMask.of(np.ones((2, 2), bool), (3, 4))] * count) == [{}] * count
