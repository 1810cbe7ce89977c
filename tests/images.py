"""Image files of every kind as bytes, and checks of what reading them gives."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile

from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import ImageError

RNG = np.random.default_rng(4)
GREY8 = RNG.integers(0, 256, (23, 37), np.uint8)
GREY16 = RNG.integers(0, 65536, (23, 37), np.uint16)
RGB8 = RNG.integers(0, 256, (23, 37, 3), np.uint8)
RGB16 = RNG.integers(0, 65536, (23, 37, 3), np.uint16)
SMOOTH8 = cv2.GaussianBlur(RNG.integers(0, 256, (48, 64, 3), np.uint8), (9, 9), 0)
HYPERSTACK = RNG.integers(0, 65536, (2, 3, 4, 11, 13), np.uint16)


def tiff(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def opencv(extension: str, pixels: np.ndarray, *options: int) -> bytes:
    """Encode grey, RGB or RGBA pixels with OpenCV."""
    if pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    done, encoded = cv2.imencode(extension, np.ascontiguousarray(pixels), list(options))
    assert done
    return encoded.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples: np.ndarray, depth: int, color: int, extra: bytes = b"", interlace: int = 0
) -> bytes:
    """Encode (height, width, samples) as PNG, also in the kinds that OpenCV cannot write."""
    height, width = samples.shape[:2]
    passes = ((0, 0, 1, 1),)
    if interlace:
        passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip
    raw = b""
    for left, top, step_x, step_y in passes:
        part = samples[top::step_y, left::step_x]
        if part.size == 0:
            continue
        for row in part.reshape(part.shape[0], -1):
            bits = "".join(format(int(value), f"0{depth}b") for value in row)
            bits += "0" * (-len(bits) % 8)
            raw += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    )  # fmt: skip


def exif(orientation: int) -> bytes:
    """An EXIF block that states an orientation."""
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 274, 3, 1, orientation, 0) + bytes(4)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows of pixels stored with this orientation (TIFF 6.0, page 36)."""
    return {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: np.rot90,
    }[orientation](pixels)


def decoded_by_opencv(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR)
    return pixels if pixels.ndim == 2 else pixels[:, :, ::-1]


JPEGS = {
    "color": opencv(".jpg", SMOOTH8),
    "grey": opencv(".jpg", SMOOTH8[:, :, 0]),
    "progressive": opencv(".jpg", SMOOTH8, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": opencv(".jpg", SMOOTH8, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "no subsampling": opencv(".jpg", SMOOTH8, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111),
}
TIFFS = {
    "plain": (tiff(RGB16), RGB16),
    "strips": (tiff(RGB16, rowsperstrip=3), RGB16),
    "lzw": (tiff(RGB16, compression="lzw", rowsperstrip=7), RGB16),
    "zlib tiles": (tiff(RGB16, compression="zlib", tile=(16, 16)), RGB16),
    "packbits": (tiff(GREY8, compression="packbits"), GREY8),
    "lzma": (tiff(GREY16, compression="lzma"), GREY16),
    "jpeg2000": (tiff(RGB8, compression="jpeg2000", compressionargs={"level": 0}), RGB8),
    "ome": (tiff(GREY16, ome=True), GREY16),
    "imagej": (tiff(GREY16[:, :32], imagej=True, metadata={"Info": "x" * 99}), GREY16[:, :32]),
    "bilevel": (tiff(GREY8 > 99, photometric="minisblack"), (GREY8 > 99) * np.uint8(255)),
}


def page_tags(pixels: np.ndarray, photometric: int, compression: int, size: int) -> dict:
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    numbers = {254: 0, 256: width, 257: height, 259: compression, 262: photometric, 273: 0, 277: samples, 278: height, 279: size}  # fmt: skip
    tags = {tag: (4, 1, number) for tag, number in numbers.items()}
    return tags | {258: (3, 1, 8 * pixels.itemsize)}


def hand_made_tiff(tags: dict[int, tuple[int, int, bytes | int]], data: bytes) -> bytes:
    """Build a TIFF of one page from {tag: (type, count, value or bytes)}; tag 273 points to `data`."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, (kind, count, value) in sorted(tags.items()):
        if isinstance(value, bytes):
            values, value = values + value, start + len(values)
        entries += struct.pack("<HHII", tag, kind, count, value)
    head = struct.pack("<4sIH", b"II*\0", 8, len(tags))
    if tags[273][1] == 1:
        at = entries.index(struct.pack("<HHI", 273, 4, 1)) + 8
        entries = entries[:at] + struct.pack("<I", start + len(values)) + entries[at + 4 :]
    return head + entries + bytes(4) + values + data


def check(
    data: bytes,
    expected: np.ndarray,
    is_color: bool = False,
    plane: str = "",
    warning: str = "",
    **options,
):
    image = decode_image(data, **options)
    if expected.ndim == 2:
        expected = expected[:, :, np.newaxis]
    assert image.pixels.dtype == expected.dtype
    assert image.pixels.dtype.isnative
    assert image.pixels.flags.c_contiguous
    assert image.pixels.flags.writeable
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.is_color is is_color
    assert image.plane == plane
    assert warning in image.warning
    assert bool(image.warning) == bool(warning), image.warning


def refused(data: bytes, status: str, words: str = "", **options) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    assert (caught.value.status, words in caught.value.reason) == (status, True), caught.value
    assert "\n" not in caught.value.reason
