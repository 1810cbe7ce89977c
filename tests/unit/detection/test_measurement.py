"""Measurement: known numbers of synthetic masks, in the units of the pixels as read."""

import math
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import perimeter_crofton

from samfleet.detection import measurement
from samfleet.detection.measurement import (
    distinct_planes,
    measure_found,
    measure_masks,
    perimeter,
    plane_numbers,
)
from samfleet.images import windows
from samfleet.store.segments import CANDIDATE_FIELDS, IMAGE_FIELDS
from tests.builders import disc, found_masks, rle_counts, surviving_mask
from tests.examples import examples

RNG = np.random.default_rng(5)
MAX, LUMINANCE, FIRST = 0, 1, 2


def measure(pixels: np.ndarray, *masks: np.ndarray, is_color: bool = False):
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    image, rows = measure_masks(pixels, is_color, [surviving_mask(mask) for mask in masks])
    return image, [asdict(row) for row in rows]


def measured_planes(pixels: np.ndarray, is_color: bool) -> list[np.ndarray]:
    distinct = [*distinct_planes(pixels, is_color)]
    return [distinct[number] for number in plane_numbers(pixels.shape[-1], is_color)]


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
    assert candidate["perimeter_crofton"] == pytest.approx(2 * math.pi * radius, rel=0.03)
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
        assert candidate["intensity_max"][plane] == under.max()
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


def test_pixels_that_are_not_finite_have_no_part_in_any_number_and_are_counted():
    pixels = np.full((40, 40), 7.0, np.float32)
    mask = disc(40, 40, 20, 20, 8)
    pixels[mask] = 200
    pixels[20, 18:22] = np.nan, np.inf, -np.inf, 104
    pixels[:20, :5] = np.inf
    image, (candidate,) = measure(pixels, mask)
    left = int(mask.sum()) - 3
    mean = (200 * (left - 1) + 104) / left
    std = math.sqrt(((left - 1) * (200 - mean) ** 2 + (104 - mean) ** 2) / left)
    assert candidate["area"] == left + 3
    for plane in (MAX, LUMINANCE, FIRST):
        assert candidate["valid_pixels"][plane] == left
        assert candidate["intensity_sum"][plane] == 200 * (left - 1) + 104
        assert candidate["intensity_mean"][plane] == pytest.approx(mean)
        assert candidate["intensity_max"][plane] == 200
        assert candidate["intensity_std"][plane] == pytest.approx(std)
    assert image["n_invalid_pixels"] == 103
    assert image["image_maximum"] == [200.0] * 3
    assert image["background"] == [7.0] * 3


def test_a_background_that_is_not_finite_is_replaced_by_a_low_percentile_of_what_is():
    pixels = np.full((40, 40), np.nan, np.float32)
    one, other = disc(40, 40, 10, 10, 6), disc(40, 40, 28, 28, 6)
    pixels[one], pixels[other] = 100, 200
    image, (first, second) = measure(pixels, one, other)
    assert image["background"] == [100.0] * 3
    assert image["n_invalid_pixels"] == 1600 - one.sum() - other.sum()
    assert (first["intensity_mean"], second["intensity_mean"]) == ([100.0] * 3, [200.0] * 3)


def test_a_candidate_without_a_finite_pixel_has_no_intensities():
    pixels = np.full((40, 40), 5.0, np.float32)
    mask = disc(40, 40, 20, 20, 8)
    pixels[mask] = np.nan
    image, (candidate,) = measure(pixels, mask)
    assert candidate["valid_pixels"] == [0] * 3
    for name in ("sum", "mean", "max", "std"):
        assert candidate[f"intensity_{name}"] == [None] * 3
    assert candidate["area"] == mask.sum()
    assert image["background"] == [5.0] * 3


def test_of_channels_that_are_not_all_finite_the_maximum_is_that_of_those_that_are():
    pixels = np.full((10, 10, 2), 3.0, np.float32)
    pixels[..., 1] = 8
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = (np.nan, 8), (3, np.inf), (np.nan, np.nan)
    mask = box(10, 10, 0, 0, 1, 4)
    image, (candidate,) = measure(pixels, mask)
    assert candidate["valid_pixels"] == [3, 3, 2, 2]
    assert candidate["intensity_sum"] == [8 + 3 + 8, 8 + 3 + 8, 3 + 3, 8 + 8]
    assert image["n_invalid_pixels"] == 3


