"""decode_image: when the stored numbers are measured, and when the colours of a table or their inverse."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from tests.images import GREY8, GREY16, check, chunk, png, refused, tiff

RNG = np.random.default_rng(6)
INDEX = RNG.permutation(np.arange(23 * 37) % 256).astype(np.uint8).reshape(23, 37)
RAMP = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
COLORS = RNG.integers(0, 256, (256, 3), np.uint8)
IMAGEJ = {"description": "ImageJ=1.53t\nmin=0.0\nmax=255.0\n", "metadata": None}


def display(name: int) -> np.ndarray:
    """A table of 256 colours as display programs have them."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], name)[:, 0, ::-1]


def hue(channel: int) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    table[:, channel] = np.arange(256)
    return table


DISPLAYS = {
    "hot": display(cv2.COLORMAP_HOT),
    "jet": display(cv2.COLORMAP_JET),
    "hsv": display(cv2.COLORMAP_HSV),
    "viridis": display(cv2.COLORMAP_VIRIDIS),
    "green": hue(1),
    "inverted": RAMP[::-1],
    "gamma": np.rint(255 * (RAMP / 255) ** 0.5).astype(np.uint8),
}


def palette_tiff(table: np.ndarray, **options) -> bytes:
    colormap = table.T.astype(np.uint16) * 257
    return tiff(INDEX, photometric="palette", colormap=colormap, **options)


def palette_png(table: np.ndarray) -> bytes:
    return png(INDEX[:, :, None], 8, 3, chunk(b"PLTE", np.ascontiguousarray(table).tobytes()))


def palette_bmp(table: np.ndarray, index: np.ndarray = INDEX, bottom_up: bool = True) -> bytes:
    height, width = index.shape
    colors = np.zeros((len(table), 4), np.uint8)
    colors[:, :3] = table[:, ::-1]
    rows = np.zeros((height, -(-width // 4) * 4), np.uint8)
    rows[:, :width] = index[::-1] if bottom_up else index
    start, entries = 54 + colors.size, len(table) % 256
    sizes = (width, height if bottom_up else -height, 1, 8, 0, rows.size, 0, 0, entries, 0)
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", start + rows.size, 0, 0, start, 40, *sizes)
    return header + colors.tobytes() + rows.tobytes()


FILES = {"tiff": palette_tiff, "png": palette_png, "bmp": palette_bmp}


@pytest.mark.parametrize("name", DISPLAYS)
@pytest.mark.parametrize("kind", FILES)
def test_numbers_under_a_table_for_display_are_measured_and_this_is_said(kind, name):
    table = DISPLAYS[name]
    data = FILES[kind](table)
    check(data, INDEX, warning="image.lookup_table: applied")
    check(data, INDEX, lookup_table="ignored")
    grey = (table == table[:, :1]).all()
    expected = table[INDEX][:, :, 0] if grey else table[INDEX]
    check(data, expected, is_color=not grey, lookup_table="applied")


@pytest.mark.parametrize("name", DISPLAYS)
@pytest.mark.parametrize("program", [IMAGEJ, {"ome": True}])
def test_a_table_that_imagej_or_a_microscope_wrote_is_for_display(program, name):
    data = palette_tiff(DISPLAYS[name], **program)
    check(data, INDEX)
    grey = name in ("inverted", "gamma")
    expected = DISPLAYS[name][INDEX]
    check(data, expected[:, :, 0] if grey else expected, not grey, lookup_table="applied")


@pytest.mark.parametrize("kind", FILES)
def test_the_colours_of_a_colour_image_are_measured(kind):
    check(FILES[kind](COLORS), COLORS[INDEX], is_color=True)
    check(FILES[kind](COLORS), INDEX, lookup_table="ignored")
    check(FILES[kind](RAMP), INDEX)


def test_a_colour_image_that_imagej_wrote_is_doubtful():
    check(palette_tiff(COLORS, **IMAGEJ), INDEX, warning="palette of a colour image")


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_greys_whose_palette_was_shortened_are_greys(kind):
    """Programs that shrink a PNG number the greys that occur, whatever their values."""
    table = RAMP[25::25]
    numbers = INDEX % len(table)
    data = (
        palette_bmp(table, numbers)
        if kind == "bmp"
        else png(numbers[:, :, None], 8, 3, chunk(b"PLTE", table.tobytes()))
    )
    check(data, table[numbers][:, :, 0])


def test_a_shorter_palette_that_is_padded_with_black_is_no_table_for_display():
    table = np.zeros((256, 3), np.uint8)
    table[:128] = RAMP[::2]
    data = tiff(INDEX // 2, photometric="palette", colormap=table.T.astype(np.uint16) * 257)
    check(data, (INDEX // 2) * 2)


def test_bmp_rows_from_the_top():
    check(palette_bmp(COLORS, bottom_up=False), COLORS[INDEX], is_color=True)


def test_numbers_without_a_colour_are_damage():
    refused(palette_bmp(COLORS[:99]), "unreadable", "palette")
    data = png(INDEX[:, :, None], 8, 3, chunk(b"PLTE", COLORS[:99].tobytes()))
    refused(data, "unreadable", "palette")


@pytest.mark.parametrize("pixels", [GREY8, GREY16])
def test_the_inverting_table_of_imagej_changes_the_display_only(pixels):
    high = np.iinfo(pixels.dtype).max
    data = tiff(pixels, photometric="miniswhite", **IMAGEJ)
    check(data, pixels)
    check(data, high - pixels, lookup_table="applied")
    other = tiff(pixels, photometric="miniswhite", metadata=None)
    check(other, high - pixels, warning="image.lookup_table: ignored")
    check(other, pixels, lookup_table="ignored")
    check(other, high - pixels, lookup_table="applied")


def test_sixteen_bit_tables():
    table = np.repeat(np.arange(65536, dtype=np.uint16)[:, None], 3, axis=1)
    data = tiff(GREY16, photometric="palette", colormap=table.T)
    check(data, GREY16)
    data = tiff(GREY16, photometric="palette", colormap=table[::-1].T)
    check(data, GREY16, warning="look-up table")


def test_the_checksum_of_a_palette_is_still_checked():
    data = bytearray(palette_png(COLORS))
    data[data.index(b"PLTE") + 9] ^= 1
    assert zlib.crc32(bytes(data)) != zlib.crc32(palette_png(COLORS))
    refused(bytes(data), "unreadable", "PLTE")
