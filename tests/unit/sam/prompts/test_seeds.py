"""Prompts from maps: one a seed, inside it, at the thresholds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import local_minima, reconstruction

from samfleet.config.settings import SeedSettings
from samfleet.sam.prompts.seeds import seed_points
from tests.builders import disc

SIZE = (40, 60)
DEFAULT = SeedSettings(0.5, 0.5, 0.5, 0.0, 1)


def maps_of(*objects: np.ndarray) -> np.ndarray:
    """Perfect maps of boolean masks: distances are low inside."""
    shape = objects[0].shape if objects else SIZE
    foreground = np.zeros(shape, np.float32)
    center = np.ones(shape, np.float32)
    boundary = np.ones(shape, np.float32)
    for mask in objects:
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        foreground[mask] = 1
        y, x = ndimage.center_of_mass(mask)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        far = np.hypot(rows - y, columns - x)
        center[mask] = (far / far[mask].max())[mask]
        boundary[mask] = 1 - (depth / depth.max())[mask]
    return np.stack([foreground, center, boundary])


def test_every_object_gets_one_point_at_its_centre():
    discs = [disc(*SIZE, 12, 14, 8), disc(*SIZE, 26, 41, 10)]
    points = seed_points(maps_of(*discs), DEFAULT)
    assert points.tolist() == pytest.approx(np.array([(14, 12), (41, 26)]), abs=1)


def test_touching_objects_get_a_point_each():
    discs = [disc(*SIZE, 20, 20, 9), disc(*SIZE, 20, 39, 9)]
    assert len(seed_points(maps_of(*discs), DEFAULT)) == 2


def test_nothing_gives_no_prompt():
    assert seed_points(maps_of(), DEFAULT).shape == (0, 2)


def test_thresholds_are_strict_for_distances_and_not_for_the_foreground():
    maps = np.full((3, 9, 9), 0.5, np.float32)
    maps[1:] = np.nextafter(np.float32(0.5), np.float32(0))
    assert len(seed_points(maps, DEFAULT)) == 1
    for channel in (1, 2):
        at_threshold = maps.copy()
        at_threshold[channel] = 0.5
        assert len(seed_points(at_threshold, DEFAULT)) == 0
    maps[0] = np.nextafter(np.float32(0.5), np.float32(0))
    assert len(seed_points(maps, DEFAULT)) == 0


def test_small_seeds_are_left_out():
    maps = maps_of(disc(*SIZE, 20, 20, 9))
    maps[0, 5, 50], maps[1, 5, 50], maps[2, 5, 50] = 1, 0, 0
    assert len(seed_points(maps, DEFAULT)) == 2
    assert len(seed_points(maps, replace(DEFAULT, min_size=2))) == 1


def test_smoothing_is_a_gaussian_that_ends_at_three_standard_deviations():
    maps = maps_of(disc(*SIZE, 12, 14, 8), disc(*SIZE, 26, 41, 10))
    random = np.random.default_rng(0)
    maps = (maps + random.normal(0, 0.3, maps.shape)).astype(np.float32)
    smooth = [ndimage.gaussian_filter(m, 2.0, mode="mirror", truncate=3.0) for m in maps]
    expected = seed_points(np.stack(smooth), DEFAULT)
    assert np.array_equal(seed_points(maps, replace(DEFAULT, smoothing=2.0)), expected)
    assert len(expected) < len(seed_points(maps, DEFAULT))


@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24))
def test_there_is_one_point_in_each_component_as_deep_as_any(seed, height, width):
    random = np.random.default_rng(seed)
    maps = ndimage.uniform_filter(random.random((3, height, width)), (0, 2, 2)).astype(np.float32)
    seeds = (maps[0] >= 0.5) & (maps[1] < 0.5) & (maps[2] < 0.5)
    labels, count = ndimage.label(seeds)
    points = seed_points(maps, DEFAULT).astype(int)
    assert sorted(labels[y, x] for x, y in points) == list(range(1, count + 1))
    # the outline of a lone component is what surrounds it
    for x, y in points if count == 1 else ():
        around = ndimage.binary_dilation(seeds) & ~seeds
        free = ~around
        free[[0, -1]] = False
        free[:, [0, -1]] = False
        depth = ndimage.distance_transform_edt(free)
        assert depth[y, x] == pytest.approx(depth[seeds].max(), rel=1e-5)


def soft_maps(*objects: np.ndarray) -> np.ndarray:
    """Maps as a trained decoder gives them: no distance comes near to 0 or to 1."""
    maps = maps_of(*objects)
    maps[1:] = 0.2 + 0.25 * maps[1:]
    return maps


def test_objects_that_share_a_seed_get_a_point_each_by_prominence():
    discs = [disc(*SIZE, 20, 20, 9), disc(*SIZE, 20, 39, 9)]
    discs[0][20, 29:31] = True  # they touch
    maps = soft_maps(*discs)
    assert len(seed_points(maps, DEFAULT)) == 1
    points = seed_points(maps, replace(DEFAULT, prominence=0.05))
    assert points.tolist() == pytest.approx(np.array([(20, 20), (39, 20)]), abs=2)
    # the saddle rises by less than 0.25: only the deeper one has a point, however high the prominence is
    for prominence in (0.3, 0.9, 1.0):
        assert len(seed_points(maps, replace(DEFAULT, prominence=prominence))) == 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.1, 0.3, 0.9, 1.0]), st.integers(0, 3))
def test_points_are_in_the_h_minima_of_the_mean_distance(seed, prominence, smoothness):
    random = np.random.default_rng(seed)
    maps = random.random((3, 14, 18), np.float32)
    maps[0] = 1
    for each in maps[1:]:
        ndimage.gaussian_filter(each, smoothness, output=each)
        each -= each.min()
        each /= each.max()
    settings = SeedSettings(0.5, 1.0, 1.0, 0.0, 1, prominence)
    points = seed_points(maps, settings).astype(int)
    seeds = (maps[1] < 1) & (maps[2] < 1)
    levels = np.where(seeds, np.rint((maps[1] + maps[2]) / 2 * 254), 10_000).astype(int)
    height = max(1, round(prominence * 254))
    filled = reconstruction(np.minimum(levels + height, 10_000), levels, "erosion", ndimage_cross())
    minima = local_minima(filled, connectivity=1) if np.ptp(filled) else seeds
    labels, count = ndimage.label(minima & seeds)
    assert len(points) == count
    assert sorted(labels[points[:, 1], points[:, 0]]) == list(range(1, count + 1))


def ndimage_cross() -> np.ndarray:
    return ndimage.generate_binary_structure(2, 1)
