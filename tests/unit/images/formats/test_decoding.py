"""decode_image: other files are refused by name, and size and memory are limited."""

import io
import pickle
import struct

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import ImageError
from tests.images import (
    GREY8,
    RGB8,
    check,
    chunk,
    hand_made_tiff,
    opencv,
    page_tags,
    refused,
    tiff,
)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", "unreadable", "the file is empty"),
        (bytes(5000), "unreadable", "all 5000 bytes are zero"),
        (b"\x89PNG", "unreadable", "ends after 4 bytes"),
        (b"hello, this is text\n", "unsupported", "begins with b'hello, this"),
        (b"ZISRAWFILE" + bytes(50), "unsupported", "CZI"),
        (b"\xda\xce\xbe\x0a" + bytes(50), "unsupported", "ND2"),
        (b"\x70\0\0\0" + bytes(50), "unsupported", "LIF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "unsupported", "OLE2"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "unsupported", "HDF5"),
        (bytes(128) + b"DICM" + bytes(9), "unsupported", "DICOM"),
        (imagecodecs.gif_encode(GREY8), "unsupported", "GIF"),
        (b"BMW is a car, and this is a text about it, long enough", "unsupported", "BMP version"),
    ],
)  # fmt: skip
def test_other_bytes_are_refused_in_words(data, status, words):
    refused(data, status, words)


def test_an_error_survives_pickling_and_is_one_line():
    error = pickle.loads(pickle.dumps(ImageError("unreadable", "two\nlines")))
    assert (error.status, error.reason, str(error)) == (
        "unreadable",
        "two lines",
        "unreadable: two lines",
    )


@pytest.mark.parametrize(
    "data",
    [
        opencv(".png", RGB8),
        opencv(".jpg", RGB8),
        opencv(".bmp", RGB8),
        imagecodecs.webp_encode(RGB8, lossless=True),
        imagecodecs.jpeg2k_encode(RGB8, level=0),
        tiff(RGB8),
        tiff(RGB8, compression="zlib"),
        tiff(RGB8, ome=True),
    ],
)
def test_max_pixels(data):
    assert decode_image(data, max_pixels=23 * 37).pixels.shape == (23, 37, 3)
    refused(data, "too_large", "37 x 23", max_pixels=23 * 37 - 1)


def test_bombs_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    refused(data, "too_large", "100000 x 100000")
    data = bytearray(tiff(np.zeros((16, 16), np.uint8), compression="zlib"))
    for tag in (256, 257):
        at = data.index(struct.pack("<HHII", tag, 4, 1, 16))
        struct.pack_into("<I", data, at + 8, 4_000_000_000)
    refused(bytes(data), "too_large", "4000000000 x 4000000000")


def test_memory_is_bounded_by_the_channels_too():
    data = tiff(np.zeros((40, 8, 9), np.float32), ome=True, metadata={"axes": "CYX"}, photometric="minisblack")  # fmt: skip
    assert decode_image(data, max_pixels=72 * 20).pixels.shape == (8, 9, 40)
    refused(data, "too_large", "40 channels", max_pixels=72 * 20 - 1)


def test_sizes_within_strips_are_bounded_too():
    large = imagecodecs.jpeg2k_encode(np.zeros((300, 300), np.uint8), level=0, codecformat="j2k")
    tags = page_tags(GREY8, 1, 34712, len(large))
    refused(hand_made_tiff(tags, large), "too_large", "300 x 300", max_pixels=1000)
    large = opencv(".jpg", np.zeros((300, 300), np.uint8))
    tags = page_tags(GREY8, 1, 7, len(large))
    refused(hand_made_tiff(tags, large), "too_large", "300 x 300", max_pixels=1000)


def test_a_page_that_is_not_there_is_unsupported():
    for data in (opencv(".png", GREY8), opencv(".jpg", GREY8), opencv(".bmp", GREY8), tiff(GREY8)):
        refused(data, "unsupported", "has 1", page=1)


def test_nothing_is_logged(caplog):
    data = tiff(GREY8, ome=True).replace(b'SizeY="23"', b'SizeY="24"')
    check(data, GREY8, warning="do not fit its pages")
    assert not caplog.records
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.series
    assert caplog.records  # tifffile did have a complaint, which other callers still hear
