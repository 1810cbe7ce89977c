"""Brightness: what counts as white, by type, and how pixels are counted for that."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.brightness import FEW, NOTHING, Brightness, level


def brightness(maximum: float, *above: int, pixels: int = 10**6) -> Brightness:
    return Brightness(pixels, maximum, above)


def of(*values: float, dtype: str) -> Brightness:
    return Brightness.of(np.array(values, dtype))


def test_levels_are_one_and_the_largest_values_of_an_even_number_of_bits():
    assert [level(n) for n in range(6)] == [1, 255, 1023, 4095, 16383, 65535]
    assert [level(n) for n in (13, 29)] == [2**32 - 1, 2**64 - 1]


@pytest.mark.parametrize(
    ("dtype", "brightest", "white"),
    [
        ("uint8", 3, 255),
        ("uint8", 255, 255),
        ("uint16", 0, 255),
        ("uint16", 200, 255),  # 8-bit data in 16 bits
        ("uint16", 235, 255),
        ("uint16", 255, 255),
        ("uint16", 256, 1023),
        ("uint16", 1024, 4095),
        ("uint16", 3500, 4095),  # 12-bit data in 16 bits
        ("uint16", 4095, 4095),
        ("uint16", 4096, 16383),
        ("uint16", 16384, 65535),
        ("uint16", 65520, 65535),  # 12 bits in the upper bits
        ("uint32", 7, 255),
        ("uint32", 65536, 2**18 - 1),
        ("uint32", 2**32 - 1, 2**32 - 1),
        ("uint64", 2**64 - 1, 2.0**64 - 1),
        ("int8", 100, 127),
        ("int8", -5, 127),
        ("int16", -5, 255),
        ("int16", 4095, 4095),
        ("int16", 32767, 32767),
        ("int32", 60000, 65535),
        ("int32", 2**31 - 1, 2**31 - 1),
        ("float32", 0.3, 1),
        ("float32", 1.0, 1),
        ("float32", -3.0, 1),
        ("float16", 200.0, 255),
        ("float32", 255.0, 255),
        ("float64", 255.5, 1023),
        ("float64", 4095.0, 4095),
        ("float64", 65536.0, 2**18 - 1),
        ("float64", 1e10, 2**34 - 1),
    ],
)
def test_white_is_the_first_level_that_no_pixel_exceeds(dtype, brightest, white):
    assert of(*[brightest] * 8, dtype=dtype).white(dtype) == white


@pytest.mark.parametrize(("few", "white"), [(1, 1), (100, 1), (101, 255)])
def test_a_few_pixels_of_floats_may_exceed_white(few, white):
    assert brightness(1.05, few).white("float32") == white
    assert brightness(1.05, few).white("float64") == white


def test_a_few_pixels_of_floats_may_exceed_any_level():
    assert brightness(260.0, 500_000, 100).white("float32") == 255
    assert brightness(70000.0, 10**6, 10**6, 10**6, 10**6, 10**6, 9).white("float32") == 65535
    # dead pixels far above: the same, however far
    assert brightness(1e6, *[9] * 10).white("float32") == 1


def test_no_pixel_of_integers_may_exceed_white():
    assert brightness(4096, 10**6, 10**6, 9, 1).white("uint16") == 16383


def test_the_whole_collection_counts_not_the_image():
    one, rest = brightness(1.05, 3, pixels=20_000), brightness(0.9, pixels=40_000)
    assert one.white("float32") == 255
    assert (one + rest).white("float32") == 1
    assert (brightness(200.0, 20_000, pixels=20_000) + rest).white("float32") == 255


def test_pixels_are_counted_above_each_level_that_any_is_above():
    found = of(0, 1, 2, 255, 256, 300, 5000, dtype="uint16")
    assert found == Brightness(7, 5000, (5, 3, 1, 1))
    assert of(0.5, 1.0, 1.5, dtype="float32") == Brightness(3, 1.5, (1,))
    assert of(0, 0, dtype="uint8") == Brightness(2, 0, ())


def test_what_is_not_finite_counts_as_no_brightness():
    found = of(math.nan, math.inf, -math.inf, 0.5, 1.5, dtype="float32")
    assert found == Brightness(5, 1.5, (1,))
    nothing = of(math.nan, math.inf, dtype="float64")
    assert (math.isnan(nothing.maximum), nothing.above) == (True, ())
    assert nothing.white("float64") == 1
    assert (nothing + found).maximum == (found + nothing).maximum == 1.5


PIXELS = st.lists(st.sampled_from([0, 1, 3, 255, 256, 1024, 5000, 65535]), min_size=1, max_size=9)


@given(PIXELS, PIXELS)
def test_the_brightness_of_two_images_is_that_of_all_their_pixels(one, other):
    both = of(*one, dtype="uint16") + of(*other, dtype="uint16")
    assert both == of(*one, *other, dtype="uint16")
    assert both + NOTHING == NOTHING + both == both
    brightest = max(one + other)
    assert both.white("uint16") == min(
        white for white in (255, 1023, 4095, 16383, 65535) if white >= brightest
    )


@given(st.lists(st.floats(0, 2, width=32), min_size=1, max_size=50))
def test_floats_keep_the_scale_of_one_unless_many_exceed_it(values):
    many = sum(value > 1 for value in values) > FEW * len(values)
    assert of(*values, dtype="float32").white("float32") == (255 if many else 1)
