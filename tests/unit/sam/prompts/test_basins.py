"""What maps add to the logits of masks: an object's part of the foreground, and nothing of its neighbour's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from samfleet.config.settings import SeedSettings
from samfleet.sam.prompts.basins import INSIDE, OUTSIDE, Basins
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


def expected(mask: np.ndarray, scale: int, side: int) -> np.ndarray:
    """By definition, in the whole frame: the mean of the distance to the edge over the pixels of each logit."""
    frame = np.zeros((side * scale, side * scale), bool)
    frame[: mask.shape[0], : mask.shape[1]] = mask
    inside, outside = (ndimage.distance_transform_edt(each) for each in (frame, ~frame))
    depth = np.clip(inside - outside, -OUTSIDE, INSIDE)
    return depth.reshape(side, scale, side, scale).mean((1, 3))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_touching_objects_end_where_they_meet(scale):
    left, right = np.zeros((2, 40, 64), bool)
    left[10:30, 8:31], right[10:30, 31:60] = True, True
    basins = Basins(maps_of(left, right), np.array([(19.0, 20.0), (45.0, 20.0)]), SEEDS)
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
    basins = Basins(maps_of(mask), np.array([(column, row)], float), SEEDS)
    side = 64 // scale
    (evidence,) = basins.evidence(range(1), scale, (side, side))
    assert evidence == pytest.approx(expected(mask, scale, side), abs=1e-3)


def test_some_of_the_points_can_be_asked_for():
    discs = [disc(64, 64, 32, x, 6) for x in (10, 30, 50)]
    points = np.array([(10.0, 32.0), (30.0, 32.0), (50.0, 32.0)])
    basins = Basins(maps_of(*discs), points, SEEDS)
    every = basins.evidence(range(3), 2, (32, 32))
    assert np.array_equal(basins.evidence(range(1, 3), 2, (32, 32)), every[1:])


def test_points_off_the_foreground_and_in_one_pixel_change_little():
    mask = disc(64, 64, 32, 30, 9)
    points = np.array([(30.0, 32.0), (60.0, 5.0), (30.2, 31.9), (70.0, -3.0)])
    one, alone, same, beyond = Basins(maps_of(mask), points, SEEDS).evidence(range(4), 1, (64, 64))
    # of two points in one pixel the later one has the basin, the other is left as it is
    assert not one.any() and (same > 0).sum() == pytest.approx(mask.sum(), rel=0.1)
    assert (alone > 0).sum() == (beyond > 0).sum() == 1
