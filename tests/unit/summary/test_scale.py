"""The scale of 0 to 255: which plane is measured, what counts as white, and the warning."""

import pytest

from samfleet.summary.scale import Scale, white_level
from tests.builders import make_settings


def make_scale(brightest: dict | None = None, **fluorescence) -> Scale:
    return Scale(make_settings(fluorescence=fluorescence).fluorescence, brightest or {})


@pytest.mark.parametrize(
    ("dtype", "brightest", "white"),
    [
        ("uint8", 3, 255),
        ("uint16", 4095, 65535),
        ("uint32", 7, 4294967295),
        ("uint64", 7, float(2**64 - 1)),
        ("int16", 7, 32767),
        ("int8", -5, 127),
        ("float32", 0.3, 1),
        ("float32", 1.0, 1),
        ("float32", 1.5, 255),
        ("float32", 255.0, 255),
        ("float64", 4095.0, 65535),
        ("float64", 65536.0, 4294967295),
        ("float64", 1e10, 1e10),
        ("float32", -3.0, 1),
    ],
)
def test_the_white_level_is_that_of_the_type_or_of_the_brightest_pixel(dtype, brightest, white):
    assert white_level(dtype, brightest) == white


def test_white_becomes_255():
    assert make_scale({"uint16": 9.0}).factor("uint16") * 65535 == 255
    assert make_scale({"uint16": 9.0}, white=4095).factor("uint16") * 4095 == 255


@pytest.mark.parametrize(
    ("channel", "channels", "plane"),
    [
        ("max", 1, 0),
        ("max", 3, 0),
        ("luminance", 3, 1),
        ("red", 3, 2),
        ("green", 3, 3),
        ("blue", 3, 4),
        ("blue", 1, 2),
        ("blue", 2, None),
        (0, 1, 2),
        (2, 3, 4),
        (3, 3, None),
        (1, 1, None),
    ],
)
def test_the_measured_plane_is_that_of_the_channel_if_the_image_has_it(channel, channels, plane):
    assert make_scale(channel=channel).plane(channels) == plane


@pytest.mark.parametrize(("brightest", "white"), [(4095.0, 4095), (1000.0, 1023), (1.0, 1)])
def test_a_dark_collection_is_warned_of_with_the_line_to_set(brightest, white, caplog):
    make_scale({"uint16": brightest}).warn_if_dark()
    assert f"brightest uint16 pixel of all is {brightest:g}" in caplog.text
    assert f"set\nfluorescence:\n  white: {white}\n" in caplog.text + "\n"
    assert "fluorescence.min_mean_intensity (8.1)" in caplog.text
    caplog.clear()
    make_scale({"uint16": brightest}, white=white).warn_if_dark()
    assert caplog.text == ""


@pytest.mark.parametrize(
    "brightest", [{"uint8": 64.0}, {"uint16": 65535.0}, {"float32": 0.01}, {"uint8": 0.0}, {}]
)
def test_other_collections_are_not_warned_of(brightest, caplog):
    make_scale(brightest).warn_if_dark()
    assert caplog.text == ""
