"""Read JPEG 2000, both as a file and as a strip or tile of a TIFF."""

import struct

import imagecodecs

from samfleet.images.formats.image import Image, Limits, Wanted, check_page, unreadable, unsupported


def read_jpeg2000(data: bytes, wanted: Wanted, limits: Limits) -> Image:
    start, components = parse_jpeg2000(data, limits)
    check_page(wanted.page)
    has_alpha = b"cdef" in data[:start]
    if components not in ((2, 4) if has_alpha else (1, 3)):
        raise unsupported(f"a JPEG 2000 of {components} components is not supported")
    pixels = imagecodecs.jpeg2k_decode(data, numthreads=1)  # raises on truncated data
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    channels = 1 if pixels.shape[2] < 3 else 3
    return Image(pixels[:, :, :channels], channels == 3)


def parse_jpeg2000(data: bytes, limits: Limits) -> tuple[int, int]:
    """Check the size; return where the codestream starts and its number of components."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        raise unreadable("the JPEG 2000 is truncated: it has no codestream")
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    limits.check(bottom - top, right - left, components, 2)
    return start, components