def test_a_channel_without_a_finite_pixel_has_no_numbers_and_leaves_the_others_theirs():
    pixels = np.full((10, 10, 2), 3.0, np.float32)
    pixels[..., 1] = np.nan
    image, (candidate,) = measure(pixels, box(10, 10, 0, 0, 2, 2))
    assert candidate["intensity_mean"] == [3.0, 3.0, 3.0, None]
    assert image["background"] == [3.0, 3.0, 3.0, None]
    assert image["image_maximum"] == [3.0, 3.0, 3.0, None]


def test_the_luminance_needs_all_three_colours():
    pixels = np.full((10, 10, 3), 10.0, np.float32)
    pixels[0, 0, 2] = np.nan
    _, (candidate,) = measure(pixels, box(10, 10, 0, 0, 2, 2), is_color=True)
    assert candidate["valid_pixels"] == [4, 3, 4, 4, 3]
    assert candidate["intensity_mean"] == pytest.approx([10.0] * 5)


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
    assert measured_planes(pixels, False)[MAX].tolist() == [[10, 20]]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_channels_that_are_not_colours_have_no_luminance_of_their_own(channels):
    pixels = RNG.integers(0, 256, (5, 6, channels), np.uint8)
    planes = np.stack(measured_planes(pixels, False))
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
        for name in (
            "area",
            "perimeter_crofton",
            "circularity",
            "solidity",
            "bbox_width",
            "bbox_height",
        ):
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
    assert (empty["area"], empty["bbox_width"], empty["intensity_sum"]) == (0, 0, [None] * 3)
    assert math.isnan(empty["centroid_x"])
    assert empty["overlapping"] == []


def test_what_sam_says_of_a_mask_is_kept_with_its_number():
    masks = [box(5, 5, 0, 0, 2, 2), box(5, 5, 2, 2, 4, 4)]
    found = [surviving_mask(masks[0]), surviving_mask(masks[1], 0.7, 0.8)]
    _, (_, candidate) = measure_masks(np.zeros((5, 5, 1), np.uint8), False, found)
    assert candidate.candidate == 1
    assert (candidate.predicted_iou, candidate.stability_score) == (0.7, 0.8)
    assert (candidate.point_x, candidate.point_y) == (1.5, 2.5)
    assert [getattr(candidate, f"crop_{n}") for n in ("x", "y", "width", "height")] == [0, 0, 5, 5]
    assert candidate.rle == rle_counts(masks[1])


def test_every_measured_column_is_one_of_the_stores():
    image, (candidate,) = measure(np.zeros((9, 9), np.uint8), box(9, 9, 0, 0, 2, 2))
    assert set(candidate) == {name for name, _ in CANDIDATE_FIELDS}
    assert set(image) < {name for name, _ in IMAGE_FIELDS}


def test_an_image_may_have_many_candidates():
    mask = disc(40, 40, 20, 20, 5)
    pixels = np.ones((40, 40, 1), np.uint8)
    _, candidates = measure_masks(pixels, False, [surviving_mask(mask)] * 300)
    assert len(candidates) == 300
    assert candidates[0].overlapping == list(range(1, 300))
    assert set(candidates[0].shared_pixels) == {int(mask.sum())}


def test_of_a_mask_in_several_pieces_only_the_largest_is_measured():
    """Every column is that of the large disc alone, but for what SAM says of the mask."""
    large, small = disc(60, 90, 20, 20, 12), disc(60, 90, 40, 70, 9)
    pixels = RNG.integers(0, 999, (60, 90, 1), np.uint16)
    other = disc(60, 90, 40, 70, 5)  # overlaps the smaller piece, which is left out
    _, (one, two) = measure_masks(
        pixels, False, [surviving_mask(large | small), surviving_mask(other)], True
    )
    _, (alone, beside) = measure_masks(
        pixels, False, [surviving_mask(large), surviving_mask(other)], True
    )
    assert asdict(one) == asdict(alone) | {"n_parts": 2}
    assert one.rle == rle_counts(large)
    assert asdict(two) == asdict(beside)
    assert (two.n_parts, two.overlapping, one.overlapping) == (1, [], [])


