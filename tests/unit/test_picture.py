"""read_picture: exact pixels of every kind that is read, a named refusal of every other."""

from __future__ import annotations

import io
import itertools
import pickle
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samfleet.picture import Picture, PictureError, read_picture

GIVEN_DATA = Path(__file__).parents[3] / "shared" / "data"
RNG = np.random.default_rng(4)
GREY8 = RNG.integers(0, 256, (23, 37), np.uint8)
GREY16 = RNG.integers(0, 65536, (23, 37), np.uint16)
RGB8 = RNG.integers(0, 256, (23, 37, 3), np.uint8)
RGB16 = RNG.integers(0, 65536, (23, 37, 3), np.uint16)
SMOOTH8 = cv2.GaussianBlur(RNG.integers(0, 256, (48, 64, 3), np.uint8), (9, 9), 0)


def tiff(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def opencv(extension: str, pixels: np.ndarray, *options: int) -> bytes:
    """Encoded by OpenCV from red, green, blue."""
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
    """PNG of (height, width, samples per pixel), for the kinds that no encoder at hand writes."""
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
    """An EXIF block that holds an orientation."""
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 274, 3, 1, orientation, 0) + bytes(4)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows of pixels that are stored with this orientation (TIFF 6.0, page 36)."""
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


def check(data: bytes, expected: np.ndarray, is_color: bool = False, plane: str = "", **options):
    picture = read_picture(data, **options)
    if expected.ndim == 2:
        expected = expected[:, :, np.newaxis]
    assert picture.pixels.dtype == expected.dtype
    assert picture.pixels.dtype.isnative
    assert picture.pixels.flags.c_contiguous
    assert picture.pixels.flags.writeable
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.is_color is is_color
    assert picture.plane == plane


def refused(data: bytes, status: str, words: str = "", **options) -> None:
    with pytest.raises(PictureError) as caught:
        read_picture(data, **options)
    assert (caught.value.status, words in caught.value.reason) == (status, True), caught.value
    assert "\n" not in caught.value.reason


# --- what is not a picture ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", "unreadable", "the file is empty"),
        (bytes(5000), "unreadable", "all 5000 bytes are zero"),
        (b"\x89PNG", "unreadable", "ends after 4 bytes"),
        (b"hello, this is no picture\n", "unsupported", "text that begins b'hello"),
        (b"<!DOCTYPE html><p>404", "unsupported", "HTML"),
        (b"%PDF-1.7\n", "unsupported", "PDF"),
        (b"PK\x03\x04" + bytes(50), "unsupported", "ZIP"),
        (b"ZISRAWFILE" + bytes(50), "unsupported", "CZI"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "unsupported", "HDF5"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "unsupported", "OLE2"),
        (bytes(128) + b"DICM" + bytes(9), "unsupported", "DICOM"),
        (bytes([7, 200, 31, 9] * 9), "unsupported", "first bytes are 07 c8 1f 09"),
        (b"P5 2 2 255\nabcd", "unsupported", "Netpbm"),
        (b"\0\0\0\x1cftypavif" + bytes(50), "unsupported", "AVIF"),
        (b"BMW is a car, and this is a text about it, long enough", "unsupported", "BMP of a version"),
    ],
)  # fmt: skip
def test_other_bytes_are_refused_in_words(data, status, words):
    refused(data, status, words)


def test_error_survives_pickling_and_is_one_line():
    error = pickle.loads(pickle.dumps(PictureError("unreadable", "two\nlines")))
    assert (error.status, error.reason, str(error)) == (
        "unreadable",
        "two lines",
        "unreadable: two lines",
    )


def test_the_extension_plays_no_part_and_bytearrays_do():
    check(bytearray(opencv(".png", GREY8)), GREY8)


# --- PNG ------------------------------------------------------------------------------------


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


def test_png_animation_gives_the_still_picture():
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    check(png(RGB8, 8, 2, control), RGB8, True, "the still picture of an animation of 2 frames")


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


# --- JPEG -----------------------------------------------------------------------------------

JPEGS = {
    "color": opencv(".jpg", SMOOTH8),
    "grey": opencv(".jpg", SMOOTH8[:, :, 0]),
    "progressive": opencv(".jpg", SMOOTH8, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": opencv(".jpg", SMOOTH8, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "no subsampling": opencv(".jpg", SMOOTH8, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111),
}


def decoded_by_opencv(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR)
    return pixels if pixels.ndim == 2 else pixels[:, :, ::-1]


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
    pixels = read_picture(data).pixels
    assert pixels.dtype == np.uint16
    assert np.abs(pixels[:, :, 0].astype(int) - smooth).max() < 8


def test_jpeg_without_its_height_is_unsupported():
    data = bytearray(JPEGS["color"])
    struct.pack_into(">H", data, data.index(b"\xff\xc0") + 5, 0)
    refused(bytes(data), "unsupported", "height")


def test_jpeg_stored_as_rgb_stays_rgb():
    data = imagecodecs.jpeg_encode(SMOOTH8, level=100, colorspace="RGB", outcolorspace="RGB")
    picture = read_picture(data)
    assert picture.is_color
    assert np.abs(picture.pixels.astype(int) - SMOOTH8).max() <= 2


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


# --- other formats --------------------------------------------------------------------------


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
    picture = imagecodecs.webp_encode(RGB8, lossless=True)[12:]
    body = exif(orientation)
    size = (RGB8.shape[1] - 1).to_bytes(3, "little") + (RGB8.shape[0] - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<II", 10, 8) + size + picture + b"EXIF" + struct.pack("<I", len(body)) + body  # fmt: skip
    data = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    check(data, turned(RGB8, orientation), is_color=True)


def test_webp_animation_gives_its_first_frame():
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(RGB8[:, :, ::-1]), 255 - RGB8]
    animation.durations = [100, 100]
    done, data = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert done
    picture = read_picture(data.tobytes())
    assert picture.plane == "frame 0 of an animation of 2"
    np.testing.assert_array_equal(picture.pixels, RGB8)
    refused(data.tobytes(), "unsupported", "has 1 page", page=1)


def test_gif_gives_its_first_frame():
    frames = RNG.integers(0, 256, (3, 9, 12), np.uint8)
    picture = read_picture(imagecodecs.gif_encode(frames))
    assert picture.plane == "frame 0 of 3"
    np.testing.assert_array_equal(picture.pixels, np.repeat(frames[0][:, :, None], 3, axis=2))
    data = imagecodecs.gif_encode(frames[0])
    for end in range(1, len(data)):
        refused(data[:end], "unreadable")
    refused(data, "unsupported", "frame 0", page=1)


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


# --- TIFF: samples --------------------------------------------------------------------------

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiff_keeps_every_value(dtype, byteorder):
    pixels = np.frombuffer(RNG.bytes(23 * 37 * 8), dtype)[: 23 * 37].reshape(23, 37)
    check(tiff(pixels, byteorder=byteorder), pixels)
    check(tiff(pixels, byteorder=byteorder, compression="zlib", rowsperstrip=5), pixels)


def test_tiff_half_floats_become_floats_and_complex_is_unsupported():
    half = GREY8.astype(np.float16) / 7
    check(tiff(half), half.astype(np.float32))
    refused(tiff(GREY8.astype(np.complex64)), "unsupported", "complex64")


def test_tiff_keeps_nan_and_infinity():
    pixels = GREY8.astype(np.float32)
    pixels[0, :3] = np.nan, np.inf, -np.inf
    check(tiff(pixels), pixels)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": compression, "predictor": predictor}
        for compression in ("zlib", "lzw", "lzma", "zstd")
        for predictor in (False, True)
    ]
    + [
        {"compression": "packbits"},
        {"compression": "jpeg2000", "compressionargs": {"level": 0}},
        {"tile": (16, 16)},
        {"tile": (16, 32), "compression": "zlib", "predictor": True},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "lzw", "tile": (16, 16)},
        {"bigtiff": True, "rowsperstrip": 4},
        {"byteorder": ">", "compression": "zlib", "predictor": True},
    ],
)
def test_tiff_layouts(options):
    pixels = RGB16
    if options.get("planarconfig") == "separate":
        pixels = np.moveaxis(pixels, 2, 0)
    check(tiff(pixels, photometric="rgb", **options), RGB16, is_color=True)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_tiff_of_few_bits_fills_the_range(bits, photometric):
    samples = (GREY8 >> (8 - bits)).astype(np.uint8)
    stored = samples.astype(bool) if bits == 1 else samples
    options = {} if bits == 1 else {"bitspersample": bits}
    expected = samples * np.uint8(255 // (2**bits - 1))
    if photometric == "miniswhite":
        expected = 255 - expected
    check(tiff(stored, photometric=photometric, **options), expected)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_tiff_packed(bits):
    samples = GREY16 >> (16 - bits)
    check(tiff(samples, bitspersample=bits), samples)
    white = tiff(samples, bitspersample=bits, photometric="miniswhite")
    check(white, np.uint16(2**bits - 1) - samples)


def test_tiff_min_is_white():
    check(tiff(GREY8, photometric="miniswhite"), 255 - GREY8)
    check(tiff(GREY16, photometric="miniswhite"), 65535 - GREY16)
    signed = GREY16.view(np.int16)
    check(tiff(signed, photometric="miniswhite"), ~signed)
    floats = GREY8.astype(np.float32)
    check(tiff(floats, photometric="miniswhite"), floats)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [GREY16, RGB8])
def test_tiff_orientation(pixels, orientation):
    data = tiff(pixels, extratags=[(274, 3, 1, orientation, True)])
    check(data, turned(pixels, orientation), is_color=pixels.ndim == 3)


def with_palette(index: np.ndarray, bits: int, palette: np.ndarray) -> bytes:
    """A palette TIFF of 1 to 8 bits; tifffile writes only those of 8 and 16."""
    stored, options = (index.astype(bool), {}) if bits == 1 else (index, {"bitspersample": bits})
    tag = (320, 3, palette.size, palette.ravel().tolist(), True)
    data = tiff(stored, photometric="minisblack", extratags=[tag], **options)
    return data.replace(struct.pack("<HHIH", 262, 3, 1, 1), struct.pack("<HHIH", 262, 3, 1, 3))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiff_palette(bits):
    index = (GREY8 >> (8 - bits)).astype(np.uint8)
    palette = RNG.integers(0, 256, (3, 2**bits), np.uint8)
    for factor in (256, 257):
        data = with_palette(index, bits, palette.astype(np.uint16) * factor)
        check(data, palette.T[index], is_color=True)


def test_tiff_palette_of_16_bits_and_of_grey():
    palette = RNG.integers(0, 65536, (3, 256), np.uint16)
    check(tiff(GREY8, photometric="palette", colormap=palette), palette.T[GREY8], is_color=True)
    ramp = np.repeat(np.arange(255, -1, -1, dtype=np.uint16)[None] * 257, 3, axis=0)
    check(tiff(GREY8, photometric="palette", colormap=ramp), 255 - GREY8)


def test_tiff_alpha_is_dropped_and_other_samples_are_kept():
    rgba = RNG.integers(0, 65536, (23, 37, 4), np.uint16)
    for kind in ("unassalpha", "assocalpha", "unspecified"):
        data = tiff(rgba, photometric="rgb", extrasamples=[kind])
        check(data, rgba[:, :, :3], is_color=True)
    data = tiff(np.moveaxis(rgba, 2, 0), photometric="rgb", planarconfig="separate", extrasamples=["assocalpha"])  # fmt: skip
    check(data, rgba[:, :, :3], is_color=True)
    two = rgba[:, :, :2]
    grey = {"photometric": "minisblack", "planarconfig": "contig"}
    check(tiff(two, extrasamples=["unassalpha"], **grey), two[:, :, :1])
    check(tiff(two, extrasamples=["unspecified"], **grey), two)
    check(tiff(rgba, **grey), rgba)
    seven = RNG.integers(0, 256, (9, 8, 7), np.uint8)
    check(tiff(seven, photometric="rgb", extrasamples=["unspecified"] * 4), seven)


def test_tiff_jpeg():
    for options in ({}, {"tile": (32, 32)}, {"rowsperstrip": 16}):
        data = tiff(SMOOTH8, photometric="ycbcr", compression="jpeg", **options)
        check(data, decoded_by_opencv(data), is_color=True)
    grey = SMOOTH8[:, :, 1]
    data = tiff(grey, compression="jpeg", compressionargs={"level": 100})
    assert np.abs(read_picture(data).pixels[:, :, 0].astype(int) - grey).max() <= 2


@pytest.mark.parametrize(
    ("photometric", "words"), [(5, "CMYK"), (8, "Lab"), (9, "Lab"), (32803, "filter array")]
)
def test_tiff_color_models_that_are_not_read(photometric, words):
    pixels = np.dstack([RGB8, GREY8]) if photometric == 5 else RGB8
    data = tiff(pixels, photometric="rgb" if photometric != 5 else "separated")
    if photometric != 5:
        data = data.replace(struct.pack("<HHIH", 262, 3, 1, 2), struct.pack("<HHIH", 262, 3, 1, photometric))  # fmt: skip
    refused(data, "unsupported", words)


# --- TIFF: planes ---------------------------------------------------------------------------


def test_tiff_pages():
    stack = RNG.integers(0, 65536, (5, 23, 37), np.uint16)
    imagej = {"imagej": True, "metadata": {"axes": "ZYX"}}
    for options in ({}, {"metadata": None}, imagej, {"compression": "zlib"}):
        data = tiff(stack, photometric="minisblack", **options)
        for page in range(5):
            picture = read_picture(data, page=page)
            np.testing.assert_array_equal(picture.pixels[:, :, 0], stack[page])
            assert picture.plane.startswith(f"page {page} of 5")
        refused(data, "unsupported", "has 5", page=5)


def test_tiff_pages_of_different_kinds():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels in (GREY8, RGB16, GREY16[:10]):
            writer.write(pixels, metadata=None, compression="zlib")
    data = file.getvalue()
    check(data, GREY8, plane="page 0 of 3")
    check(data, RGB16, True, "page 1 of 3", page=1)
    check(data, GREY16[:10], plane="page 2 of 3", page=2)


def test_tiff_pyramid_gives_the_full_resolution():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY16[::2, ::2], metadata=None, subfiletype=1)
        writer.write(GREY16, metadata=None)
        writer.write(GREY16[::4, ::4], metadata=None, subfiletype=1)
    check(file.getvalue(), GREY16)
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(GREY16, subifds=1, metadata={"axes": "YX"})
        writer.write(GREY16[::2, ::2], subfiletype=1)
    check(file.getvalue(), GREY16)


HYPERSTACK = RNG.integers(0, 65536, (2, 3, 4, 11, 13), np.uint16)


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("TZCYX", {"imagej": True}),
        ("TZCYX", {"ome": True}),
        ("TCZYX", {"ome": True}),
        ("TZCYX", {"ome": True, "compression": "zlib", "tile": (16, 16)}),
        ("TZCYX", {"imagej": True, "truncate": True}),
        ("TZCYX", {"truncate": True}),
        ("TCZYX", {"truncate": True, "byteorder": ">"}),
    ],
)
def test_hyperstack_gives_all_channels_of_one_plane(axes, options):
    data = tiff(HYPERSTACK, photometric="minisblack", metadata={"axes": axes}, **options)
    sizes = dict(zip(axes, HYPERSTACK.shape, strict=True))
    page = 0
    for t, z in itertools.product(range(sizes["T"]), range(sizes["Z"])):
        index = tuple({"T": t, "Z": z, "C": slice(None)}[axis] for axis in axes[:3])
        plane = f"page {page} of {sizes['T'] * sizes['Z']} (T={t}, Z={z})"
        check(data, np.moveaxis(HYPERSTACK[index], 0, 2), plane=plane, page=page)
        page += 1
    refused(data, "unsupported", f"has {page}", page=page)


@pytest.mark.parametrize("options", [{"ome": True}, {"imagej": True}])
def test_three_channels_are_no_color_unless_they_are_stored_as_rgb(options):
    channels = np.moveaxis(RGB8, 2, 0)
    data = tiff(channels, photometric="minisblack", metadata={"axes": "CYX"}, **options)
    check(data, RGB8)
    check(tiff(RGB8, photometric="rgb", metadata={"axes": "YXS"}, **options), RGB8, is_color=True)


def test_volume_within_one_page():
    volume = RNG.integers(0, 256, (16, 16, 32), np.uint8)
    data = tiff(volume, photometric="minisblack", volumetric=True, tile=(16, 16, 16), metadata=None)
    for page in (0, 5, 15):
        check(data, volume[page], plane=f"page {page} of 16", page=page)
    refused(data, "unsupported", "has 16", page=16)


def test_ome_that_points_to_other_files_reads_what_is_here(tmp_path, monkeypatch):
    data = tiff(GREY8, ome=True, metadata={"axes": "YX"})
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        text = file.pages.first.description
    planes = '<TiffData IFD="0" FirstZ="0" PlaneCount="1"><UUID FileName="a.tif">urn:uuid:a</UUID></TiffData>'  # fmt: skip
    planes += planes.replace('FirstZ="0"', 'FirstZ="1"').replace("a.tif", "b.tif").replace("uuid:a", "uuid:b")  # fmt: skip
    start, end = text.index("<TiffData"), text.index("</Pixels>")
    text = (text[:start] + planes + text[end:]).replace('SizeZ="1"', 'SizeZ="2"')
    text = text.replace("<OME ", '<OME UUID="urn:uuid:a" ', 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.tif").write_bytes(tiff(255 - GREY8))
    plane = "page 0 of 1 in this file; its OME metadata name planes in other files"
    data = tiff(GREY8, description=text.encode(), metadata=None)
    check(data, GREY8, plane=plane)
    refused(data, "unsupported", "has 1", page=1)


def hand_made_tiff(tags: dict[int, tuple[int, int, bytes | int]], data: bytes) -> bytes:
    """TIFF of one page from {tag: (type, count, value or bytes)}; tag 273 will point to `data`."""
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


def page_tags(pixels: np.ndarray, photometric: int, compression: int, size: int) -> dict:
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    numbers = {254: 0, 256: width, 257: height, 259: compression, 262: photometric, 273: 0, 277: samples, 278: height, 279: size}  # fmt: skip
    tags = {tag: (4, 1, number) for tag, number in numbers.items()}
    return tags | {258: (3, 1, 8 * pixels.itemsize)}


def test_metamorph_stack_has_one_header_for_all_planes():
    stack = RNG.integers(0, 65536, (4, 23, 37), np.uint16)
    plane = struct.pack("<6I", 1, 1, 2450000, 0, 2450000, 0)
    tags = page_tags(stack[0], 1, 1, stack[0].nbytes)
    tags[33628] = (4, 1, struct.pack("<II", 0, 0))
    tags[33629] = (5, 4, plane * 4)
    data = hand_made_tiff(tags, stack.tobytes())
    for page in range(4):
        check(data, stack[page], plane=f"page {page} of 4 (Z={page})", page=page)
    refused(data, "unsupported", "has 4", page=4)
    refused(data[:-1], "unreadable", "truncated", page=3)


def test_zeiss_lsm_has_channels_though_it_says_rgb_and_thumbnails_that_do_not_count():
    channels = RNG.integers(0, 256, (3, 23, 37), np.uint8)
    info = struct.pack("<10i6dH", 0x0400494C, 512, 37, 23, 1, 3, 1, 1, 37, 23, *[1e-7] * 6, 0)
    tags = page_tags(np.moveaxis(channels, 0, 2), 2, 1, 23 * 37)
    plane_size = channels[0].size
    tags |= {
        258: (3, 3, struct.pack("<4H", 8, 8, 8, 0)),
        284: (3, 1, 2),
        34412: (1, 512, info.ljust(512, b"\0")),
    }
    tags[279] = (4, 3, struct.pack("<3I", *[plane_size] * 3))
    start = 8 + 2 + 12 * (len(tags)) + 4 + 8 + 512 + 12 + 12
    tags[273] = (4, 3, struct.pack("<3I", *(start + plane * plane_size for plane in range(3))))
    first = bytearray(hand_made_tiff(tags, channels.tobytes()))
    struct.pack_into("<I", first, 8 + 2 + 12 * len(tags), len(first))
    small = page_tags(channels[0, ::4, ::4], 1, 1, channels[0, ::4, ::4].size)
    small[254] = (4, 1, 1)
    second = hand_made_tiff(small, b"")[8:]
    at = second.index(struct.pack("<HHI", 273, 4, 1)) + 8
    data = bytearray(first + second)
    struct.pack_into("<I", data, len(first) + at, len(data))
    data += channels[0, ::4, ::4].tobytes()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert [one.kind for one in file.series] == ["lsm", "lsm"]
    check(bytes(data), np.moveaxis(channels, 0, 2))
    refused(bytes(data), "unsupported", "has 1 page", page=1)


@pytest.mark.parametrize("photometric", [1, 6])
def test_ndpi_is_one_jpeg(photometric):
    pixels = SMOOTH8 if photometric == 6 else SMOOTH8[:, :, 0]
    options = (cv2.IMWRITE_JPEG_RST_INTERVAL, 2, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)
    jpeg = opencv(".jpg", pixels, *options)
    scan = jpeg.index(b"\xff\xda")
    scan += 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
    starts = [scan] + [at + 2 for at in range(scan, len(jpeg)) if jpeg[at] == 0xFF and 0xD0 <= jpeg[at + 1] < 0xD8]  # fmt: skip
    tags = page_tags(pixels, photometric, 7, len(jpeg))
    tags[271] = (2, 10, b"Hamamatsu\0")
    tags[65420] = (4, 1, 1)
    tags[65426] = (4, len(starts), struct.pack(f"<{len(starts)}I", *starts))
    data = hand_made_tiff(tags, jpeg)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.is_ndpi
        assert file.pages.first.jpegheader
    check(data, decoded_by_opencv(jpeg), is_color=photometric == 6)
    short = jpeg[: starts[5]] + jpeg[starts[6] :]
    refused(hand_made_tiff(tags, short + bytes(200)), "unreadable", "restart")


def test_slide_gives_the_full_resolution():
    slide = np.tile(SMOOTH8, (3, 4, 1))
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for step, kind in ((1, 0), (4, 0), (2, 0), (8, 1), (8, 9)):
            words = "Aperio Image Library v11.2.1 \r\n256x144 (64x64) JPEG/RGB Q=70|AppMag = 20"
            layout = {"tile": (64, 64), "compression": "zlib"} if step < 4 else {}
            pixels = slide[::step, ::step]
            writer.write(pixels, subfiletype=kind, description=words, metadata=None, **layout)
    check(file.getvalue(), slide, True, "page 0 of 2")
    check(file.getvalue(), slide[::4, ::4], True, "page 1 of 2", page=1)


def test_axes_of_the_same_name_are_counted_all():
    stack = RNG.integers(0, 256, (2, 6, 23, 37), np.uint8)
    data = tiff(stack, photometric="minisblack", metadata={"axes": "QQYX"})
    check(data, stack[1, 3], plane="page 9 of 12 (Q=1, Q=3)", page=9)


def test_color_model_that_is_not_stated_is_guessed_from_the_samples():
    for pixels, stated in ((GREY8, 1), (RGB8, 2)):
        data = tiff(pixels, metadata=None)
        entry = struct.pack("<HHIH", 262, 3, 1, stated)
        assert entry in data
        data = data.replace(entry, struct.pack("<HHIH", 60000, 3, 1, stated))
        check(data, pixels, is_color=pixels.ndim == 3)


def test_ome_metadata_that_do_not_fit_the_pages_leave_the_pages():
    stack = RNG.integers(0, 65536, (5, 23, 37), np.uint16)
    data = tiff(stack, photometric="minisblack", ome=True, metadata={"axes": "TYX"})
    for right, wrong in (
        (b'SizeT="5"', b'SizeT="9"'),
        (b"<Pixels", b"<Pixals"),
        (b"<OME ", b"<EMO "),
    ):
        assert right in data
        check(data.replace(right, wrong), stack[4], plane="page 4 of 5", page=4)


# --- TIFF: damage ---------------------------------------------------------------------------

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


def with_data_moved_to_the_end(data: bytes, keep: float = 1.0) -> bytes:
    """Strips and tiles behind everything else, as many writers have it, cut there."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        start = min(page.dataoffsets)
        size = sum(page.databytecounts)
        tag = page.tags.get(324) or page.tags[273]
        moved = bytearray(data)
        position = len(moved)
        where = tag.valueoffset
        code = {3: "<H", 4: "<I", 16: "<Q"}[tag.dtype]
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            struct.pack_into(code, moved, where, position)
            where += struct.calcsize(code)
            moved += data[offset : offset + count]
            position += count
    assert start > 0
    return bytes(moved[: len(moved) - size + int(size * keep)])


