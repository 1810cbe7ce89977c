"""Read PNG files: check every chunk, then decode only those that hold stored values."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from samfleet.images.formats.image import Image, Limits, Wanted, check_page, unreadable
from samfleet.images.formats.opencv import decode_with_opencv, rgb_from_bgr
from samfleet.images.formats.orientation import exif_orientation, upright
from samfleet.images.formats.palette import with_palette

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples per pixel of each colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip


def read_png(data: bytes, wanted: Wanted, limits: Limits) -> Image:
    chunks = _chunks(data)
    kind, header, whole = next(chunks)
    if kind != b"IHDR" or len(header) != 13:
        raise unreadable("the PNG has no header")
    width, height, depth, color, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)  # fmt: skip
    if depth not in _DEPTHS.get(color, ()) or compression or filtering or interlace > 1:
        raise unreadable("the header of the PNG is invalid")
    limits.check(height, width, 4, max(1, depth // 8))
    check_page(wanted.page)
    # The decoder must not see transparency, gamma, profiles or animation and apply them.
    kept: list[bytes | memoryview] = [data[:8], whole]
    idat, palette, orientation, frames = [], b"", 1, 0
    for kind, body, whole in chunks:
        if kind == b"PLTE" and color == 3:
            kept.append(_palette_of_numbers(depth))
        elif kind in (b"PLTE", b"IDAT", b"IEND"):
            kept.append(whole)
        if kind == b"IDAT":
            idat.append(body)
        elif kind == b"PLTE":
            palette = bytes(body)
        elif kind == b"eXIf":
            orientation = exif_orientation(bytes(body))
        elif kind == b"acTL" and len(body) == 8:
            frames = int.from_bytes(body[:4], "big")
    _check_data(idat, _data_size(width, height, depth * _SAMPLES[color], interlace))
    pixels = decode_with_opencv(b"".join(kept), height, width)
    if color == 3:
        colors = np.frombuffer(palette, np.uint8).reshape(-1, 3)
        index = pixels.reshape(height, width, -1)[:, :, 0]
        image = with_palette(index, colors, depth, measured=False, lookup_table=wanted.lookup_table)
    elif color in (2, 6):
        image = Image(rgb_from_bgr(pixels), True)
    else:
        image = Image(pixels.reshape(height, width, -1)[:, :, :1], False)
    plane = f"the still image of an animation of {frames} frames" if frames else ""
    return replace(image, pixels=upright(image.pixels, orientation), plane=plane)


def _palette_of_numbers(depth: int) -> bytes:
    """A palette chunk with which the decoder gives the numbers themselves."""
    body = bytes(number for number in range(2**depth) for _ in range(3))
    checksum = zlib.crc32(b"PLTE" + body)
    return struct.pack(">I", len(body)) + b"PLTE" + body + struct.pack(">I", checksum)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """The kind, the body and all bytes of each chunk, up to the end chunk.

    Raises ImageError if a chunk is cut off, or if a critical chunk is damaged.
    """
    view = memoryview(data)
    position = 8
    while True:
        if position + 12 > len(data):
            raise unreadable("the PNG is truncated")
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise unreadable("the PNG is truncated")
        intact = zlib.crc32(view[position + 4 : end]) == struct.unpack_from(">I", data, end)[0]
        if not intact and not kind[0] & 0x20:
            raise unreadable(f"the PNG is damaged: the checksum of its chunk {kind!r} is wrong")
        if intact:
            yield kind, view[position + 8 : end], view[position : end + 4]
        if kind == b"IEND":
            return
        position = end + 4


def _data_size(width: int, height: int, bits: int, interlace: int) -> int:
    """Number of bytes in the filtered rows before compression."""
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    size = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * bits + 7) // 8)
    return size


def _check_data(idat: list[memoryview], expected: int) -> None:
    """Raise ImageError unless the data inflate to the expected size."""
    inflate = zlib.decompressobj()
    size = 0
    try:
        for body in idat:
            pending: bytes | memoryview = body
            while len(pending) and size < expected:
                size += len(inflate.decompress(pending, 1 << 20))
                pending = inflate.unconsumed_tail
        while size < expected and (rest := inflate.decompress(inflate.unconsumed_tail, 1 << 20)):
            size += len(rest)
    except zlib.error as error:
        raise unreadable(f"the data of the PNG are damaged ({error})") from error
    if size < expected:
        raise unreadable(
            f"the PNG is incomplete: it holds {size} of {expected} bytes of pixel data"
        )
