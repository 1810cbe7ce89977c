"""The size of an image from its header, against what libraries have written."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from samfleet.plan.dimensions import dimensions
from tests.examples import examples

IMAGE = np.arange(37 * 91, dtype=np.uint8).reshape(37, 91)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_of_what_opencv_writes(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), IMAGE)
    assert dimensions(path) == (37, 91)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_of_tiffs_in_both_byte_orders(tmp_path, big, order, tile):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE.astype(np.uint16), bigtiff=big, byteorder=order, tile=tile)
    assert dimensions(path) == (37, 91)


def test_of_a_stack_the_size_of_a_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 40, 50), np.uint8), imagej=True)
    assert dimensions(tmp_path / "a.tif") == (40, 50)


@examples(60)
@given(
    st.sampled_from([b"", b"II*\0", b"MM\0+", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.binary()
)
def test_of_anything_else_nothing(tmp_path_factory, start, rest):
    path: Path = tmp_path_factory.mktemp("any") / "a"
    path.write_bytes(start + rest)
    size = dimensions(path)
    assert size is None or len(size) == 2
    assert start or size is None


def test_of_a_file_that_is_gone_nothing(tmp_path):
    assert dimensions(tmp_path / "gone.tif") is None
