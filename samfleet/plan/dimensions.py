"""Height and width of an image from the first bytes of its file, without decoding it. Standard library only.

Only the planner asks, to guess how many tiles an image has. A wrong guess makes shards uneven, nothing else.
"""

import struct
from pathlib import Path
from typing import BinaryIO

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_INTEGERS = {3: "H", 4: "L", 16: "Q"}
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_MOST_ENTRIES = 4096


def dimensions(path: Path) -> tuple[int, int] | None:
    """(height, width) in pixels of the first page of a PNG, TIFF or JPEG; None of anything else."""
    try:
        with path.open("rb") as file:
            start = file.read(26)
            if start.startswith(_PNG):
                width, height = struct.unpack(">LL", start[16:24])
                return height, width
            if start[:4] in _TIFF:
                return _of_tiff(file, start)
            if start.startswith(b"\xff\xd8"):
                return _of_jpeg(file)
    except (OSError, struct.error, KeyError, ValueError, OverflowError):
        pass
    return None


def _of_tiff(file: BinaryIO, start: bytes) -> tuple[int, int]:
    order, is_big = _TIFF[start[:4]]
    head, entry, inline = ("Q", "HHQ", 8) if is_big else ("H", "HHL", 4)
    file.seek(*struct.unpack_from(f"{order}{'Q' if is_big else 'L'}", start, 8 if is_big else 4))
    (count,) = _unpack(file, order + head)
    found = {}
    for _ in range(min(count, _MOST_ENTRIES)):
        tag, kind, _ = _unpack(file, order + entry)
        value = file.read(inline)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            (found[tag],) = struct.unpack_from(order + _TIFF_INTEGERS[kind], value)
    return found[_TIFF_HEIGHT], found[_TIFF_WIDTH]


def _of_jpeg(file: BinaryIO) -> tuple[int, int]:
    file.seek(2)
    while True:
        mark, code, length = _unpack(file, ">BBH")
        if mark != 0xFF:
            raise ValueError("no marker")
        if code in _JPEG_FRAMES:
            _, height, width = _unpack(file, ">BHH")
            return height, width
        file.seek(length - 2, 1)


def _unpack(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
