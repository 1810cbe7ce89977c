"""The scale of 0 to 255: which plane is measured, what counts as white, and what is said of it."""

import math

import numpy as np
import pytest

from samfleet.brightness import Brightness
from samfleet.channels import Channels
from samfleet.summary.scale import Scale, Seen, number
from tests.builders import make_settings


def seen(maximum: float, *above: int, images: int = 1, name: str = "A") -> Seen:
    """Images of which one has these pixels above each level; without them, a single pixel is."""
    found = Brightness(10**6, maximum, above or Brightness.of(np.array([maximum])).above)
    return Seen(found, images, tuple(1 for _ in found.above), name)


def make_scale(images: dict[str, Seen] | None = None, **fluorescence) -> Scale:
    return Scale(make_settings(fluorescence=fluorescence).fluorescence, images or {})


def said(caplog, images: dict[str, Seen], before: dict | None = None, **fluorescence) -> str:
    """What is said of a collection's scale."""
    caplog.clear()
    make_scale(images, **fluorescence).warn(lambda name: f"{name}.tif", before or {})
    return caplog.text


def test_white_becomes_255():
    assert make_scale({"uint16": seen(4000)}).factor("uint16") * 4095 == 255
    assert make_scale({"uint16": seen(9)}, white=4095).factor("uint16") * 4095 == 255


def test_each_type_has_its_own_white():
    images = {"uint8": seen(200), "uint16": seen(3000), "float32": seen(0.5)}
    assert make_scale(images).whites() == {"float32": 1, "uint16": 4095, "uint8": 255}
    assert set(make_scale(images, white=700).whites().values()) == {700}


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
    assert make_scale(channel=channel).plane(Channels((), channels, False)) == plane


@pytest.mark.parametrize(
    ("channel", "names", "plane"),
    [
        ("GFP", ("DAPI", "GFP"), 3),
        ("GFP", ("GFP",), 2),
        ("gfp", ("DAPI", "GFP"), None),
        ("GFP", ("", "GFP"), 3),
        ("GFP", ("GFP", "GFP"), None),
        ("GFP_1", ("GFP", "GFP"), 3),
        ("GFP", (), None),
        ("488", ("405", "488"), 3),
        ("1", ("1", "2"), 2),
        ("1", ("1", ""), 2),
        ("1_1", ("1", ""), 3),
        ("1", ("DAPI", "GFP"), 3),
        ("1", (), None),
        (" red x", ("DAPI", " red x"), 3),
        ("max", ("DAPI", "max"), 0),
        ("green", ("DAPI", "green"), 3),
        ("green", ("green", "DAPI"), 2),
        ("green", ("DAPI", "GFP"), None),
        ("green", ("DAPI",), 2),
    ],
)
def test_the_measured_plane_is_that_of_the_channel_with_this_name(channel, names, plane):
    channels = Channels(names, max(1, len(names)), False)
    assert make_scale(channel=channel).plane(channels) == plane


@pytest.mark.parametrize(("channel", "plane"), [("green", 3), ("DAPI", None), ("luminance", 1)])
def test_the_channels_of_colour_are_called_by_their_colours(channel, plane):
    channels = Channels(("DAPI", "green", "blue"), 3, True)
    assert make_scale(channel=channel).plane(channels) == plane


@pytest.mark.parametrize(
    ("channel", "names", "count", "words"),
    [
        ("Cy5", ("DAPI", "GFP"), 2, "the channels are called DAPI, GFP"),
        ("Cy5", ("DAPI", "DAPI"), 2, "the channels are called DAPI_0, DAPI_1"),
        ("Cy5", ("DAPI",), 1, "the channel is called DAPI"),
        ("Cy5", (), 2, "the channels have no names"),
        ("Cy5", ("",), 1, "the channel has no name"),
        ("blue", (), 2, "the image has 2 channels, counted from 0"),
        ("blue", ("DAPI", "GFP"), 2, "the channels are called DAPI, GFP"),
        (1, ("DAPI",), 1, "the image has 1 channel, counted from 0"),
        (
            488,
            ("405", "488"),
            2,
            'the image has 2 channels, counted from 0; in quotes, "488", it is the name of one',
        ),
    ],
)
def test_it_is_said_which_channels_there_are_instead(channel, names, count, words):
    said = make_scale(channel=channel).lacks(Channels(names, count, False))
    assert said == f"fluorescence.channel is {channel}, but {words}"


@pytest.mark.parametrize(
    ("dtype", "maximum", "white"),
    [
        ("uint16", 3500.0, 4095),
        ("uint16", 235.0, 255),
        ("uint16", 65535.0, 65535),
        ("int16", 20000.0, 32767),
        ("uint32", 7e4, 262143),
        ("float32", 0.8, 1),
    ],
)
def test_the_choice_is_said_with_the_brightest_pixel_and_the_line_to_pin_it(
    dtype, maximum, white, caplog
):
    text = said(caplog, {dtype: seen(maximum, images=7)})
    assert f"{white} counts as 255 in 7 {dtype} images" in text
    assert f"the brightest is {maximum:g} (A.tif)" in text
    assert f"set\nfluorescence:\n  white: {white}\n" in text + "\n"
    assert text.count("white:") == 1


@pytest.mark.parametrize(
    "images",
    [
        {"uint8": seen(64.0)},
        {"int8": seen(100.0)},
        {"uint16": seen(0.0)},
        {"float32": seen(math.nan)},
        {"float32": seen(-1.0)},
        {},
    ],
)
def test_nothing_is_said_where_there_is_nothing_to_choose(images, caplog):
    assert said(caplog, images) == ""