def test_a_mask_in_several_pieces_can_be_measured_whole():
    large, small = disc(60, 90, 20, 20, 12), disc(60, 90, 40, 70, 9)
    pixels = RNG.integers(0, 999, (60, 90), np.uint16)
    _, (candidate,) = measure(pixels, large | small)
    assert (candidate["n_parts"], candidate["area"]) == (2, (large | small).sum())
    assert candidate["rle"] == rle_counts(large | small)


def test_the_background_is_under_what_is_left_of_candidates():
    pixels = np.zeros((20, 20, 1), np.uint8)
    pixels[:, :10] = 50
    mask = box(20, 20, 0, 0, 20, 9) | box(20, 20, 0, 12, 5, 20)
    image, _ = measure_masks(pixels, False, [surviving_mask(mask)], True)
    assert image["background"][FIRST] == np.median(pixels[~box(20, 20, 0, 0, 20, 9)])


def test_pixels_are_counted_above_each_level_on_their_brightest_channel():
    pixels = np.zeros((2, 3, 2), np.uint16)
    pixels[0, 0], pixels[0, 1], pixels[1, 2] = (300, 2), (0, 1100), (1, 200)
    image, _ = measure(pixels)
    assert image["pixels_above"] == [3, 2, 1]
    image, _ = measure(np.array([[0.5, 1.0], [1.05, np.nan]], np.float32))
    assert image["pixels_above"] == [1]


# regions measure what frames do


