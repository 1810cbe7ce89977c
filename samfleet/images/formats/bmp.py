"""BMP without compression."""

from __future__ import annotations

import struct

import numpy as np

from samfleet.images.formats.image import Limits, only_page, unreadable, unsupported
from samfleet.images.formats.opencv import decode_with_opencv, rgb_from_bgr

_BMP_MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)  # red, green, blue


def read_bmp(data: bytes, page: int, limits: Limits) -> tuple[np.ndarray, bool, str]:
    if len(data) < 18:
        raise unreadable("the BMP is truncated")
    offset, header = struct.unpack_from("<II", data, 10)
    if not 40 <= header <= 124:
        raise unsupported("not an image, or a BMP of a version that is not read")
    if len(data) < max(14 + header, 66):
        raise unreadable("the BMP is truncated")
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    limits.check(height, width, 4, 1)
    only_page(page, "a BMP")
    plain = compression == 0 and depth in (1, 4, 8, 24, 32)
    if not plain and not (compression == 3 and depth == 32 and data[54:66] == _BMP_MASKS):
        raise unsupported(f"a BMP of {depth} bits and compression {compression} is not read")
    if offset + (width * depth + 31) // 32 * 4 * height > len(data):
        raise unreadable("the BMP is truncated")
    pixels = decode_with_opencv(data, height, width)
    is_color = pixels.ndim == 3 and pixels.shape[2] >= 3
    return rgb_from_bgr(pixels) if is_color else pixels, is_color, ""
