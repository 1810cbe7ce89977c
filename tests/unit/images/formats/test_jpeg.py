"""decode_image: JPEG of several kinds, exact, or refused if its data end early."""

import struct

import cv2
import imagecodecs
import numpy as np
import pytest

from samfleet.images.formats.decoding import decode_image
from tests.images import GREY16, JPEGS, SMOOTH8, check, decoded_by_opencv, exif, refused, turned


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg(kind):
    data = JPEGS[kind]
    check(data, decoded_by_opencv(data), is_color=kind != "grey")
    check(data + b"trailing \xff\xd8\xff bytes", decoded_by_opencv(data), is_color=kind != "grey")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_orientation(orientation):
    body = b"Exif\0\0" + exif(orientation)
    data = JPEGS["color"]
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    expected = turned(decoded_by_opencv(JPEGS["color"]), orientation)
    np.testing.assert_array_equal(decoded_by_opencv(data), expected)
    check(data, expected, is_color=True)


def test_jpeg_of_other_depths():
    deep = GREY16 >> 4
    lossless = imagecodecs.jpeg_encode(deep, bitspersample=12, lossless=True)
    check(lossless, deep)
    check(imagecodecs.jpeg_encode(GREY16, bitspersample=16, lossless=True), GREY16)
    smooth = cv2.GaussianBlur(deep, (9, 9), 0)
    data = imagecodecs.jpeg_encode(smooth, bitspersample=12, level=100)
    pixels = decode_image(data).pixels
    assert pixels.dtype == np.uint16
    assert np.abs(pixels[:, :, 0].astype(int) - smooth).max() < 8


def test_jpeg_without_its_height_is_unsupported():
    data = bytearray(JPEGS["color"])
    struct.pack_into(">H", data, data.index(b"\xff\xc0") + 5, 0)
    refused(bytes(data), "unsupported", "height")


def test_jpeg_stored_as_rgb_stays_rgb():
    data = imagecodecs.jpeg_encode(SMOOTH8, level=100, colorspace="RGB", outcolorspace="RGB")
    image = decode_image(data)
    assert image.is_color
    assert np.abs(image.pixels.astype(int) - SMOOTH8).max() <= 2


def test_jpeg_cmyk_is_unsupported():
    data = imagecodecs.jpeg_encode(
        np.dstack([SMOOTH8, SMOOTH8[:, :, 0]]), colorspace="CMYK", outcolorspace="CMYK"
    )
    refused(data, "unsupported", "CMYK")


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_whose_data_end_early_is_unreadable_though_it_ends_well(kind):
    data = JPEGS[kind]
    start = data.rindex(b"\xff\xda") + 20
    for share in (0.1, 0.5, 0.9):
        end = start + int((len(data) - start) * share)
        if data[end - 1] == 0xFF:
            end -= 1
        refused(data[:end] + b"\xff\xd9", "unreadable", "incomplete")
        refused(data[:end], "unreadable", "truncated")


def test_jpeg_with_an_embedded_end_marker_in_its_thumbnail():
    thumbnail = b"thumbnail" + JPEGS["grey"][:400] + b"\xff\xd9"
    data = JPEGS["color"]
    data = data[:2] + b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    check(data, decoded_by_opencv(data), is_color=True)
    refused(data[:-200], "unreadable", "truncated")
