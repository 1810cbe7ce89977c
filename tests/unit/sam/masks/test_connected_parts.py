"""The connected parts of masks, against scikit-image's labels of whole frames."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label

from samfleet.sam.masks.parts import count_parts, largest_part
from tests.builders import disc, rle_counts, surviving_mask


def reduced(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The largest part of a mask as (height, width) bool, and the number of its parts."""
    part, count = largest_part(surviving_mask(mask), mask.shape)
    frame = np.zeros(mask.shape, bool)
    frame[part.pixels.window] = part.pixels.region()
    assert part.rle == rle_counts(frame)
    assert count == count_parts(surviving_mask(mask))
    return frame, count


def expected(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """By definition; scikit-image numbers parts by their first pixels, row by row."""
    labels, count = label(mask, connectivity=2, return_num=True)
    areas = np.bincount(labels.ravel())[1:]
    return (labels == 1 + areas.argmax()) if count else mask, count


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_the_largest_part_is_that_of_scikit_image(mask):
    found, count = reduced(mask)
    right, parts = expected(mask)
    np.testing.assert_array_equal(found, right)
    assert count == parts


def test_the_larger_of_two_cells_stays_with_its_holes():
    small, large = disc(90, 120, 30, 30, 12), disc(90, 120, 50, 80, 15)
    large &= ~disc(90, 120, 50, 80, 4)
    for mask in (small | large, (small | large)[::-1, ::-1]):
        found, count = reduced(mask)
        assert count == 2
        assert found.sum() == large.sum()


@pytest.mark.parametrize("seed", range(4))
def test_ragged_masks_of_whole_images(seed):
    random = np.random.default_rng(seed)
    mask = cv2.blur(random.random((200, 300)), (5, 5)) < 0.47
    found, count = reduced(mask)
    right, parts = expected(mask)
    assert count == parts > 10
    np.testing.assert_array_equal(found, right)


def test_parts_that_touch_at_a_corner_are_one():
    mask = np.zeros((4, 6), bool)
    mask[:2, :2] = mask[2:, 2:4] = True
    found, count = reduced(mask)
    assert (count, found.sum()) == (1, 8)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_of_equal_parts_the_first_one_row_by_row_stays(row, column):
    mask = np.zeros((10, 10), bool)
    # the left one begins a row below the right one, in the same block of 2 x 2 pixels
    mask[row + 2 : row + 4, column : column + 2] = True
    mask[row + 1 : row + 3, column + 5 : column + 7] = True
    found, count = reduced(mask)
    assert count == 2
    assert found[row + 1, column + 5]
    assert found.sum() == 4


def test_an_empty_mask_has_no_part():
    found, count = reduced(np.zeros((5, 5), bool))
    assert (count, found.any()) == (0, False)


def test_a_mask_in_one_piece_is_left_alone():
    mask = surviving_mask(disc(40, 40, 20, 20, 9))
    assert largest_part(mask, (40, 40)) == (mask, 1)
