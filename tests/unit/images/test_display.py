"""to_rgb: what SAM sees, in known colours."""

import cv2
import numpy as np
import pytest

from samfleet.images.display import COLORMAPS, to_rgb
from samfleet.images.formats.image import Image, ImageError
from tests.builders import make_config

RNG = np.random.default_rng(7)


def rgb_of(pixels, is_color: bool = False, **display) -> np.ndarray:
    """What SAM sees of these pixels, by the configuration's defaults unless given."""
    pixels = np.asarray(pixels)
    image = Image(pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis], is_color)
    return to_rgb(image, **make_config()["display"] | display)


def shown(pixels, **display) -> np.ndarray:
    """One grey value per pixel, after checking that it is what SAM takes."""
    rgb = rgb_of(pixels, **display)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert rgb.shape[2] == 3
    assert (rgb == rgb[:, :, :1]).all()
    return rgb[:, :, 0]


def test_color_of_8_bits_passes_as_it_is():
    pixels = RNG.integers(10, 90, (11, 13, 3), np.uint8)
    rgb = rgb_of(pixels, is_color=True, colormap="red", percentiles=(30, 40), channel=7)
    np.testing.assert_array_equal(rgb, pixels)


def test_deeper_color_is_stretched_over_all_channels_together():
    pixels = np.zeros((2, 2, 3), np.uint16)
    pixels[0, 0] = 1000, 2000, 4000
    rgb = rgb_of(pixels, is_color=True, percentiles=(0, 100))
    np.testing.assert_array_equal(rgb[0, 0], [64, 128, 255])
    assert rgb[1, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"])
def test_every_dtype_is_stretched_alike(dtype):
    ramp = np.arange(100).reshape(10, 10).astype(dtype)
    expected = np.rint(np.arange(100).reshape(10, 10) / 99 * 255)
    np.testing.assert_array_equal(shown(ramp, percentiles=(0, 100)), expected)
    expected = np.rint((np.arange(100).reshape(10, 10).clip(9, 89) - 9) / 80 * 255)
    np.testing.assert_array_equal(shown(ramp, percentiles=(10, 90)), expected)


def test_signed_values_below_zero_are_the_dark_ones():
    assert shown(np.array([[-100, 0, 100]], np.int8), percentiles=(0, 100)).tolist() == [[0, 128, 255]]  # fmt: skip


def test_defaults_leave_out_the_extreme_thousandth():
    pixels = RNG.integers(100, 200, (100, 100), np.uint16)
    pixels[0, :5] = 60_000
    grey = shown(pixels)
    assert (grey[pixels == 199] == 255).all()
    assert (grey[pixels == 100] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_from_minimum_to_maximum_is_what_micro_sam_shows_within_a_level(dtype):
    """It scales by the maximum in float32 and cuts fractions off, where we round."""
    pixels = RNG.integers(12, 240, (40, 60)).astype(dtype) * dtype(1 if dtype == np.uint8 else 17)
    theirs = pixels.astype(np.float32) - np.float32(pixels.min())
    theirs = (theirs / (theirs.max() + 1e-7) * 255).astype(np.uint8)
    ours = shown(pixels, percentiles=(0, 100))
    difference = ours.astype(int) - theirs
    assert set(np.unique(difference)) == {0, 1}
    assert ours.min() == 0 and ours.max() == 255


def test_spots_rarer_than_the_percentile_stay_visible():
    pixels = np.full((200, 200), 30, np.uint16)
    pixels[5, 5] = 900
    grey = shown(pixels)
    assert grey[5, 5] == 255
    assert grey.sum() == 255


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_constant_image_is_black(value, dtype):
    assert not shown(np.full((4, 5), value).astype(dtype)).any()


def test_nan_is_black_and_infinities_are_the_ends():
    pixels = np.array([[np.nan, -np.inf, np.inf, 1, 2, 3]], np.float32)
    with np.errstate(all="raise"):
        grey = shown(pixels, percentiles=(0, 100))
    assert grey.tolist() == [[0, 0, 255, 0, 128, 255]]
    assert not shown(np.full((2, 2), np.nan)).any()
    assert not shown(np.full((2, 2), np.inf)).any()


def test_the_widest_doubles_do_not_overflow():
    top = np.finfo(np.float64).max
    assert shown(np.array([[-top, 0, top]]), percentiles=(0, 100)).tolist() == [[0, 128, 255]]


def test_rows_are_stretched_as_one():
    pixels = RNG.normal(size=(1500, 3)).astype(np.float32)
    whole = np.rint((pixels.astype(float) - pixels.min()) / (float(pixels.max()) - float(pixels.min())) * 255)  # fmt: skip
    assert np.abs(shown(pixels, percentiles=(0, 100)) - whole).max() <= 1


def test_channels_that_are_not_color():
    pixels = np.zeros((1, 3, 4), np.float32)
    pixels[0, :, 0] = 0, 4, 1
    pixels[0, :, 2] = 8, np.nan, 2
    options = {"percentiles": (0, 100)}
    assert shown(pixels, **options).tolist() == [[255, 85, 0]]
    assert shown(pixels, channel=0, **options).tolist() == [[0, 255, 64]]
    assert not shown(pixels, channel=1, **options).any()
    with pytest.raises(ImageError) as caught:
        shown(pixels, channel=4)
    assert caught.value.status == "unsupported"
    assert "display.channel is 4" in caught.value.reason


def test_colors_of_the_maps():
    ramp = np.arange(256, dtype=np.uint8)[np.newaxis]
    options = {"percentiles": (0, 100)}
    hues = {"red": [0], "green": [1], "blue": [2], "cyan": [1, 2], "magenta": [0, 2], "yellow": [0, 1]}  # fmt: skip
    for hue, lit in hues.items():
        rgb = rgb_of(ramp, colormap=hue, **options)[0]
        for channel in range(3):
            assert (rgb[:, channel] == (ramp[0] if channel in lit else 0)).all()
    hot = rgb_of(ramp, colormap="hot", **options)
    assert hot[0, 60].argmax() == 0
    assert hot[0, 60, 2] == 0
    for name in ("hot", "viridis", "inferno"):
        rgb = rgb_of(ramp, colormap=name, **options)
        expected = cv2.applyColorMap(ramp, getattr(cv2, f"COLORMAP_{name.upper()}"))
        np.testing.assert_array_equal(rgb, expected[:, :, ::-1])
    for name in COLORMAPS:
        rgb = rgb_of(ramp, colormap=name)
        assert (rgb.shape, rgb.dtype, rgb.flags.c_contiguous) == ((1, 256, 3), np.uint8, True)


def test_the_image_is_not_changed():
    pixels = RNG.normal(size=(5, 6, 2)).astype(np.float32)
    before = pixels.copy()
    rgb_of(pixels)
    np.testing.assert_array_equal(pixels, before)
