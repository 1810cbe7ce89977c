"""JPEG, as a file of its own or as a strip or tile of a TIFF."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np

from samfleet.images.formats.image import Limits, only_page, unreadable, unsupported
from samfleet.images.formats.orientation import exif_orientation, upright

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_JPEG_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_JPEG_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
# Varied and long enough to change something where it is decoded; without 0xff.
_FILLER = bytes((37 * i + 91) % 251 for i in range(32))


@dataclass(frozen=True)
class Jpeg:
    """What the markers of a JPEG say."""

    height: int
    width: int
    components: int
    precision: int
    orientation: int
    filled: bytes | None  # with filler after the data of every scan; None if that proves nothing
    complete: bool  # ends with an end marker


def read_jpeg(data: bytes, page: int, limits: Limits) -> tuple[np.ndarray, bool, str]:
    jpeg = parse_jpeg(data, limits)
    only_page(page, "a JPEG")
    if not jpeg.complete:
        raise unreadable("the JPEG is truncated")
    if jpeg.components not in (1, 3):
        raise unsupported(_words_for_components(jpeg.components))
    pixels = imagecodecs.jpeg_decode(data)
    check_jpeg_data(jpeg, pixels, imagecodecs.jpeg_decode)
    if pixels.shape[:2] != (jpeg.height, jpeg.width):
        raise unreadable("the JPEG has another size than its header says")
    return upright(pixels, jpeg.orientation), jpeg.components == 3, ""


def _words_for_components(components: int) -> str:
    if components == 4:
        return "CMYK (printing inks) is not read; convert the image to RGB"
    return f"a JPEG of {components} components is not read"


def check_jpeg_data(jpeg: Jpeg, pixels: np.ndarray, decode: Callable[[bytes], np.ndarray]) -> None:
    """Raise unreadable if the data of a scan end early.

    libjpeg fills up in silence, so decode again with something else after the data: an image
    that is complete does not depend on it.
    """
    if jpeg.filled is None:
        return
    filled = decode(jpeg.filled)
    if not np.array_equal(filled, pixels):
        raise unreadable("the JPEG is incomplete: its data end before the image does")


def parse_jpeg(data: bytes, limits: Limits) -> Jpeg:
    """Walk the markers of a JPEG, or of a strip in a TIFF, checking the size on the way."""
    frame: tuple[int, int, int, int] | None = None
    orientation, arithmetic, restarts, complete = 1, False, False, False
    parts: list[bytes] = []
    position = copied = 2
    while (match := _JPEG_MARKER.search(data, position)) is not None:
        marker, position = match[1][0], match.end()
        if marker == 0xD9:
            complete = True
            break
        if marker in (0x01, 0xD8):
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        body = data[position + 2 : position + length]
        if length < 2 or len(body) != length - 2:
            break
        position += length
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if len(body) < 6:
                raise unreadable("the header of the JPEG is damaged")
            frame = struct.unpack_from(">BHHB", body)
            precision, height, width, components = frame
            if height == 0:
                raise unsupported("a JPEG that does not state its height (DNL) is not read")
            limits.check(height, width, components, 1 if precision <= 8 else 2)
            arithmetic = marker in _JPEG_ARITHMETIC
        elif marker == 0xE1 and body[:6] == b"Exif\x00\x00":
            orientation = exif_orientation(body)
        elif marker == 0xDA:
            after = _JPEG_MARKER.search(data, position)
            end = after.start() if after else len(data)
            parts += [data[copied:position], _filled_scan(data[position:end], restarts)]
            position = copied = end
        elif marker == 0xDD:
            restarts = any(body)
    if frame is None or not parts:
        raise unreadable("the JPEG is truncated: no image data")
    tail = data[copied:] if complete else b"\xff\xd9"
    filled = None if arithmetic else b"".join([data[:2], *parts, tail])
    precision, height, width, components = frame
    return Jpeg(height, width, components, precision, orientation, filled, complete)


def _filled_scan(scan: bytes, restarts: bool) -> bytes:
    """Entropy-coded data with filler wherever they could end too early."""
    if not restarts:
        return scan + _FILLER
    count = 0
    for count, found in enumerate(_JPEG_RESTART.finditer(scan), 1):
        if found[1][0] & 7 != (count - 1) & 7:
            raise unreadable("the JPEG is incomplete: a part between restart markers is missing")
    scan = _JPEG_RESTART.sub(lambda found: _FILLER + found[0], scan)
    # A decoder that lacks whole intervals takes this one; otherwise it is skipped.
    return scan + _FILLER + bytes((0xFF, 0xD0 | count & 7)) + _FILLER
