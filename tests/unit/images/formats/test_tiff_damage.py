"""decode_image: truncated and damaged TIFF files are refused."""

import io
import struct

import numpy as np
import pytest
import tifffile

from tests.images import RGB8, SMOOTH8, TIFFS, check, refused, tiff

RNG = np.random.default_rng(5)


def with_data_moved_to_the_end(data: bytes, keep: float = 1.0) -> bytes:
    """Move the strips and tiles to the end, as many writers place them, and keep a part of them."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        start = min(page.dataoffsets)
        size = sum(page.databytecounts)
        tag = page.tags.get(324) or page.tags[273]
        moved = bytearray(data)
        position = len(moved)
        where = tag.valueoffset
        code = {3: "<H", 4: "<I", 16: "<Q"}[tag.dtype]
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            struct.pack_into(code, moved, where, position)
            where += struct.calcsize(code)
            moved += data[offset : offset + count]
            position += count
    assert start > 0
    return bytes(moved[: len(moved) - size + int(size * keep)])


@pytest.mark.parametrize("kind", TIFFS)
def test_tiff_cut_within_its_data_is_unreadable(kind):
    data, pixels = TIFFS[kind]
    check(with_data_moved_to_the_end(data), pixels, is_color=pixels.ndim == 3)
    for keep in (0, 0.3, 0.7, 0.99):
        refused(with_data_moved_to_the_end(data, keep), "unreadable")


def test_tiff_strip_whose_data_end_early():
    for compression in ("zlib", "lzw", "packbits", "lzma", "zstd", "jpeg"):
        data = tiff(SMOOTH8[:, :, 0], compression=compression, metadata=None)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tag = file.pages.first.tags[279]
            count = tag.value[0]
        cut = bytearray(data)
        struct.pack_into({3: "<H", 4: "<I"}[tag.dtype], cut, tag.valueoffset, count * 2 // 3)
        refused(bytes(cut), "unreadable")
        struct.pack_into({3: "<H", 4: "<I"}[tag.dtype], cut, tag.valueoffset, 0)
        refused(bytes(cut), "unreadable", "missing")


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(("pages", "back"), [(1, 0), (3, 0), (3, 1), (3, 2), (150, 0), (150, 120)])
def test_tiff_whose_list_of_pages_loops(pages, back, bigtiff):
    stack = RNG.integers(0, 256, (pages, 4, 5), np.uint8)
    data = tiff(stack, photometric="minisblack", metadata=None, bigtiff=bigtiff)
    starts, at = [], 8 if bigtiff else 4
    pointer, count, entry = ("<Q", "<Q", 20) if bigtiff else ("<I", "<H", 12)
    while start := struct.unpack_from(pointer, data, at)[0]:
        starts.append(start)
        at = start + struct.calcsize(count) + entry * struct.unpack_from(count, data, start)[0]
    looped = bytearray(data)
    struct.pack_into(pointer, looped, at, starts[back])
    for page in (0, pages - 1):
        plane = f"page {page} of {pages}" if pages > 1 else ""
        check(bytes(looped), stack[page], page=page, plane=plane)
    struct.pack_into(pointer, looped, at, len(data))
    refused(bytes(looped), "unreadable", "beyond its end")


def test_tiff_cut_within_its_header_is_unreadable():
    # Without the bits of each sample it would be read as an image of 1 bit.
    for bigtiff in (False, True):
        data = tiff(np.dstack([RGB8] * 2), photometric="minisblack", planarconfig="contig", metadata=None, bigtiff=bigtiff)  # fmt: skip
        code = ("<HHQ" if bigtiff else "<HHI", 258, 3, 6)
        at = data.index(struct.pack(*code)) + struct.calcsize(code[0])
        size = 8 if bigtiff else 4
        place = int.from_bytes(data[at : at + size], "little")
        moved = data[:at] + struct.pack("<Q", len(data))[:size] + data[at + size :]
        check(moved + data[place : place + 12], np.dstack([RGB8] * 2))
        for kept in range(12):
            refused(moved + data[place : place + kept], "unreadable", "header")
