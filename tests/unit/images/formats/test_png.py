"""decode_image: PNG of all colour types and depths, interlaced, turned and damaged."""

import struct
import zlib

import numpy as np
import pytest

from tests.images import (
    GREY8,
    GREY16,
    RGB8,
    RGB16,
    check,
    chunk,
    exif,
    opencv,
    png,
    refused,
    turned,
)

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("pixels", [GREY8, GREY16])
def test_png_grey(pixels):
    check(opencv(".png", pixels), pixels)


@pytest.mark.parametrize("pixels", [RGB8, RGB16])
def test_png_color(pixels):
    check(opencv(".png", pixels), pixels, is_color=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_alpha_is_dropped(dtype):
    rgba = RNG.integers(0, np.iinfo(dtype).max, (9, 7, 4), dtype, endpoint=True)
    check(opencv(".png", rgba), rgba[:, :, :3], is_color=True)
    check(png(rgba[:, :, :2], 8 * rgba.itemsize, 4), rgba[:, :, 0])


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_bits_fills_the_range(depth, interlace):
    samples = RNG.integers(0, 2**depth, (11, 13, 1), np.uint8)
    check(png(samples, depth, 0, interlace=interlace), samples * np.uint8(255 // (2**depth - 1)))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (3, 4), (23, 37)])
@pytest.mark.parametrize(("depth", "color", "samples"), [(8, 2, 3), (16, 2, 3), (16, 0, 1), (8, 6, 4)])  # fmt: skip
def test_png_interlaced(size, depth, color, samples):
    pixels = RNG.integers(0, 2**depth, (*size, samples), np.uint16 if depth > 8 else np.uint8)
    expected = pixels[:, :, :3] if samples > 1 else pixels
    check(png(pixels, depth, color, interlace=1), expected, is_color=samples > 1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_palette(depth):
    index = RNG.integers(0, 2**depth, (9, 10, 1), np.uint8)
    palette = RNG.integers(0, 256, (2**depth, 3), np.uint8)
    extra = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", b"\0\x80")
    check(png(index, depth, 3, extra), palette[index[:, :, 0]], is_color=True)
    palette[:] = palette[:, :1]
    check(png(index, depth, 3, chunk(b"PLTE", palette.tobytes())), palette[index[:, :, 0], 0])


def test_png_transparent_color_gamma_and_significant_bits_change_nothing():
    extra = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sBIT", b"\x0c")
    extra += chunk(b"tRNS", struct.pack(">H", int(GREY16[0, 0])))
    check(png(GREY16[:, :, np.newaxis], 16, 0, extra), GREY16)
    extra = chunk(b"tRNS", struct.pack(">HHH", *RGB8[0, 0].tolist()))
    check(png(RGB8, 8, 2, extra), RGB8, is_color=True)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_png_orientation(orientation):
    data = png(RGB8, 8, 2, chunk(b"eXIf", exif(orientation)))
    check(data, turned(RGB8, orientation), is_color=True)


def test_png_animation_gives_the_still_image():
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    check(png(RGB8, 8, 2, control), RGB8, True, "the still image of an animation of 2 frames")


def test_png_damage():
    data = opencv(".png", RGB8)
    at = data.index(b"IDAT") + 20
    refused(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "unreadable", "checksum")
    refused(data[:-12], "unreadable", "truncated")
    check(data + b"trailing bytes", RGB8, is_color=True)
    header = struct.pack(">IIBBBBB", 37, 23, 8, 2, 0, 0, 0)
    short = zlib.compress(bytes((37 * 3 + 1) * 22))
    for body, words in ((short, "incomplete"), (short[:9], "incomplete"), (b"nonsense", "damaged")):
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)
        refused(data + chunk(b"IEND", b""), "unreadable", words)
    refused(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)), "unreadable", "header")


def test_png_with_a_damaged_comment_is_read():
    comment = bytearray(chunk(b"tEXt", b"Comment\0hello"))
    comment[-1] ^= 1
    check(png(RGB8, 8, 2, bytes(comment)), RGB8, is_color=True)
