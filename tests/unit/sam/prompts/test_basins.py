"""What maps add to the logits of masks: an object's part of the foreground, and nothing of its neighbour's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from samfleet.config.settings import SeedSettings
from samfleet.sam.prompts.basins import (
    FAR_OUTSIDE,
    HIGH_RISE,
    INSIDE,
    LITTLE,
    MUCH,
    OUTSIDE,
    RISE,
    Basins,
    Relief,
    distinct_masks,
    largest_parts,
)
from tests.builders import disc

SEEDS = SeedSettings(0.5, 0.5, 0.5, 0.0, 1)


def maps_of(*objects: np.ndarray) -> np.ndarray:
    """Maps of boolean masks that do not overlap: distances are low in the middle of each."""
    maps = np.ones((3, *objects[0].shape), np.float32)
    maps[0] = sum(objects)
    for mask in objects:
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        maps[1:, mask] = 1 - (depth / depth.max())[mask]
    return maps


def basins_of(maps: np.ndarray, points: list[tuple[float, float]]) -> Basins:
    return Basins(Relief.of(maps, SEEDS), np.array(points, np.float64))


def expected(mask: np.ndarray, scale: int, side: int) -> np.ndarray:
    """By definition, in the whole frame: the mean of the distance to the edge over the pixels of each logit.

    Farther from the box around the mask than that is long, it is the same everywhere.
    """
    frame = np.zeros((side * scale, side * scale), bool)
    frame[: mask.shape[0], : mask.shape[1]] = mask
    inside, outside = (ndimage.distance_transform_edt(each) for each in (frame, ~frame))
    depth = np.clip(inside - outside, -OUTSIDE, INSIDE)
    added = depth.reshape(side, scale, side, scale).mean((1, 3))
    for axis, place in enumerate(ndimage.find_objects(mask.astype(np.uint8))[0]):
        margin = max(int(OUTSIDE) + 1, place.stop - place.start)
        ends = np.arange(side) * scale
        far = (ends + scale <= place.start - margin) | (ends >= place.stop + margin)
        added[(slice(None),) * axis + (far,)] = -FAR_OUTSIDE
    return added


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_touching_objects_end_where_they_meet(scale):
    left, right = np.zeros((2, 40, 64), bool)
    left[10:30, 8:31], right[10:30, 31:60] = True, True
    basins = basins_of(maps_of(left, right), [(19.0, 20.0), (45.0, 20.0)])
    side = 64 // scale
    evidence = basins.evidence(range(2), scale, (side, side))
    assert evidence.dtype == np.float32 and evidence.shape == (2, side, side)
    # the watershed puts the border within a pixel
    assert np.abs(evidence[0] - expected(left, scale, side)).mean() < 0.1
    assert np.abs(evidence[1] - expected(right, scale, side)).mean() < 0.1
    assert ((evidence[0] > 0) & (evidence[1] > 0)).sum() == 0


@given(
    row=st.integers(0, 47),
    column=st.integers(0, 47),
    radius=st.integers(1, 20),
    scale=st.sampled_from([1, 2, 4]),
    size=st.tuples(st.integers(48, 64), st.integers(48, 64)),
)
def test_an_object_alone_is_its_own_basin_wherever_it_lies(row, column, radius, scale, size):
    mask = disc(*size, row, column, radius)
    basins = basins_of(maps_of(mask), [(column, row)])
    side = 64 // scale
    (evidence,) = basins.evidence(range(1), scale, (side, side))
    assert evidence == pytest.approx(expected(mask, scale, side), abs=1e-3)


def test_some_of_the_points_can_be_asked_for():
    discs = [disc(64, 64, 32, x, 6) for x in (10, 30, 50)]
    basins = basins_of(maps_of(*discs), [(10.0, 32.0), (30.0, 32.0), (50.0, 32.0)])
    every = basins.evidence(range(3), 2, (32, 32))
    assert np.array_equal(basins.evidence(range(1, 3), 2, (32, 32)), every[1:])


def test_points_off_the_foreground_and_in_one_pixel_change_little():
    mask = disc(64, 64, 32, 30, 9)
    points = [(30.0, 32.0), (60.0, 5.0), (30.2, 31.9), (70.0, -3.0)]
    one, alone, same, beyond = basins_of(maps_of(mask), points).evidence(range(4), 1, (64, 64))
    # of two points in one pixel the later one has the basin, the other is left as it is
    assert not one.any() and (same > 0).sum() == pytest.approx(mask.sum(), rel=0.1)
    assert (alone > 0).sum() == (beyond > 0).sum() == 1


LEFT, RIGHT = (20.0, 24.0), (44.0, 24.0)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_mask_agrees_with_the_object_that_the_maps_show(scale):
    """An object with two points is whole in a mask of both parts, or of one; torn in one of a part and a sixth."""
    far, near, other = (
        (slice(8, 40), slice(8, 32)),
        (slice(8, 40), slice(32, 48)),
        (slice(8, 40), slice(72, 88)),
    )
    foreground = np.zeros((48, 96), bool)
    for each in (far, near, other):
        foreground[each] = True
    distance = np.full((48, 96), 0.5, np.float32)
    distance[:, 31:33] = 0.55  # less than what tells two objects
    basins = Basins(Relief(foreground, distance), np.array([LEFT, (40.0, 24.0), (80.0, 24.0)]))

    def mask(*windows):
        drawn = np.zeros((48, 96), bool)
        for each in windows:
            drawn[each] = True
        return drawn[::scale, ::scale]

    torn = slice(8, 40), slice(28, 48)  # the near part, and a sixth of the far one
    hole = slice(8, 40), slice(60, 70)
    masks = np.stack([mask(far, near), mask(torn), mask(near, other), mask(hole), mask()])
    whole, ragged, both, background, nothing = basins.agreement(masks, scale)
    assert basins.agreement(masks, scale).dtype == np.float32
    assert whole == pytest.approx(1, abs=0.05) and ragged == pytest.approx(0.8, abs=0.05)
    assert both == pytest.approx(1, abs=0.05)  # whatever maps show of both is in it
    assert background == nothing == 0


@given(
    rows=st.lists(st.integers(0, 64), min_size=2, max_size=2, unique=True).map(sorted),
    columns=st.lists(st.integers(0, 64), min_size=2, max_size=2, unique=True).map(sorted),
    radius=st.integers(1, 30),
)
def test_agreement_with_one_object_is_the_iou_with_it(rows, columns, radius):
    one = disc(64, 64, 30, 34, radius)
    mask = np.zeros((64, 64), bool)
    mask[slice(*rows), slice(*columns)] = True
    (agreement,) = basins_of(maps_of(one), [(34.0, 30.0)]).agreement(mask[None], 1)
    assert agreement == pytest.approx((mask & one).sum() / (mask | one).sum(), abs=1e-6)


def test_a_mask_of_no_whole_object_agrees_with_that_of_which_it_has_most():
    discs = [disc(48, 96, 24, x, 10) for x in (20, 44)]
    third = discs[0] & (np.arange(96) < 17)
    (agreement,) = basins_of(maps_of(*discs), [LEFT, RIGHT]).agreement(third[None], 1)
    assert agreement == pytest.approx(third.sum() / discs[0].sum(), abs=0.02) and agreement < 0.5


def test_stray_pixels_are_no_part_of_a_mask():
    one, other = disc(48, 96, 24, 20, 8), disc(48, 96, 24, 60, 8)
    stray = one.copy()
    stray[47, 95] = True
    nothing = np.zeros_like(one)
    parts = largest_parts(np.stack([one, stray, one | other | disc(48, 96, 24, 64, 8), nothing]))
    assert np.array_equal(parts[0], one) and np.array_equal(parts[1], one)
    assert np.array_equal(parts[2], other | disc(48, 96, 24, 64, 8)) and not parts[3].any()
    assert largest_parts(np.zeros((0, 48, 96), bool)).shape == (0, 48, 96)


def two_masks(shared: float) -> np.ndarray:
    """Two masks of equal size on a line, which share a part of their pixels."""
    width, step = 40, round(40 * (1 - shared))
    masks = np.zeros((2, 48, 96), bool)
    masks[0, 14:34, 10 : 10 + width] = masks[1, 14:34, 10 + step : 10 + step + width] = True
    return masks


@pytest.mark.parametrize("shared", [0.0, 0.2, 0.3, 0.5, 0.75, 0.85, 0.9])
@pytest.mark.parametrize("rise", [0.0, 0.1, 0.22, 0.5])
def test_maps_tell_whether_masks_that_share_pixels_are_of_one_object(shared, rise):
    distance = np.full((48, 96), 0.4, np.float32)
    distance[:, 32] += rise  # between the points
    relief = Relief(np.ones((48, 96), bool), distance)
    assert relief.rise(*map(np.array, (LEFT, RIGHT))) == pytest.approx(rise)
    points, scores = np.array([LEFT, RIGHT]), np.array([0.7, 0.9])
    kept = distinct_masks(two_masks(shared), scores, points, relief).tolist()
    least = 0 if shared < LITTLE else RISE if shared < MUCH else HIGH_RISE
    assert kept == ([1, 0] if rise >= least else [1])


def test_an_object_within_the_mask_of_a_merged_pair_does_not_hide_the_other():
    small, large = disc(48, 96, 24, 20, 8), disc(48, 96, 24, 44, 15)
    relief = Relief.of(maps_of(small, large), SEEDS)
    masks, points = np.stack([small, small | large]), np.array([LEFT, RIGHT])
    assert distinct_masks(masks, np.array([0.9, 0.8]), points, relief).tolist() == [0, 1]


def test_nothing_and_one_mask_are_distinct():
    relief = Relief.of(maps_of(disc(48, 96, 24, 20, 9)), SEEDS)
    nothing = np.zeros((0, 48, 96), bool), np.zeros(0), np.zeros((0, 2)), relief
    assert distinct_masks(*nothing).tolist() == []
    one = two_masks(0.5)[:1], np.ones(1), np.array([LEFT]), relief
    assert distinct_masks(*one).tolist() == [0]


@given(
    one=st.tuples(st.floats(-5, 100), st.floats(-5, 60)),
    other=st.tuples(st.floats(-5, 100), st.floats(-5, 60)),
)
def test_the_rise_between_points_is_the_same_both_ways_and_none_within_a_hollow(one, other):
    relief = Relief.of(maps_of(disc(48, 96, 24, 48, 60)), SEEDS)
    there = relief.rise(np.array(one), np.array(other))
    assert 0 <= there <= 1
    assert relief.rise(np.array(one), np.array(one)) == 0
    assert there == pytest.approx(relief.rise(np.array(other), np.array(one)), abs=0.06)
