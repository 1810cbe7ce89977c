"""Read JPEG, both as a file and as a strip or tile of a TIFF."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np

from samfleet.images.formats.image import Image, Limits, Wanted, check_page, unreadable, unsupported
from samfleet.images.formats.orientation import exif_orientation, upright

_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
# Bytes that change the image wherever they are decoded. They contain no 0xff, which starts a marker.
_FILLER = bytes((37 * i + 91) % 251 for i in range(32))


@dataclass(frozen=True)
class Jpeg:
    """What the markers of a JPEG say.

    Attributes:
        height, width, components, orientation: of the image.
        filled: the JPEG with filler after the data of every scan; None for arithmetic
            coding, where filler may change a complete image too.
        complete: whether there is an end marker.
    """

    height: int
    width: int
    components: int
    orientation: int
    filled: bytes | None
    complete: bool


def read_jpeg(data: bytes, wanted: Wanted, limits: Limits) -> Image:
    jpeg = parse_jpeg(data, limits)
    check_page(wanted.page)
    if not jpeg.complete:
        raise unreadable("the JPEG is truncated")
    if jpeg.components == 4:
        raise unsupported("CMYK (printing inks) is not supported; convert the image to RGB")
    if jpeg.components not in (1, 3):
        raise unsupported(f"a JPEG of {jpeg.components} components is not supported")
    pixels = imagecodecs.jpeg_decode(data)
    check_jpeg_data(jpeg, pixels, imagecodecs.jpeg_decode)
    if pixels.shape[:2] != (jpeg.height, jpeg.width):
        raise unreadable("the size of the JPEG differs from the one in its header")
    return Image(upright(pixels, jpeg.orientation), jpeg.components == 3)


def check_jpeg_data(jpeg: Jpeg, pixels: np.ndarray, decode: Callable[[bytes], np.ndarray]) -> None:
    """Raise ImageError if the data of a scan end early.

    libjpeg silently fills in missing pixels. So decode again with filler after the data: it changes
    an image that is incomplete, and no other.
    """
    if jpeg.filled is not None and not np.array_equal(decode(jpeg.filled), pixels):
        raise unreadable("the JPEG is incomplete: its data end before the image does")


def parse_jpeg(data: bytes, limits: Limits) -> Jpeg:
    """Walk through the markers of a JPEG, or of a strip of a TIFF, and check the size."""
    frame: tuple[int, int, int, int] | None = None
    orientation, arithmetic, restarts, complete = 1, False, False, False
    parts: list[bytes] = []
    position = copied = 2
    while (match := _MARKER.search(data, position)) is not None:
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
                raise unsupported(
                    "a JPEG that does not state its height in the header (DNL) is not supported"
                )
            limits.check(height, width, components, 1 if precision <= 8 else 2)
            arithmetic = marker in _ARITHMETIC
        elif marker == 0xE1 and body[:6] == b"Exif\x00\x00":
            orientation = exif_orientation(body)
        elif marker == 0xDA:
            after = _MARKER.search(data, position)
            end = after.start() if after else len(data)
            parts += [data[copied:position], _filled_scan(data[position:end], restarts)]
            position = copied = end
        elif marker == 0xDD:
            restarts = any(body)
    if frame is None or not parts:
        raise unreadable("the JPEG is truncated: it has no image data")
    tail = data[copied:] if complete else b"\xff\xd9"
    filled = None if arithmetic else b"".join([data[:2], *parts, tail])
    _, height, width, components = frame
    return Jpeg(height, width, components, orientation, filled, complete)


def _filled_scan(scan: bytes, restarts: bool) -> bytes:
    """The entropy-coded data with filler wherever they might end too early."""
    if not restarts:
        return scan + _FILLER
    count = 0
    for count, found in enumerate(_RESTART.finditer(scan), 1):
        if found[1][0] & 7 != (count - 1) & 7:
            raise unreadable("the JPEG is incomplete: a part between restart markers is missing")
    scan = _RESTART.sub(lambda found: _FILLER + found[0], scan)
    # A decoder takes this as one more interval if whole intervals are missing, and else skips it.
    return scan + _FILLER + bytes((0xFF, 0xD0 | count & 7)) + _FILLER
