"""JPEG 2000, as a file of its own or as a strip or tile of a TIFF."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np

from samfleet.images.formats.image import Limits, only_page, unreadable, unsupported


def read_jpeg2000(data: bytes, page: int, limits: Limits) -> tuple[np.ndarray, bool, str]:
    start, components = parse_jpeg2000(data, limits)
    only_page(page, "a JPEG 2000")
    has_alpha = b"cdef" in data[:start]
    if components not in ((2, 4) if has_alpha else (1, 3)):
        raise unsupported(f"a JPEG 2000 of {components} components is not read")
    pixels = imagecodecs.jpeg2k_decode(data, numthreads=1)  # refuses truncated data by itself
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    channels = 1 if pixels.shape[2] < 3 else 3
    return pixels[:, :, :channels], channels == 3, ""


def parse_jpeg2000(data: bytes, limits: Limits) -> tuple[int, int]:
    """Where the codestream starts and how many components it has; checks the size."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        raise unreadable("the JPEG 2000 is truncated: no codestream")
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    limits.check(bottom - top, right - left, components, 2)
    return start, components
