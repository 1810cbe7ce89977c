"""Shapes are measured as scikit-image measures them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from scipy.spatial import ConvexHull
from skimage.measure import regionprops

from samfleet.detection import shapes
from samfleet.detection.shapes import convex_hull, ellipse, feret_diameter_max, hull_area
from tests.builders import disc

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any)


@given(MASKS)
def test_the_ellipse_is_that_of_scikit_image(mask):
    (expected,) = regionprops(mask.astype(np.uint8))
    found = ellipse(mask, int(mask.sum()))
    assert found["major_axis_length"] == pytest.approx(expected.axis_major_length, abs=1e-6)
    assert found["minor_axis_length"] == pytest.approx(expected.axis_minor_length, abs=1e-6)
    assert found["eccentricity"] == pytest.approx(expected.eccentricity, abs=1e-6)
    if found["eccentricity"] > 1e-3:  # a circle has no direction
        turned = abs(found["orientation"] - expected.orientation)
        assert min(turned, abs(turned - math.pi)) < 1e-6


@given(MASKS)
def test_the_diameter_is_that_of_scikit_image_but_for_rounded_hulls(mask):
    """scikit-image takes the outline of the convex hull after it has made pixels of it."""
    (expected,) = regionprops(mask.astype(np.uint8))
    found = feret_diameter_max(convex_hull(mask))
    assert found - 1e-9 <= expected.feret_diameter_max <= found + 1


@given(MASKS)
def test_diameter_and_hull_are_those_of_all_pixels(mask):
    """Not of the hull's corners alone; also where pairs of points are taken in parts."""
    centres = np.argwhere(mask)[:, ::-1]
    sides = (centres[:, None] + [(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)]).reshape(-1, 2)
    longest = max(math.dist(one, other) for one in sides for other in sides)
    corners = (centres[:, None] + [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)]).reshape(
        -1, 2
    )
    hull = convex_hull(mask)
    assert hull_area(hull) == pytest.approx(ConvexHull(corners).volume)
    assert feret_diameter_max(hull) == pytest.approx(longest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_PAIRS_AT_ONCE", 5)
        assert feret_diameter_max(hull) == pytest.approx(longest)


@pytest.mark.parametrize(
    ("shape", "longest"),
    [((1, 1), 1), ((1, 9), 9), ((4, 5), math.hypot(3, 5)), ((3, 3), math.hypot(2, 3))],
)
def test_the_diameter_of_a_rectangle(shape, longest):
    assert feret_diameter_max(convex_hull(np.ones(shape, bool))) == pytest.approx(longest)


def test_a_disc_is_round_and_as_wide_as_it_is():
    mask = disc(60, 60, 30, 30, 20)
    found = ellipse(mask, int(mask.sum()))
    assert found["major_axis_length"] == pytest.approx(40, rel=0.02)
    assert found["minor_axis_length"] == pytest.approx(found["major_axis_length"], rel=1e-9)
    assert feret_diameter_max(convex_hull(mask)) == pytest.approx(41, abs=1)


def test_an_empty_mask_has_no_shape():
    nothing = np.zeros((3, 4), bool)
    assert all(map(math.isnan, ellipse(nothing, 0).values()))
    assert math.isnan(feret_diameter_max(convex_hull(nothing)))
    assert hull_area(convex_hull(nothing)) == 0
