"""read_picture: truncated and mutated files give an error or the exact picture, never another."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samfleet.picture import Picture, PictureError, read_picture
from tests.pictures import GREY8, GREY16, HYPERSTACK, JPEGS, RGB8, SMOOTH8, TIFFS, opencv, tiff

SAMPLES = {
    "png": opencv(".png", RGB8),
    "png 16": opencv(".png", GREY16),
    "jpeg": JPEGS["color"],
    "jpeg progressive": JPEGS["progressive"],
    "webp": imagecodecs.webp_encode(RGB8, lossless=True),
    "jpeg 2000": imagecodecs.jpeg2k_encode(RGB8, level=0),
    "gif": imagecodecs.gif_encode(GREY8),
    "bmp": opencv(".bmp", RGB8),
    **{f"tiff {kind}": data for kind, (data, _) in TIFFS.items()},
    "tiff hyperstack": tiff(HYPERSTACK, imagej=True, metadata={"axes": "TZCYX"}),
    "tiff jpeg": tiff(SMOOTH8, photometric="ycbcr", compression="jpeg", rowsperstrip=16),
    "tiff palette": tiff(GREY8, photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256)),
}  # fmt: skip
WHOLE = {kind: read_picture(data) for kind, data in SAMPLES.items()}
FUZZ = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@FUZZ
@given(st.sampled_from(sorted(SAMPLES)), st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_gives_an_error_or_the_exact_picture(kind, share):
    data = SAMPLES[kind]
    try:
        picture = read_picture(data[: int(len(data) * share)])
    except PictureError:
        return
    np.testing.assert_array_equal(picture.pixels, WHOLE[kind].pixels)


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_file_without_its_last_bytes_gives_an_error_or_the_exact_picture(kind):
    data = SAMPLES[kind]
    for end in range(max(0, len(data) - 40), len(data)):
        try:
            picture = read_picture(data[:end])
        except PictureError:
            continue
        np.testing.assert_array_equal(picture.pixels, WHOLE[kind].pixels)


@FUZZ
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
)  # fmt: skip
def test_mutated_bytes_give_a_picture_or_a_named_error(kind, changes, at_start):
    data = bytearray(SAMPLES[kind])
    for share, value in changes:
        data[int(share * (min(len(data), 400) if at_start else len(data)))] = value
    try:
        picture = read_picture(bytes(data), max_pixels=1 << 20)
    except PictureError as error:
        assert error.status in ("unreadable", "unsupported", "too_large")
        return
    assert isinstance(picture, Picture)
    assert picture.pixels.ndim == 3
    assert picture.pixels.size > 0


@FUZZ
@given(st.binary(max_size=300), st.sampled_from([data[:12] for data in SAMPLES.values()]))
def test_any_bytes_give_a_named_error(data, signature):
    for attempt in (data, signature + data):
        with pytest.raises(PictureError):
            read_picture(attempt, max_pixels=1 << 20)
