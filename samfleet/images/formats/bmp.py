"""Read BMP files without compression."""

import struct

import numpy as np

from samfleet.images.formats.image import Image, Limits, Wanted, check_page, unreadable, unsupported
from samfleet.images.formats.opencv import decode_with_opencv, rgb_from_bgr
from samfleet.images.formats.palette import with_palette

_MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)  # of red, green and blue


def read_bmp(data: bytes, wanted: Wanted, limits: Limits) -> Image:
    if len(data) < 18:
        raise unreadable("the BMP is truncated")
    offset, header = struct.unpack_from("<II", data, 10)
    if not 40 <= header <= 124:
        raise unsupported("not an image, or a BMP version that is not supported")
    if len(data) < max(14 + header, 66):
        raise unreadable("the BMP is truncated")
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    bottom_up, height = height > 0, abs(height)
    limits.check(height, width, 4, 1)
    check_page(wanted.page)
    plain = compression == 0 and depth in (1, 4, 8, 24, 32)
    if not plain and not (compression == 3 and depth == 32 and data[54:66] == _MASKS):
        raise unsupported(f"a BMP of {depth} bits and compression {compression} is not supported")
    row_bytes = (width * depth + 31) // 32 * 4
    if offset + row_bytes * height > len(data):
        raise unreadable("the BMP is truncated")
    if depth > 8:
        return Image(rgb_from_bgr(decode_with_opencv(data, height, width)), True)
    rows = np.frombuffer(data, np.uint8, row_bytes * height, offset).reshape(height, row_bytes)
    index = _unpacked(rows[::-1] if bottom_up else rows, depth)[:, :width]
    entries = min(struct.unpack_from("<I", data, 46)[0] or 2**depth, 2**depth)
    colors = np.frombuffer(data, np.uint8, 4 * entries, 14 + header).reshape(-1, 4)[:, 2::-1]
    return with_palette(index, colors, depth, measured=False, lookup_table=wanted.lookup_table)


def _unpacked(rows: np.ndarray, depth: int) -> np.ndarray:
    """The numbers of 1, 4 or 8 bits in rows of bytes, the first in the highest bits."""
    bits = np.unpackbits(rows, axis=1).reshape(len(rows), -1, depth)
    return np.packbits(bits, axis=2)[:, :, 0] >> (8 - depth)
