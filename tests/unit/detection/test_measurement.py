"""Measurement: known numbers of synthetic masks, in the units of the pixels as read."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samfleet.detection.measurement import measure_candidates, measured_planes
from samfleet.store.segments import CANDIDATE_FIELDS, IMAGE_FIELDS
from tests.builders import disc, sam_record

RNG = np.random.default_rng(5)
MAX, LUMINANCE, FIRST = 0, 1, 2


def measure(pixels: np.ndarray, *masks: np.ndarray, is_color: bool = False):
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return measure_candidates(pixels, is_color, [sam_record(mask) for mask in masks])


def box(height: int, width: int, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_disc_has_the_area_centre_and_box_of_its_pixels():
    mask = disc(200, 300, 90, 120, 40)
    _, (candidate,) = measure(np.zeros((200, 300), np.uint8), mask)
    assert candidate["area"] == mask.sum()
    assert candidate["area"] == pytest.approx(math.pi * 40**2, rel=0.01)
    assert (candidate["centroid_x"], candidate["centroid_y"]) == pytest.approx((120, 90))
    bbox = [candidate[f"bbox_{name}"] for name in ("x", "y", "width", "height")]
    assert bbox == [80, 50, 81, 81]


@pytest.mark.parametrize("radius", [5, 12, 40, 80])
def test_a_disc_of_any_size_is_round_and_convex(radius):
    mask = disc(200, 300, 90.3, 120.6, radius)
    _, (candidate,) = measure(np.zeros((200, 300), np.uint8), mask)
    assert candidate["circularity"] == pytest.approx(1, abs=0.03)
    assert candidate["perimeter"] == pytest.approx(2 * math.pi * radius, rel=0.03)
    assert 0.85 < candidate["solidity"] < 1


def test_the_circularity_of_an_ellipse_is_that_of_geometry():
    rows, columns = np.mgrid[-60:61, -60:61]
    along, across = columns * 0.8 + rows * 0.6, rows * 0.8 - columns * 0.6
    _, (candidate,) = measure(
        np.zeros((121, 121), np.uint8), (along / 50) ** 2 + (across / 25) ** 2 <= 1
    )
    assert candidate["circularity"] == pytest.approx(0.841, abs=0.02)


def test_a_rectangle_is_wholly_solid_and_less_round():
    _, (candidate,) = measure(np.zeros((50, 90), np.uint8), box(50, 90, 10, 20, 20, 80))
    assert candidate["solidity"] == 1
    assert 0.3 < candidate["circularity"] < 0.5


def test_the_solidity_of_a_corner_is_its_part_of_the_hull():
    corner = box(40, 40, 0, 0, 20, 10) | box(40, 40, 10, 0, 20, 20)
    _, (candidate,) = measure(np.zeros((40, 40), np.uint8), corner)
    # an L of three 10 × 10 squares; its hull adds half of the fourth
    assert candidate["solidity"] == pytest.approx(300 / 350)


def test_intensities_are_those_of_the_pixels_under_the_mask():
    pixels = RNG.integers(0, 256, (60, 80), np.uint8)
    mask = disc(60, 80, 30, 30, 12)
    _, (candidate,) = measure(pixels, mask)
    under = pixels[mask].astype(float)
    for plane in (MAX, LUMINANCE, FIRST):
        assert candidate["intensity_sum"][plane] == under.sum()
        assert candidate["intensity_mean"][plane] == pytest.approx(under.mean())
        assert candidate["intensity_maximum"][plane] == under.max()
        assert candidate["intensity_std"][plane] == pytest.approx(under.std())


@pytest.mark.parametrize(
    ("dtype", "value"), [("u2", 60000), ("u4", 4_000_000_000), ("i2", -300), ("f4", 0.25)]
)
def test_values_are_in_the_units_of_the_pixels(dtype, value):
    pixels = np.full((40, 40), value, dtype)
    mask = disc(40, 40, 20, 20, 8)
    image, (candidate,) = measure(pixels, mask)
    assert candidate["intensity_mean"] == [value] * 3
    assert candidate["intensity_sum"] == [float(value) * mask.sum()] * 3
    assert image["background"] == [value] * 3
    assert image["image_maximum"] == [value] * 3


def test_pixels_that_are_not_finite_count_as_zero():
    pixels = np.full((40, 40), 2.0, np.float32)
    pixels[20, 18:22] = np.nan, np.inf, -np.inf, 2.0
    mask = disc(40, 40, 20, 20, 8)
    image, (candidate,) = measure(pixels, mask)
    assert candidate["intensity_sum"][FIRST] == 2 * (mask.sum() - 3)
    assert image["image_maximum"] == [2.0] * 3
    assert np.isnan(pixels).any()


def test_of_a_colour_image_the_maximum_the_luminance_and_every_channel_are_measured():
    pixels = np.zeros((30, 30, 3), np.uint8)
    pixels[...] = 100, 200, 50
    image, (candidate,) = measure(pixels, disc(30, 30, 15, 15, 5), is_color=True)
    luminance = 0.299 * 100 + 0.587 * 200 + 0.114 * 50
    assert candidate["intensity_mean"] == pytest.approx([200, luminance, 100, 200, 50])
    assert image["background"] == pytest.approx([200, luminance, 100, 200, 50])


def test_the_maximum_is_that_of_each_pixel():
    pixels = np.zeros((1, 2, 2), np.uint8)
    pixels[0, 0], pixels[0, 1] = (10, 0), (0, 20)
    assert next(measured_planes(pixels, False)).tolist() == [[10, 20]]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_channels_that_are_not_colours_have_no_luminance_of_their_own(channels):
    pixels = RNG.integers(0, 256, (5, 6, channels), np.uint8)
    planes = np.stack([*measured_planes(pixels, False)])
    assert planes.shape == (2 + channels, 5, 6)
    np.testing.assert_array_equal(planes[LUMINANCE], planes[MAX])
    np.testing.assert_array_equal(planes[FIRST:], np.moveaxis(pixels, 2, 0))


def test_the_background_is_the_median_under_no_candidate():
    pixels = np.full((100, 100), 7, np.uint16)
    pixels[:10] = 9
    one, other = disc(100, 100, 40, 40, 10), disc(100, 100, 70, 70, 10)
    pixels[one], pixels[other] = 5000, 6000
    image, _ = measure(pixels, one, other)
    assert image["background"][FIRST] == 7
    image, _ = measure(pixels, one)
    assert image["background"][FIRST] == np.median(pixels[~one])


def test_a_mask_of_half_the_image_or_more_does_not_count_for_the_background():
    pixels = np.full((20, 20), 3, np.uint8)
    pixels[:10] = 200
    image, _ = measure(pixels, box(20, 20, 0, 0, 10, 20))
    assert image["background"][FIRST] == np.median(pixels)
    smaller = box(20, 20, 0, 0, 10, 20)
    smaller[9, 19] = False
    image, _ = measure(pixels, smaller)
    assert image["background"][FIRST] == 3


def test_where_candidates_cover_everything_the_background_is_a_low_percentile():
    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    image, _ = measure(
        pixels,
        box(20, 20, 0, 0, 9, 20),
        box(20, 20, 9, 0, 18, 20),
        box(20, 20, 18, 0, 20, 20),
    )
    assert image["background"][FIRST] == pytest.approx(np.percentile(pixels, 5))


def test_an_image_without_candidates_has_a_background():
    image, candidates = measure(np.full((4, 6), 5, np.uint8))
    assert candidates == []
    assert image["background"] == [5] * 3
    assert (image["width"], image["height"]) == (6, 4)


MASKS = st.lists(
    st.tuples(*[st.integers(0, 11)] * 4).map(
        lambda b: box(12, 12, min(b[:2]), min(b[2:]), max(b[:2]) + 1, max(b[2:]) + 1)
    ),
    max_size=6,
)


@settings(deadline=None)
@given(MASKS)
def test_shared_pixels_are_those_that_dense_masks_share(masks):
    _, candidates = measure(np.zeros((12, 12), np.uint8), *masks)
    for i, candidate in enumerate(candidates):
        shared = {j: int((masks[i] & other).sum()) for j, other in enumerate(masks) if j != i}
        expected = {j: count for j, count in shared.items() if count}
        found = dict(zip(candidate["overlapping"], candidate["shared_pixels"], strict=True))
        assert found == expected


def test_shared_pixels_of_large_masks_are_exact():
    masks = [RNG.random((900, 1100)) < part for part in (0.5, 0.9, 0.999)]
    _, candidates = measure(np.zeros((900, 1100), np.uint8), *masks)
    assert candidates[0]["overlapping"] == [1, 2]
    assert candidates[0]["shared_pixels"] == [(masks[0] & masks[n]).sum() for n in (1, 2)]
    assert candidates[1]["shared_pixels"][1] == (masks[1] & masks[2]).sum()


@settings(deadline=None)
@given(MASKS)
def test_features_do_not_depend_on_where_a_mask_lies(masks):
    pixels = np.zeros((40, 40), np.uint8)
    for mask in masks:
        near, far = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
        near[:12, :12], far[25:37, 20:32] = mask, mask
        _, (one, other) = measure(pixels, near, far)
        for name in ("area", "perimeter", "circularity", "solidity", "bbox_width", "bbox_height"):
            assert one[name] == pytest.approx(other[name], nan_ok=True), name
        assert other["centroid_x"] == pytest.approx(one["centroid_x"] + 20)
        assert other["centroid_y"] == pytest.approx(one["centroid_y"] + 25)
        assert 0 < one["solidity"] <= 1


def test_a_mask_at_the_edge_of_the_image_is_measured_whole():
    _, (corner,) = measure(np.ones((10, 10), np.uint8), box(10, 10, 6, 7, 10, 10))
    assert [corner[f"bbox_{n}"] for n in ("x", "y", "width", "height")] == [7, 6, 3, 4]
    assert corner["intensity_sum"] == [12] * 3


def test_a_single_pixel_and_an_empty_mask_do_no_harm():
    _, (pixel, empty) = measure(
        np.full((5, 5), 9, np.uint8), box(5, 5, 2, 3, 3, 4), np.zeros((5, 5), bool)
    )
    assert (pixel["area"], pixel["centroid_x"], pixel["centroid_y"]) == (1, 3, 2)
    assert (pixel["solidity"], pixel["intensity_std"]) == (1, [0.0] * 3)
    assert (empty["area"], empty["bbox_width"], empty["intensity_sum"]) == (0, 0, [0.0] * 3)
    assert math.isnan(empty["centroid_x"])
    assert empty["overlapping"] == []


def test_what_sam_says_of_a_mask_is_kept_with_its_number():
    records = [sam_record(box(5, 5, 0, 0, 2, 2)), sam_record(box(5, 5, 2, 2, 4, 4), 0.7, 0.8)]
    _, (_, candidate) = measure_candidates(np.zeros((5, 5, 1), np.uint8), False, records)
    assert candidate["candidate"] == 1
    assert (candidate["predicted_iou"], candidate["stability_score"]) == (0.7, 0.8)
    assert (candidate["point_x"], candidate["point_y"]) == (1.5, 2.5)
    assert [candidate[f"crop_{n}"] for n in ("x", "y", "width", "height")] == [0, 0, 5, 5]
    assert candidate["rle"].encode() == records[1]["segmentation"]["counts"]


def test_every_measured_column_is_one_of_the_stores():
    image, (candidate,) = measure(np.zeros((9, 9), np.uint8), box(9, 9, 0, 0, 2, 2))
    assert set(candidate) == {name for name, _ in CANDIDATE_FIELDS}
    assert set(image) < {name for name, _ in IMAGE_FIELDS}


def test_an_image_may_have_many_candidates():
    mask = disc(40, 40, 20, 20, 5)
    pixels = np.ones((40, 40, 1), np.uint8)
    _, candidates = measure_candidates(pixels, False, [sam_record(mask)] * 300)
    assert len(candidates) == 300
    assert candidates[0]["overlapping"] == list(range(1, 300))
    assert set(candidates[0]["shared_pixels"]) == {int(mask.sum())}