@pytest.mark.parametrize("maximum", [1.5, 100.0, 5000.0])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_no_advice_is_given_once_the_scale_is_set(dtype, maximum, caplog):
    assert said(caplog, {dtype: seen(maximum)}, {dtype: 4095.0}, white=1.0) == ""


def test_a_set_white_that_suits_one_type_and_not_another_is_told(caplog):
    images = {"uint8": seen(200), "uint16": seen(3000), "float32": seen(0.5)}
    text = said(caplog, images, white=4095)
    assert "fluorescence.white (4095) is in force for all images" in text
    assert "but uint8 pixels cannot be above 255" in text
    assert "but float32 pixels cannot be above 1:" in text
    assert text.count("cannot be above") == 2
    del images["float32"]
    assert said(caplog, images, white=255) == ""


def test_images_that_decide_alone_are_told_from_the_others(caplog):
    text = said(caplog, {"uint16": seen(5000, 9000, 8000, 7000, 6000, images=300)})
    assert "16383 counts as 255 in 300 uint16 images" in text
    assert "In 299 of them none exceeds 4095" in text
    assert "none exceeds" not in said(caplog, {"uint16": seen(200, 9000, images=300)})
    assert "none exceeds" not in said(caplog, {"uint16": seen(5000, 9000, 8000, 7000, 6000)})


@pytest.mark.parametrize("images", [1, 300])
def test_a_few_pixels_of_integers_that_decide_alone_are_told_from_the_others(images, caplog):
    text = said(caplog, {"uint16": seen(65535, 9000, 8000, 7000, 3, 3, images=images)})
    assert "65535 counts as 255" in text
    assert "All but 3 of 1000000 pixels (0.0003 %) are at most 4095" in text
    text = said(caplog, {"uint16": seen(65535, 3, 3, 3, 3, 3, images=images)})
    assert "All but 3 of 1000000 pixels (0.0003 %) are at most 255" in text


def test_a_scale_that_has_changed_since_the_last_summary_is_said(caplog):
    images = {"uint16": seen(5000)}
    text = said(caplog, images, {"uint16": 4095.0})
    assert (
        "uint16 images has changed: 4095 counted as 255 in the last summary, now it is 16383"
        in text
    )
    assert "the brightest pixel is 5000 (A.tif)" in text
    for before in ({"uint16": 16383.0}, {"float32": 1.0}, {}, {"uint16": "4095"}, {"uint16": None}):
        assert "changed" not in said(caplog, images, before), before


def test_pixels_of_floats_that_exceed_the_scale_are_counted(caplog):
    text = said(caplog, {"float32": seen(1.05, 30)})
    assert "1 counts as 255 in 1 float32 image. Above it are 30 of 1000000 pixels (0.003 %)" in text
    assert "up to 1.05 (A.tif)" in text
    assert "set\nfluorescence:\n  white: 1\n" in text + "\n"
    text = said(caplog, {"float32": seen(300.0, 900_000, 30)})
    assert "255 counts as 255 in 1 float32 image. Above it are 30 of 1000000 pixels" in text


def test_no_line_is_offered_that_would_spoil_another_type(caplog):
    text = said(caplog, {"uint8": seen(200), "uint16": seen(3000), "float32": seen(0.5)})
    assert "4095 counts as 255" in text
    assert "for float32 and uint8 as well" in text
    assert "white:" not in text


@pytest.mark.parametrize(
    ("dtype", "maximum", "white"),
    [
        ("uint8", 3.0, 3),
        ("uint8", 60.0, 63),
        ("uint16", 50.0, 63),
        ("int16", 1.0, 1),
        ("float32", 1.5, 1.5),  # most pixels exceed 1
        ("float32", 0.012, 0.012),
    ],
)
def test_a_dark_collection_is_warned_of_with_the_line_to_set(dtype, maximum, white, caplog):
    text = said(caplog, {dtype: seen(maximum, *([10**6] if maximum > 1 else []))})
    assert f"the brightest {dtype} pixel of all images is {maximum:g} (A.tif)" in text
    assert "fluorescence.min_mean_intensity (8.1)" in text
    assert f"set\nfluorescence:\n  white: {white}\n" in text + "\n"
    assert text.count("white:") == 1
    text = said(caplog, {dtype: seen(maximum, *([10**6] if maximum > 1 else []))}, min_contrast=5)
    assert "fluorescence.min_mean_intensity (8.1) and min_contrast (5) may drop everything" in text


@pytest.mark.parametrize(
    ("value", "written"),
    [(4095.0, "4095"), (1.0, "1"), (0.5, "0.5"), (2.0**64, "1.8446744073709552e+19")],
)
def test_numbers_are_written_as_yaml_reads_them(value, written):
    import yaml

    assert number(value) == written
    assert yaml.safe_load(written) == value


def test_what_was_seen_does_not_depend_on_the_order_of_images():
    one, two = seen(5000, images=2, name="B"), seen(5000, images=3, name="A")
    dark, none = seen(3, name="C"), seen(math.nan, name="")
    assert one + two == two + one
    assert (one + two).brightest == "A"
    assert (one + two + dark).brightest == (none + dark + two).brightest == "A"
    assert (one + two + dark).above == (3, 2, 2, 2)
    assert (one + two + dark).images == 6
