"""decode_image: a truncated or mutated file gives an error or the exact image, never another."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import Image, ImageError
from tests.examples import examples
from tests.images import GREY8, GREY16, HYPERSTACK, JPEGS, RGB8, SMOOTH8, TIFFS, opencv, tiff

SAMPLES = {
    "png": opencv(".png", RGB8),
    "png 16": opencv(".png", GREY16),
    "jpeg": JPEGS["color"],
    "jpeg progressive": JPEGS["progressive"],
    "webp": imagecodecs.webp_encode(RGB8, lossless=True),
    "jpeg 2000": imagecodecs.jpeg2k_encode(RGB8, level=0),
    "bmp": opencv(".bmp", RGB8),
    **{f"tiff {kind}": data for kind, (data, _) in TIFFS.items()},
    "tiff hyperstack": tiff(HYPERSTACK, imagej=True, metadata={"axes": "TZCYX"}),
    "tiff jpeg": tiff(SMOOTH8, photometric="ycbcr", compression="jpeg", rowsperstrip=16),
    "tiff palette": tiff(GREY8, photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256)),
}  # fmt: skip
WHOLE = {kind: decode_image(data) for kind, data in SAMPLES.items()}
FUZZ = examples(250, derandomize=True, suppress_health_check=list(HealthCheck))


@FUZZ
@given(st.sampled_from(sorted(SAMPLES)), st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_gives_an_error_or_the_exact_image(kind, share):
    data = SAMPLES[kind]
    try:
        image = decode_image(data[: int(len(data) * share)])
    except ImageError:
        return
    np.testing.assert_array_equal(image.pixels, WHOLE[kind].pixels)


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_file_without_its_last_bytes_gives_an_error_or_the_exact_image(kind):
    data = SAMPLES[kind]
    for end in range(max(0, len(data) - 40), len(data)):
        try:
            image = decode_image(data[:end])
        except ImageError:
            continue
        np.testing.assert_array_equal(image.pixels, WHOLE[kind].pixels)


@FUZZ
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
)  # fmt: skip
def test_mutated_bytes_give_an_image_or_a_named_error(kind, changes, at_start):
    data = bytearray(SAMPLES[kind])
    for share, value in changes:
        data[int(share * (min(len(data), 400) if at_start else len(data)))] = value
    try:
        image = decode_image(bytes(data), max_pixels=1 << 20)
    except ImageError as error:
        assert error.status in ("unreadable", "unsupported", "too_large")
        return
    assert isinstance(image, Image)
    assert image.pixels.ndim == 3
    assert image.pixels.size > 0


@FUZZ
@given(st.binary(max_size=300), st.sampled_from([data[:12] for data in SAMPLES.values()]))
def test_any_bytes_give_a_named_error(data, signature):
    for attempt in (data, signature + data):
        with pytest.raises(ImageError):
            decode_image(attempt, max_pixels=1 << 20)