@pytest.mark.parametrize("kind", TIFFS)
def test_tiff_cut_within_its_data_is_unreadable(kind):
    data, pixels = TIFFS[kind]
    check(with_data_moved_to_the_end(data), pixels, is_color=pixels.ndim == 3)
    for keep in (0, 0.3, 0.7, 0.99):
        refused(with_data_moved_to_the_end(data, keep), "unreadable")


def test_tiff_strip_whose_data_end_early():
    for compression in ("zlib", "lzw", "packbits", "lzma", "zstd", "jpeg"):
        data = tiff(SMOOTH8[:, :, 0], compression=compression, metadata=None)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tag = file.pages.first.tags[279]
            count = tag.value[0]
        cut = bytearray(data)
        struct.pack_into({3: "<H", 4: "<I"}[tag.dtype], cut, tag.valueoffset, count * 2 // 3)
        refused(bytes(cut), "unreadable")
        struct.pack_into({3: "<H", 4: "<I"}[tag.dtype], cut, tag.valueoffset, 0)
        refused(bytes(cut), "unreadable", "missing")


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(("pages", "back"), [(1, 0), (3, 0), (3, 1), (3, 2), (150, 0), (150, 120)])
def test_tiff_whose_list_of_pages_loops(pages, back, bigtiff):
    stack = RNG.integers(0, 256, (pages, 4, 5), np.uint8)
    data = tiff(stack, photometric="minisblack", metadata=None, bigtiff=bigtiff)
    starts, at = [], 8 if bigtiff else 4
    pointer, count, entry = ("<Q", "<Q", 20) if bigtiff else ("<I", "<H", 12)
    while start := struct.unpack_from(pointer, data, at)[0]:
        starts.append(start)
        at = start + struct.calcsize(count) + entry * struct.unpack_from(count, data, start)[0]
    looped = bytearray(data)
    struct.pack_into(pointer, looped, at, starts[back])
    for page in (0, pages - 1):
        plane = f"page {page} of {pages}" if pages > 1 else ""
        check(bytes(looped), stack[page], page=page, plane=plane)
    struct.pack_into(pointer, looped, at, len(data))
    refused(bytes(looped), "unreadable", "beyond its end")


def test_tiff_cut_within_its_header_is_unreadable():
    # Without the bits of each sample it would be read as a picture of 1 bit.
    for bigtiff in (False, True):
        data = tiff(np.dstack([RGB8] * 2), photometric="minisblack", planarconfig="contig", metadata=None, bigtiff=bigtiff)  # fmt: skip
        code = ("<HHQ" if bigtiff else "<HHI", 258, 3, 6)
        at = data.index(struct.pack(*code)) + struct.calcsize(code[0])
        size = 8 if bigtiff else 4
        place = int.from_bytes(data[at : at + size], "little")
        moved = data[:at] + struct.pack("<Q", len(data))[:size] + data[at + size :]
        check(moved + data[place : place + 12], np.dstack([RGB8] * 2))
        for kept in range(12):
            refused(moved + data[place : place + kept], "unreadable", "header")


# --- bounds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        opencv(".png", RGB8),
        opencv(".jpg", RGB8),
        opencv(".bmp", RGB8),
        imagecodecs.webp_encode(RGB8, lossless=True),
        imagecodecs.jpeg2k_encode(RGB8, level=0),
        imagecodecs.gif_encode(GREY8),
        tiff(RGB8),
        tiff(RGB8, compression="zlib"),
        tiff(RGB8, ome=True),
    ],
)
def test_max_pixels(data):
    assert read_picture(data, max_pixels=23 * 37).pixels.shape == (23, 37, 3)
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
    assert read_picture(data, max_pixels=72 * 20).pixels.shape == (8, 9, 40)
    refused(data, "too_large", "40 channels", max_pixels=72 * 20 - 1)


