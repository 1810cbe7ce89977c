"""Read WebP files; of an animation, the first frame."""

import struct

import imagecodecs

from samfleet.images.formats.image import Image, Limits, Wanted, check_page, unreadable
from samfleet.images.formats.orientation import exif_orientation, upright


def read_webp(data: bytes, wanted: Wanted, limits: Limits) -> Image:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise unreadable("the WebP is truncated")
    orientation, frames = 1, 0
    position = 12
    while position + 8 <= size + 8:
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")  # fmt: skip
        body = data[position + 8 : position + 8 + length]
        if kind in (b"VP8X", b"VP8 ", b"VP8L"):
            limits.check(*_size(kind, body), 4, 1)
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            orientation = exif_orientation(body)
        position += 8 + length + length % 2
    check_page(wanted.page)
    pixels = imagecodecs.webp_decode(data, index=0)
    plane = f"frame 0 of an animation of {frames}" if frames else ""
    return Image(upright(pixels[:, :, :3], orientation), True, plane)


def _size(kind: bytes, body: bytes) -> tuple[int, int]:
    """Height and width from the header of a WebP chunk."""
    if len(body) < 10:
        raise unreadable("the WebP is truncated")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[7:10], "little"), 1 + int.from_bytes(body[4:7], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    width, height = struct.unpack_from("<HH", body, 6)
    return height & 0x3FFF, width & 0x3FFF
