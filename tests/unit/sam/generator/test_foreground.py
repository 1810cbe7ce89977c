"""Which prompts of an image are worth decoding."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from segment_anything.utils.amg import build_point_grid

from samfleet.sam.generator.foreground import Foreground
from tests.examples import examples
from training.fields import MULTI_HUE_MAPS, draw_field, multi_hue, random_settings, single_hue

SIDE = 16  # of the prompt grid


def kept_cells(rgb: np.ndarray, longest_side: int = 512) -> np.ndarray:
    """(SIDE, SIDE) bool: the cells of the grid with foreground."""
    height, width = rgb.shape[:2]
    cells = Foreground(rgb, longest_side).is_in_cells(build_point_grid(SIDE), [0, 0, width, height])
    return cells.reshape(SIDE, SIDE)


def disc(height: int, width: int, centre: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.hypot(y - centre[0], x - centre[1]) < radius


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


@given(seed=st.integers(0, 10**6), table=st.sampled_from([None, (0, 1, 0), *MULTI_HUE_MAPS]))
@example(seed=44636, table="turbo")  # half of it objects: a fifth of it is no background
@examples(60)
def test_no_object_of_a_field_is_left_out(seed, table):
    rng = np.random.default_rng(seed)
    field = draw_field(random_settings(rng, 256, 320, diameter=rng.uniform(12, 60)), rng)
    values = np.rint(np.clip(field.image, 0, 1) * 255).astype(np.uint8)
    if table is None:
        rgb = grey(values)
    else:
        rgb = multi_hue(values, table) if isinstance(table, str) else single_hue(values, table)
    kept = kept_cells(rgb)
    for label in np.unique(field.labels[field.labels > 0]):
        y, x = np.nonzero(field.labels == label)
        pixels = values[y, x]
        if np.median(pixels) < np.median(values[field.labels == 0]) + 40:
            continue  # hardly to be seen
        assert kept[y * SIDE // 256, x * SIDE // 320].any()


def test_only_cells_at_objects_are_kept():
    rgb = grey(np.where(disc(160, 160, (55, 85), 12), 90, 12))
    kept = kept_cells(rgb)
    y, x = np.nonzero(kept)
    # cells of 10 pixels; the blur reaches a few pixels beyond the disc
    assert y.min() >= 3 and y.max() <= 7 and x.min() >= 6 and x.max() <= 10
    assert kept[4:7, 7:10].all()


def test_noise_is_background():
    """Beyond three sigma lies a 740th of a normal distribution."""
    noise = np.random.default_rng(0).normal(30, 8, (256, 256)).clip(0, 255)
    kept = Foreground(grey(noise), 512).is_near(build_point_grid(128) * 256, (1, 1))
    assert kept.mean() < 0.03
    noise[100:130, 100:130] += 60
    assert kept_cells(grey(noise.clip(0, 255)))[7, 7]


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_has_no_foreground(value):
    assert not kept_cells(grey(np.full((50, 70), value))).any()


def test_an_image_that_is_mostly_bright_is_kept_whole():
    inverted = grey(np.where(disc(160, 160, (80, 80), 30), 20, 240))
    assert kept_cells(inverted).all()


def test_saturated_objects_are_not_taken_for_the_background():
    values = np.random.default_rng(0).normal(20, 6, (160, 160)).clip(0, 255)
    values[disc(160, 160, (80, 80), 25)] = 255
    assert kept_cells(grey(values))[8, 8]


def test_a_large_image_is_looked_at_as_the_model_sees_it():
    values = np.full((900, 1200), 10)
    values[300:303, 600:603] = 60  # a third of a pixel of the model's 128
    values[700:740, 100:140] = 60
    kept = kept_cells(grey(values), longest_side=128)
    assert kept[12:14, 1:2].any() and not kept[4:8, 6:10].any()
    assert kept_cells(grey(values), longest_side=2000)[5, 8]