def test_sizes_within_strips_and_frames_are_bounded_too():
    large = imagecodecs.jpeg2k_encode(np.zeros((300, 300), np.uint8), level=0, codecformat="j2k")
    tags = page_tags(GREY8, 1, 34712, len(large))
    refused(hand_made_tiff(tags, large), "too_large", "300 x 300", max_pixels=1000)
    large = opencv(".jpg", np.zeros((300, 300), np.uint8))
    tags = page_tags(GREY8, 1, 7, len(large))
    refused(hand_made_tiff(tags, large), "too_large", "300 x 300", max_pixels=1000)
    data = imagecodecs.gif_encode(np.zeros((20, 10, 10), np.uint8))
    assert read_picture(data, max_pixels=250).plane == "frame 0 of 20"
    refused(data, "too_large", "frames", max_pixels=249)


def test_negative_page_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="page"):
        read_picture(opencv(".png", GREY8), page=-1)


def test_a_page_that_is_not_there_is_unsupported():
    for data in (opencv(".png", GREY8), opencv(".jpg", GREY8), opencv(".bmp", GREY8), tiff(GREY8)):
        refused(data, "unsupported", "has 1", page=1)


# --- truncation and mutation ----------------------------------------------------------------

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


def test_nothing_is_logged(caplog):
    data = tiff(GREY8, ome=True).replace(b'SizeY="23"', b'SizeY="24"')
    check(data, GREY8)
    assert not caplog.records
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.series
    assert caplog.records  # there was something to be quiet about, and others still hear it