@st.composite
def fields(draw) -> tuple[np.ndarray, bool, list[np.ndarray]]:
    """Pixels of an image, whether they are colours, and masks of it, ragged and in pieces."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    dtype, channels = draw(st.sampled_from(["u1", "u2", "i2", "u4", "f4"])), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    pixels = random.normal(90, 60, (height, width, channels)).clip(0, 255).astype(dtype)
    if dtype == "f4":
        pixels[random.random(pixels.shape) < 0.05] = np.nan
    is_color = channels == 3 and draw(st.booleans())
    masks = []
    for level in draw(st.lists(st.floats(0.2, 1.01), max_size=5)):
        noise = cv2.blur(random.random((height, width)), (3, 3)).reshape(height, width)
        top, left = random.integers(0, height), random.integers(0, width)
        mask = np.zeros((height, width), bool)
        mask[top:, left:] = noise[top:, left:] < level
        masks.append(mask)
    return pixels, is_color, masks


def planes_of_frame(pixels: np.ndarray, is_color: bool) -> list[np.ndarray]:
    brightest = np.fmax.reduce(pixels, axis=2).astype(float)
    luminance = pixels @ np.array([0.299, 0.587, 0.114]) if is_color else brightest
    return [brightest, luminance, *np.moveaxis(pixels, 2, 0).astype(float)]


@settings(deadline=None)
@given(fields())
def test_regions_are_measured_as_whole_frames_are(field):
    pixels, is_color, masks = field
    planes = planes_of_frame(pixels, is_color)
    # bit for bit, but for the luminance: a BLAS may round it otherwise in another place
    exact = [n for n in range(len(planes)) if n != LUMINANCE or not is_color]
    image, candidates = measure(pixels, *masks, is_color=is_color)
    known = [plane[np.isfinite(plane)] for plane in planes]
    greatest = [float(plane.max()) if len(plane) else None for plane in known]
    assert [image["image_maximum"][n] for n in exact] == [greatest[n] for n in exact]
    assert image["n_invalid_pixels"] == (~np.isfinite(pixels)).any(axis=2).sum()
    small = [mask for mask in masks if mask.sum() < mask.size / 2]
    free = ~np.logical_or.reduce([np.zeros(pixels.shape[:2], bool), *small])
    for n, plane in enumerate(planes):
        outside = plane[free & np.isfinite(plane)]
        if not len(known[n]):
            assert image["background"][n] is None
            continue
        background = np.median(outside) if len(outside) else np.percentile(known[n], 5)
        assert image["background"][n] == pytest.approx(background, rel=0 if n in exact else 1e-12)
    for mask, candidate in zip(masks, candidates, strict=True):
        assert candidate["rle"] == rle_counts(mask)
        assert candidate["area"] == mask.sum()
        assert candidate["perimeter_crofton"] == perimeter_crofton(mask, directions=4)
        y, x = np.nonzero(mask)
        if not len(y):
            continue
        centre = [(places - places.min()).mean() + places.min() for places in (x, y)]
        assert [candidate["centroid_x"], candidate["centroid_y"]] == centre
        assert (candidate["bbox_x"], candidate["bbox_y"]) == (x.min(), y.min())
        assert candidate["bbox_x"] + candidate["bbox_width"] == x.max() + 1
        assert candidate["bbox_y"] + candidate["bbox_height"] == y.max() + 1
        squares = np.concatenate([np.column_stack([x + i, y + j]) for i in (0, 1) for j in (0, 1)])
        hull = cv2.contourArea(cv2.convexHull(squares.astype(np.int32)))
        assert candidate["solidity"] == len(y) / hull
        for n, plane in enumerate(planes):
            under = plane[mask & np.isfinite(plane)]
            assert candidate["valid_pixels"][n] == len(under)
            expected: list = [None] * 4
            if len(under):
                expected = [under.sum(), under.mean(), under.max(), under.std()]
            names = ("sum", "mean", "max", "std")
            found = [candidate[f"intensity_{name}"][n] for name in names]
            assert found == expected if n in exact else found == pytest.approx(expected)


def test_what_was_found_is_measured_without_its_small_regions():
    mask, pixels = box(40, 60, 8, 9, 20, 30), RNG.integers(0, 999, (40, 60, 1), np.uint16)
    ragged = mask | box(40, 60, 35, 50, 37, 51)
    ragged[12, 12] = False
    found = found_masks(ragged, box(40, 60, 30, 20, 40, 60), min_mask_region_area=5)
    (_, (second, first)), _ = measure_found(pixels, False, found, True)
    assert (first.rle, first.area) == (rle_counts(mask), mask.sum())
    assert first.intensity_sum == [pixels[mask].sum()] * 3
    assert (first.bbox_x, first.bbox_y, first.bbox_width, first.bbox_height) == (9, 8, 21, 12)
    assert (second.bbox_x, second.area, second.overlapping) == (20, 400, [])


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_the_perimeter_is_that_of_scikit_image(mask):
    assert perimeter(mask) == perimeter_crofton(mask, directions=4)


class Reading:
    """Windows of an image that notes the pixels of each."""

    def __init__(self, pixels: np.ndarray, is_color: bool):
        self._pixels, self.is_color = pixels, is_color
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self.read_at_once: list[int] = []

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self.read_at_once.append((y1 - y0) * (x1 - x0))
        return self._pixels[y0:y1, x0:x1].copy()

    def check(self) -> None:
        self.checked_after = len(self.read_at_once)


@examples(40, deadline=None)
@given(field=fields())
def test_windows_give_the_bits_of_the_whole_image(field):
    """Also where a mask is larger than what is measured at once."""
    pixels, is_color, masks = field
    found = [surviving_mask(mask) for mask in masks]
    reading = Reading(pixels, is_color)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurement, "_AT_ONCE", 100)
        patch.setattr(measurement, "_ROWS_AT_ONCE", 7)
        whole = measure_masks(pixels, is_color, found)
        patch.setattr(windows, "_BAND_PIXELS", 1)
        patch.setattr(windows, "_BAND_ROWS", 7)
        assert repr(measure_masks(reading, is_color, found)) == repr(whole)
    assert max(reading.read_at_once) <= max(7 * pixels.shape[1], 100)
    assert reading.checked_after == len(reading.read_at_once)  # nothing is read after the last look
