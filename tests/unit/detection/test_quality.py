"""Sharpness, saturation and emptiness of a plane, whatever the parts are in which it comes."""

import cv2
import numpy as np
import pytest

from samfleet.detection.quality import PlaneQuality

RNG = np.random.default_rng(9)


def quality(plane: np.ndarray, rows: int = 1000) -> dict:
    found = PlaneQuality()
    for first in range(0, len(plane), rows):
        found.add(plane[first : first + rows])
    return found.columns()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("shape", [(20, 15), (1, 15), (2, 15), (20, 1)])
def test_the_focus_is_the_variance_of_the_laplacian(dtype, rows, shape):
    plane = RNG.integers(0, 100, shape).astype(dtype)
    found = quality(plane, rows)
    expected = cv2.Laplacian(plane.astype(np.float64), cv2.CV_64F).var()
    assert found["focus"] == pytest.approx(expected)
    assert found["image_std"] == pytest.approx(plane.astype(float).std())
    assert found["n_zero"] == np.count_nonzero(plane == 0)


@pytest.mark.parametrize(
    ("dtype", "largest", "saturated"),
    [("uint8", 255, True), ("uint8", 254, False), ("uint16", 4095, True), ("uint16", 4094, False),
     ("uint16", 65535, True), ("uint16", 65520, True), ("int8", 127, True), ("float32", 3.5, False)],
)  # fmt: skip
def test_pixels_at_the_end_of_the_range_are_saturated(dtype, largest, saturated):
    plane = np.arange(100).reshape(10, 10).astype(dtype)
    plane[3, 2:7] = plane[9, 9] = largest
    for rows in (1, 4, 10):
        assert quality(plane, rows)["n_saturated"] == (6 if saturated else 0)


def test_what_is_not_finite_does_not_count():
    plane = RNG.random((30, 30)).astype(np.float32)
    plane[5, 5], plane[20, 3] = np.nan, np.inf
    found = quality(plane, 8)
    assert found["image_std"] == pytest.approx(plane[np.isfinite(plane)].std(), rel=1e-5)
    assert np.isfinite(found["focus"]) and found["n_saturated"] == 0
    assert quality(np.full((4, 4), np.nan))["focus"] is None


def test_a_blurred_picture_is_less_sharp():
    sharp = np.kron(RNG.integers(0, 2, (12, 12)), np.full((5, 5), 200)).astype(np.uint8)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
    assert quality(blurred)["focus"] < quality(sharp)["focus"] / 50
