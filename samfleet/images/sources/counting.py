"""Whether a file holds a single image, told from its first bytes and a TIFF's list of pages. Standard library only.

Hashing a file reads all of it anyway; this must cost next to nothing more, so that a million files are no slower.
Where it is in doubt, a reader describes the file.
"""

import re
import struct
from typing import BinaryIO

_SINGLE = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51", b"BM", b"RIFF")  # fmt: skip
_SEVERAL = (b"\xda\xce\xbe\x0a", b"\x70\x00\x00\x00", b"\xd0\xcf\x11\xe0", b"\x89HDF\r\n\x1a\n", b"ZISRAWFILE")  # fmt: skip
_DV = (b"\xa0\xc0", b"\xc0\xa0")
_TIFF = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
_DESCRIPTION, _DEPTH = 270, 32997
# of STK, LSM, FluoView, Micro-Manager and NIH Image, whose planes need no page of their own each
_OF_STACKS = {33628, 33629, 33630, 33631, 34412, 34361, 51123, 43314, _DEPTH}
_NAMES_STACK = re.compile(
    rb"(?:images|slices|frames|channels)=(?!1\b)|<BinaryOnly|FileName|"
    rb"Size[TZ]\s*=\s*[\"'](?!1[\"'])|\"shape\"\s*:\s*\[(?!\s*\d+,\s*\d+\s*\])|NumPlanes"
)
_IMAGE = re.compile(rb"<(?:\w+:)?Image\b")
_MOST_TAGS = 4096  # more are damage


def holds_one_image(file: BinaryIO, beginning: bytes, name: str) -> bool:
    """Whether a file certainly holds one image, or is of no format that can hold several.

    Args:
        file: opened; its position is changed.
        beginning: its first bytes, a kilobyte at least where it has them.
        name: of the file.
    """
    order = _TIFF.get(beginning[:4])
    if order is not None:
        try:
            return _has_one_page(file, beginning, *order)
        except struct.error:  # damaged: a reader says how
            return False
    if beginning.startswith(_SINGLE):
        return True
    return not (
        beginning.startswith(_SEVERAL) or beginning[96:98] in _DV or name.lower().endswith(".oif")
    )


def _has_one_page(file: BinaryIO, beginning: bytes, order: str, is_big: bool) -> bool:
    count, entry, pointer, start = ("Q", "HHQQ", "Q", 8) if is_big else ("H", "HHII", "I", 4)

    def read(start: int, size: int) -> bytes:
        if start + size <= len(beginning):
            return beginning[start : start + size]
        file.seek(start)
        return file.read(size)

    pointed, counted = struct.calcsize(order + pointer), struct.calcsize(order + count)
    (page,) = struct.unpack_from(order + pointer, beginning, start)
    (number,) = struct.unpack(order + count, read(page, counted))
    if number > _MOST_TAGS:
        return True
    size = struct.calcsize(order + entry) * number
    *fields, following = struct.unpack(
        order + entry * number + pointer, read(page + counted, size + pointed)
    )
    tags = fields[::4]
    if following or not _OF_STACKS.isdisjoint(tags):
        return False
    if _DESCRIPTION not in tags:
        return True
    described = 4 * tags.index(_DESCRIPTION)
    length, place = fields[described + 2], fields[described + 3]
    if length <= pointed:
        return True
    text = read(place, length)
    return not _NAMES_STACK.search(text) and len(_IMAGE.findall(text)) < 2