# --- the given files ------------------------------------------------------------------------

# File: shape, dtype, smallest, largest, mean, colour, words of the plane.
# fmt: off
NASTY = {
    "  leading space;semi&amp'quote.png": ((150, 162, 3), 'uint8', 0, 255, 14.477874, True, ''),
    '10ct_32bit_128.tiff': ((128, 128, 1), 'float32', -3.14093685, 3.14068413, 0.15691304, False, ''),
    '1_trns.png': ((64, 64, 1), 'uint8', 0, 255, 124.13818, False, ''),
    'Olympus μ Digital 800.JPG': ((768, 1024, 3), 'uint8', 0, 255, 100.25019, True, ''),
    'UPPER.PNG': ((10, 10, 1), 'uint8', 25, 250, 137.5, False, ''),
    'block.png': ((10, 10, 3), 'uint8', 0, 255, 79.893333, True, ''),
    'chessboard_GRAY_U16B.tif': ((200, 200, 1), 'uint16', 0, 255, 127.5, False, ''),
    'g4-multi.tiff': ((4677, 3307, 1), 'uint8', 0, 255, 254.9681, False, 'page 0 of 3'),
    'gradient-1c-32b-float.tiff': ((1, 256, 1), 'float32', 0.000893527642, 0.998265147, 0.50012469, False, ''),
    'gradient-1c-64b.tiff': ((1, 256, 1), 'uint64', 3837672, 4287516159, 2.1480192e+09, False, ''),
    'hopper_bigtiff.tif': ((128, 128, 3), 'uint8', 0, 255, 88.391134, True, ''),
    'hopper_lzma.tif': ((128, 128, 3), 'uint8', 0, 255, 88.391134, True, ''),
    'hopper_orientation_8.jpg': ((128, 128, 3), 'uint8', 0, 255, 88.362223, True, ''),
    'i_trns.png': ((64, 64, 1), 'uint16', 0, 255, 123.91162, False, ''),
    'int16.tif': ((64, 64, 1), 'int16', -5000, 4998, 86.522461, False, ''),
    'int8.tif': ((64, 64, 1), 'int8', -128, 127, 0.75952148, False, ''),
    'junk_jpeg_header.jpg': ((768, 1024, 3), 'uint8', 0, 255, 116.58105, True, ''),
    'miniswhite-1c-1b.tiff': ((151, 157, 1), 'uint8', 0, 255, 127.49462, False, ''),
    'multifile-Z1.ome.tiff': ((24, 18, 1), 'uint8', 0, 255, 218.99306, False, 'page 0 of 1 in this file; its OME metadata name planes in other files'),
    'multipage_out_of_order.tiff': ((10, 10, 3), 'uint8', 0, 128, 42.666667, True, 'page 0 of 3'),
    'multipage_single_frame_loop.tiff': ((10, 10, 3), 'uint8', 0, 128, 42.666667, True, ''),
    'orientation_rectangle.jpg': ((2, 1, 3), 'uint8', 0, 254, 84.666667, True, ''),
    'palette-1c-8b.tiff': ((151, 157, 3), 'uint16', 0, 59726, 28482.555, True, ''),
    'pil123p.png': ((150, 162, 3), 'uint8', 0, 254, 14.281591, True, ''),
    'png_named.jpg': ((150, 162, 3), 'uint8', 0, 255, 14.477874, True, ''),
    'random-fp16.tiff': ((16, 16, 1), 'float32', 0.384765625, 1.0, 0.83388805, False, ''),
    'shapes_hyper.tif': ((72, 128, 7), 'float32', 0.0, 1.0, 0.51591423, False, ''),
    'shapes_multi_color.tif': ((72, 128, 3), 'uint8', 0, 255, 213.46897, True, 'page 0 of 5'),
    'tiff_16bit_RGB.tiff': ((40, 100, 3), 'uint16', 0, 39661, 7995.4911, True, ''),
    'tiff_strip_planar_16bit_RGBa.tiff': ((40, 100, 3), 'uint16', 0, 39661, 7995.4911, True, ''),
    'time-series.ome.tif': ((167, 439, 1), 'int8', -1, 96, 47.525091, False, 'page 0 of 7 (T=0)'),
    'uncompressed_la.png': ((128, 128, 1), 'uint8', 0, 255, 46.728943, False, ''),
    'zellkerne µm β-actin (ü) 100%.png': ((150, 162, 3), 'uint8', 0, 255, 14.477874, True, ''),
}
NASTY_REFUSED = {
    "15-07-06_8_M1_A1Te3_67_H_61_4x1_Blaze[00 x 00]_C00.ome.tif": ("unreadable", "empty"),
    "broken_data_stream.png": ("unreadable", "damaged"),
    "crash-4f085cc12ece8cde18758d42608bed6a2a2cfb1c.tif": ("unreadable", "truncated"),
    "ojpeg-strip.tif": ("unsupported", "old-style JPEG"),
    "pil_sample_cmyk.jpg": ("unsupported", "CMYK"),
    "skimage_truncated.jpg": ("unreadable", "truncated"),
    "truncated_image.png": ("unreadable", "truncated"),
}
WITHOUT_GROUND_TRUTH = {
    '01_POS002_F.TIF': ((1006, 1000, 1), 'uint8', 2, 172, 10.185109, False, ''),
    '0_1_N_G.png': ((1040, 1392, 1), 'uint16', 23808, 65535, 36164.985, False, ''),
    '1-162hrh2ax2.tif': ((1000, 1200, 1), 'uint16', 628, 4095, 787.18449, False, ''),
    '101210OranePlt1_C16_w1_[9AA4D9EA-18E4-4354-8C7D-0202029A8048].tif': ((520, 696, 1), 'uint16', 90, 1709, 492.42104, False, ''),
    '101210OranePlt1_C16_w3_[E3E9B145-D9B7-49E1-8159-496F065708F7].tif': ((520, 696, 1), 'uint16', 105, 1052, 122.44706, False, ''),
    '30-2A1f.jpg': ((1200, 1600, 3), 'uint8', 0, 255, 1.0125658, True, ''),
    'AS_09125_050116030001_D03f00d0.tif': ((512, 512, 1), 'uint8', 7, 255, 17.29446, False, ''),
    'AS_09125_050116030001_D03f00d2.tif': ((512, 512, 1), 'uint8', 2, 255, 28.358097, False, ''),
    'BPAE_nuclei.tif': ((680, 1100, 1), 'float32', 210.0, 6193.0, 650.19304, False, ''),
    'Channel 2-01-A-01-00.tif': ((1024, 1360, 1), 'uint8', 5, 255, 14.434338, False, ''),
    'CometTails.tif': ((1040, 1388, 1), 'uint8', 0, 255, 3.7624148, False, ''),
    'FluorescentCells.jpg': ((193, 193, 3), 'uint8', 0, 255, 41.346819, True, ''),
    'NucleiDAPIconfocal.png': ((520, 502, 1), 'uint8', 5, 255, 94.648169, False, ''),
    'chromosomes.tif': ((1040, 1388, 3), 'uint8', 1, 254, 13.177307, True, ''),
    'hela-cells.tif': ((512, 672, 3), 'uint16', 0, 4095, 381.24733, True, ''),
    'membrane2d.tif': ((256, 256, 1), 'uint16', 277, 44092, 2505.8214, False, ''),
    'zebrafish-spinal-cord.png': ((1024, 1024, 1), 'uint16', 160, 2481, 326.36424, False, ''),
}
# fmt: on
needs_data = pytest.mark.skipif(not GIVEN_DATA.is_dir(), reason="no ../shared/data")


