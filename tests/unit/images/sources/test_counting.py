"""Whether a file holds one image: told at no cost, and never wrongly yes."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile

from samfleet.images.sources.counting import holds_one_image

GREY = np.zeros((8, 9), np.uint16)
STACK = np.zeros((3, 8, 9), np.uint16)


def written(data, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, data, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "one"),
    [
        (written(GREY), True),
        (written(GREY, bigtiff=True), True),
        (written(GREY, byteorder=">"), True),
        (written(GREY, metadata=None), True),
        (written(GREY, imagej=True), True),
        (written(GREY, ome=True), True),
        (written(STACK, photometric="minisblack"), False),
        (written(STACK, metadata=None, photometric="minisblack"), False),
        (written(STACK, imagej=True), False),
        (written(STACK, ome=True, photometric="minisblack"), False),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), True),
        (b"\xda\xce\xbe\x0a" + bytes(100), False),
        (bytes(96) + b"\xa0\xc0" + bytes(100), False),
        (b"II*\0\xff\xff\xff\x7f", False),
        (b"", True),
    ],
)
def test_what_is_in_doubt_is_left_to_a_reader(data, one):
    for known in (
        len(data),
        min(len(data), 100),
    ):  # also where the pages are beyond the first bytes
        assert holds_one_image(io.BytesIO(data), data[:known], "a.tif") is one


def test_an_oif_is_told_by_its_name():
    assert not holds_one_image(io.BytesIO(b"\xff\xfe["), b"\xff\xfe[", str(Path("x/a.OIF")))
