"""decode_image: the samples of a TIFF, in every layout, depth and colour model."""

import struct

import numpy as np
import pytest

from samfleet.images.formats.decoding import decode_image
from tests.images import (
    GREY8,
    GREY16,
    RGB8,
    RGB16,
    SMOOTH8,
    check,
    decoded_by_opencv,
    refused,
    tiff,
    turned,
)

RNG = np.random.default_rng(5)
DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiff_keeps_every_value(dtype, byteorder):
    pixels = np.frombuffer(RNG.bytes(23 * 37 * 8), dtype)[: 23 * 37].reshape(23, 37)
    check(tiff(pixels, byteorder=byteorder), pixels)
    check(tiff(pixels, byteorder=byteorder, compression="zlib", rowsperstrip=5), pixels)


def test_tiff_half_floats_become_floats_and_complex_is_unsupported():
    half = GREY8.astype(np.float16) / 7
    check(tiff(half), half.astype(np.float32))
    refused(tiff(GREY8.astype(np.complex64)), "unsupported", "complex64")


def test_tiff_keeps_nan_and_infinity():
    pixels = GREY8.astype(np.float32)
    pixels[0, :3] = np.nan, np.inf, -np.inf
    check(tiff(pixels), pixels)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": compression, "predictor": predictor}
        for compression in ("zlib", "lzw", "lzma", "zstd")
        for predictor in (False, True)
    ]
    + [
        {"compression": "packbits"},
        {"compression": "jpeg2000", "compressionargs": {"level": 0}},
        {"tile": (16, 16)},
        {"tile": (16, 32), "compression": "zlib", "predictor": True},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "lzw", "tile": (16, 16)},
        {"bigtiff": True, "rowsperstrip": 4},
        {"byteorder": ">", "compression": "zlib", "predictor": True},
    ],
)
def test_tiff_layouts(options):
    pixels = RGB16
    if options.get("planarconfig") == "separate":
        pixels = np.moveaxis(pixels, 2, 0)
    check(tiff(pixels, photometric="rgb", **options), RGB16, is_color=True)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_tiff_of_few_bits_fills_the_range(bits, photometric):
    samples = (GREY8 >> (8 - bits)).astype(np.uint8)
    stored = samples.astype(bool) if bits == 1 else samples
    options = {} if bits == 1 else {"bitspersample": bits}
    expected, warning = samples * np.uint8(255 // (2**bits - 1)), ""
    if photometric == "miniswhite":
        expected, warning = 255 - expected, "inverted"
    check(tiff(stored, photometric=photometric, **options), expected, warning=warning)


def test_tiff_of_truth_values_is_min_is_white_as_tifffile_writes_it_and_this_is_said():
    bright = GREY8 > 127
    as_written = tiff(bright)
    check(as_written, np.uint8(255) * ~bright, warning="image.lookup_table: ignored")
    check(as_written, np.uint8(255) * bright, lookup_table="ignored")
    check(as_written, np.uint8(255) * ~bright, lookup_table="applied")


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_tiff_packed(bits):
    samples = GREY16 >> (16 - bits)
    check(tiff(samples, bitspersample=bits), samples)
    white = tiff(samples, bitspersample=bits, photometric="miniswhite")
    check(white, np.uint16(2**bits - 1) - samples, warning="inverted")


def test_tiff_min_is_white():
    check(tiff(GREY8, photometric="miniswhite"), 255 - GREY8, warning="inverted")
    check(tiff(GREY16, photometric="miniswhite"), 65535 - GREY16, warning="inverted")
    signed = GREY16.view(np.int16)
    check(tiff(signed, photometric="miniswhite"), ~signed, warning="inverted")
    floats = GREY8.astype(np.float32)
    check(tiff(floats, photometric="miniswhite"), floats)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [GREY16, RGB8])
def test_tiff_orientation(pixels, orientation):
    data = tiff(pixels, extratags=[(274, 3, 1, orientation, True)])
    check(data, turned(pixels, orientation), is_color=pixels.ndim == 3)


def with_palette(index: np.ndarray, bits: int, palette: np.ndarray) -> bytes:
    """Build a palette TIFF of 1 to 8 bits; tifffile only writes 8 and 16 bits."""
    stored, options = (index.astype(bool), {}) if bits == 1 else (index, {"bitspersample": bits})
    tag = (320, 3, palette.size, palette.ravel().tolist(), True)
    data = tiff(stored, photometric="minisblack", extratags=[tag], **options)
    return data.replace(struct.pack("<HHIH", 262, 3, 1, 1), struct.pack("<HHIH", 262, 3, 1, 3))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiff_palette(bits):
    index = (GREY8 >> (8 - bits)).astype(np.uint8)
    palette = RNG.integers(0, 256, (3, 2**bits), np.uint8)
    for factor in (256, 257):
        data = with_palette(index, bits, palette.astype(np.uint16) * factor)
        check(data, palette.T[index], is_color=True)


def test_tiff_palette_of_16_bits_and_of_grey():
    palette = RNG.integers(0, 65536, (3, 256), np.uint16)
    check(tiff(GREY8, photometric="palette", colormap=palette), palette.T[GREY8], is_color=True)
    ramp = np.repeat(np.arange(255, -1, -1, dtype=np.uint16)[None] * 257, 3, axis=0)
    data = tiff(GREY8, photometric="palette", colormap=ramp)
    check(data, 255 - GREY8, lookup_table="applied")


def test_tiff_alpha_is_dropped_and_other_samples_are_kept():
    rgba = RNG.integers(0, 65536, (23, 37, 4), np.uint16)
    for kind in ("unassalpha", "assocalpha", "unspecified"):
        data = tiff(rgba, photometric="rgb", extrasamples=[kind])
        check(data, rgba[:, :, :3], is_color=True)
    data = tiff(np.moveaxis(rgba, 2, 0), photometric="rgb", planarconfig="separate", extrasamples=["assocalpha"])  # fmt: skip
    check(data, rgba[:, :, :3], is_color=True)
    two = rgba[:, :, :2]
    grey = {"photometric": "minisblack", "planarconfig": "contig"}
    check(tiff(two, extrasamples=["unassalpha"], **grey), two[:, :, :1])
    check(tiff(two, extrasamples=["unspecified"], **grey), two)
    check(tiff(rgba, **grey), rgba)
    seven = RNG.integers(0, 256, (9, 8, 7), np.uint8)
    check(tiff(seven, photometric="rgb", extrasamples=["unspecified"] * 4), seven)


def test_tiff_jpeg():
    for options in ({}, {"tile": (32, 32)}, {"rowsperstrip": 16}):
        data = tiff(SMOOTH8, photometric="ycbcr", compression="jpeg", **options)
        check(data, decoded_by_opencv(data), is_color=True)
    grey = SMOOTH8[:, :, 1]
    data = tiff(grey, compression="jpeg", compressionargs={"level": 100})
    assert np.abs(decode_image(data).pixels[:, :, 0].astype(int) - grey).max() <= 2


@pytest.mark.parametrize(
    ("photometric", "words"), [(5, "CMYK"), (8, "Lab"), (9, "Lab"), (32803, "filter array")]
)
def test_tiff_color_models_that_are_not_read(photometric, words):
    pixels = np.dstack([RGB8, GREY8]) if photometric == 5 else RGB8
    data = tiff(pixels, photometric="rgb" if photometric != 5 else "separated")
    if photometric != 5:
        data = data.replace(struct.pack("<HHIH", 262, 3, 1, 2), struct.pack("<HHIH", 262, 3, 1, photometric))  # fmt: skip
    refused(data, "unsupported", words)