def check_statistics(file: Path, expected: tuple) -> None:
    picture = read_picture(file.read_bytes())
    pixels = picture.pixels
    shape, dtype, smallest, largest, mean, is_color, plane = expected
    assert (pixels.shape, pixels.dtype) == (shape, np.dtype(dtype))
    assert (picture.is_color, picture.plane) == (is_color, plane)
    assert (pixels.min(), pixels.max()) == pytest.approx((smallest, largest), rel=1e-6)
    assert float(pixels.mean(dtype=np.float64)) == pytest.approx(mean, rel=1e-5)


@needs_data
@pytest.mark.parametrize("name", NASTY)
def test_nasty_pictures(name):
    check_statistics(GIVEN_DATA / "nasty" / name, NASTY[name])


@needs_data
@pytest.mark.parametrize("name", NASTY_REFUSED)
def test_nasty_pictures_that_are_refused(name):
    refused((GIVEN_DATA / "nasty" / name).read_bytes(), *NASTY_REFUSED[name])


@needs_data
@pytest.mark.parametrize("name", WITHOUT_GROUND_TRUTH)
def test_pictures_without_ground_truth(name):
    check_statistics(GIVEN_DATA / "fluorescence" / "images_nogt" / name, WITHOUT_GROUND_TRUTH[name])


@needs_data
def test_no_given_file_is_forgotten():
    nasty = {file.name for file in (GIVEN_DATA / "nasty").iterdir()} - {"SOURCES.tsv"}
    assert nasty == {*NASTY, *NASTY_REFUSED}
    others = {file.name for file in (GIVEN_DATA / "fluorescence" / "images_nogt").iterdir()}
    assert others == {*WITHOUT_GROUND_TRUTH}
