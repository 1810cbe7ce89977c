"""Read BMP files without compression."""

import struct

from samfleet.images.formats.image import Image, Limits, check_page, unreadable, unsupported
from samfleet.images.formats.opencv import decode_with_opencv, rgb_from_bgr

_MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)  # of red, green and blue


def read_bmp(data: bytes, page: int, limits: Limits) -> Image:
    if len(data) < 18:
        raise unreadable("the BMP is truncated")
    offset, header = struct.unpack_from("<II", data, 10)
    if not 40 <= header <= 124:
        raise unsupported("not an image, or a BMP version that is not supported")
    if len(data) < max(14 + header, 66):
        raise unreadable("the BMP is truncated")
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    limits.check(height, width, 4, 1)
    check_page(page)
    plain = compression == 0 and depth in (1, 4, 8, 24, 32)
    if not plain and not (compression == 3 and depth == 32 and data[54:66] == _MASKS):
        raise unsupported(f"a BMP of {depth} bits and compression {compression} is not supported")
    if offset + (width * depth + 31) // 32 * 4 * height > len(data):
        raise unreadable("the BMP is truncated")
    pixels = decode_with_opencv(data, height, width)
    is_color = pixels.ndim == 3 and pixels.shape[2] >= 3
    return Image(rgb_from_bgr(pixels) if is_color else pixels, is_color)
