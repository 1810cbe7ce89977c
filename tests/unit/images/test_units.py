"""Lengths and times that files say in many ways."""

from datetime import UTC, datetime

import pytest

from samfleet.images.units import (
    about_sides,
    iso_time,
    micrometres,
    pixel_side,
    scaled,
    square_side,
)


@pytest.mark.parametrize(
    ("length", "unit", "expected"),
    [
        (1e-7, "m", 0.1),  # 0.09999999999999999 by the arithmetic of floats
        ("0.1", "µm", 0.1),
        (6.45e-5, "cm", 0.645),
        (1 / 15748.0, "in", 1.6129032),
        (325, "nm", 0.325),
        (1.0378322762047988e-06, "m", 1.03783228),
        (0, "m", None),
        (float("nan"), "m", None),
        (1, "pixel", None),
    ],
)
def test_a_length_has_the_digits_that_mean_something(length, unit, expected):
    found = micrometres(length, unit)
    assert found == (pytest.approx(expected, rel=1e-6) if unit == "in" else expected)
    assert found is None or len(f"{found!r}".replace(".", "").lstrip("0")) <= 9


def test_the_side_of_a_pixel_is_rounded_and_square():
    assert pixel_side(0.09999999999999999, 0.1) == 0.1
    assert pixel_side(0.1, 0.1009) == 0.1
    assert pixel_side(None, 0.1) is None


def test_a_pixel_that_is_not_square_has_two_sides_and_a_warning():
    side = pixel_side(0.65, 0.49999999999999999)
    assert side == (0.5, 0.65) and square_side(side) is None
    assert scaled(side, 2) == (1, 1.3) and scaled(0.25, 2) == 0.5 and scaled(None, 2) is None
    assert "sides of 0.5 and 0.65 µm" in about_sides(side)
    assert "image.pixel_size_um" in about_sides(side)
    assert about_sides(0.5) == about_sides(None) == ""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (datetime(2023, 2, 21, 10, 42, 18, 342000), "2023-02-21T10:42:18.342000"),
        (datetime(2023, 2, 21, 10, 42, 18, tzinfo=UTC), "2023-02-21T10:42:18+00:00"),
        ("20230221 17:24:58.123", "2023-02-21T17:24:58.123"),
        ("2020-01-02 03:04:05.000", "2020-01-02T03:04:05.000"),
        ("2023:02:21 10:42:18", "2023-02-21T10:42:18"),
        (" 2010-03-02T15:08:59Z ", "2010-03-02T15:08:59Z"),
        ("Thursday, 2 pm", "Thursday, 2 pm"),
        (None, ""),
    ],
)
def test_a_time_is_said_in_iso_8601(said, expected):
    assert iso_time(said) == expected
