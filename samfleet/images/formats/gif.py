"""GIF: its first frame."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np

from samfleet.images.formats.image import (
    BYTES_PER_PIXEL,
    ImageError,
    Limits,
    unreadable,
    unsupported,
)


def read_gif(data: bytes, page: int, limits: Limits) -> tuple[np.ndarray, bool, str]:
    if len(data) < 13:
        raise unreadable("the GIF is truncated")
    width, height = struct.unpack_from("<HH", data, 6)
    limits.check(height, width, 3, 1)
    frames = _count_gif_frames(data, limits)
    if page:
        raise unsupported(f"page {page} was asked for, but only frame 0 of a GIF is read")
    pixels = imagecodecs.gif_decode(data, index=0)
    plane = f"frame 0 of {frames}" if frames > 1 else ""
    return pixels[:, :, :3], True, plane


def _count_gif_frames(data: bytes, limits: Limits) -> int:
    """Walk the blocks of a GIF up to its trailer; raises unreadable when they end before.

    The size of all frames is checked, since the decoder decodes them all.
    """
    frames = pixels = 0
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while position < len(data) and data[position] != 0x3B:
        block = data[position]
        if block == 0x21:
            position += 2
        elif block == 0x2C and position + 10 < len(data):
            width, height, flags = struct.unpack_from("<HHB", data, position + 5)
            pixels += width * height
            if pixels > limits.max_pixels * BYTES_PER_PIXEL:
                raise ImageError("too_large", "the GIF has more frames than memory is allowed")
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            frames += 1
        else:
            raise unreadable("the GIF is damaged")
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    if position >= len(data):
        raise unreadable("the GIF is truncated")
    if not frames:
        raise unreadable("the GIF has no image")
    return frames
