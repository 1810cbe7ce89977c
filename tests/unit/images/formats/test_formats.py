"""decode_image: JPEG 2000, WebP and BMP."""

import struct

import cv2
import imagecodecs
import numpy as np
import pytest

from samfleet.images.formats.decoding import decode_image
from tests.images import GREY8, GREY16, RGB8, RGB16, check, exif, opencv, refused, turned

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("pixels", [GREY8, GREY16, RGB8, RGB16])
@pytest.mark.parametrize("codecformat", ["jp2", "j2k"])
def test_jpeg2000(pixels, codecformat):
    data = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat=codecformat)
    check(data, pixels, is_color=pixels.ndim == 3)
    for end in (-1, -2, -50, len(data) // 2, 90, 30):
        refused(data[:end], "unreadable")


def test_jpeg2000_alpha_is_dropped_and_unnamed_components_are_refused():
    rgba = np.dstack([RGB16, GREY16])
    data = imagecodecs.jpeg2k_encode(rgba, level=0)
    refused(data, "unsupported", "4 components")
    box = data.index(b"jp2h") - 4
    length = int.from_bytes(data[box : box + 4], "big")
    roles = struct.pack(">I4sH12H", 34, b"cdef", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 1, 0)
    head = data[:box] + struct.pack(">I", length + 34) + data[box + 4 : box + length]
    check(head + roles + data[box + length :], RGB16, is_color=True)


def test_webp():
    data = imagecodecs.webp_encode(RGB8, lossless=True)
    check(data, RGB8, is_color=True)
    rgba = np.dstack([RGB8, np.full_like(GREY8, 255)])
    rgba[0, 0, 3] = 254
    check(imagecodecs.webp_encode(rgba, lossless=True), RGB8, is_color=True)
    for end in (-1, -20, len(data) // 2, 13, 25):
        refused(data[:end], "unreadable", "truncated")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_webp_orientation(orientation):
    image = imagecodecs.webp_encode(RGB8, lossless=True)[12:]
    body = exif(orientation)
    size = (RGB8.shape[1] - 1).to_bytes(3, "little") + (RGB8.shape[0] - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<II", 10, 8) + size + image + b"EXIF" + struct.pack("<I", len(body)) + body  # fmt: skip
    data = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    check(data, turned(RGB8, orientation), is_color=True)


def test_webp_animation_gives_its_first_frame():
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(RGB8[:, :, ::-1]), 255 - RGB8]
    animation.durations = [100, 100]
    done, data = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert done
    image = decode_image(data.tobytes())
    assert image.plane == "frame 0 of an animation of 2"
    np.testing.assert_array_equal(image.pixels, RGB8)
    refused(data.tobytes(), "unsupported", "has 1 page", page=1)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bmp_palette(bits):
    index = RNG.integers(0, 2**bits, (9, 13), np.uint8)
    palette = RNG.integers(0, 256, (2**bits, 4), np.uint8)
    rows = b""
    for row in index[::-1]:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 32)
        rows += int(text, 2).to_bytes(len(text) // 8, "big")
    for grey in (False, True):
        if grey:
            palette[:] = palette[:, :1]
        start = 54 + palette.size
        header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", start + len(rows), 0, 0, start, 40, 13, 9, 1, bits, 0, 0, 0, 0, 0, 0)  # fmt: skip
        expected = palette[index][:, :, 0] if grey else palette[index][:, :, 2::-1]
        check(header + palette.tobytes() + rows, expected, is_color=not grey)


def test_bmp():
    check(opencv(".bmp", RGB8), RGB8, is_color=True)
    data = opencv(".bmp", GREY8)
    check(data, GREY8)
    for end in (1, 20, 40, 60, len(data) // 2, len(data) - 1):
        refused(data[:end], "unreadable")
    rgba = np.dstack([RGB8, GREY8])
    check(opencv(".bmp", rgba), RGB8, is_color=True)
    refused(
        struct.pack("<2sIHHIIHHHH", b"BM", 99, 0, 0, 26, 12, 3, 3, 1, 24) + bytes(99), "unsupported"
    )
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + rgba.size, 0, 0, 54, 40, 37, -23, 1, 32, 0, 0, 0, 0, 0, 0)  # fmt: skip
    check(header + rgba[:, :, [2, 1, 0, 3]].tobytes(), RGB8, is_color=True)
