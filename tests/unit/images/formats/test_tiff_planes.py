"""decode_image: which plane and channels of a TIFF are read."""

import io
import itertools
import re
import struct

import cv2
import numpy as np
import pytest
import tifffile

from samfleet.images.formats.decoding import decode_image
from tests.images import (
    GREY8,
    GREY16,
    HYPERSTACK,
    RGB8,
    RGB16,
    SMOOTH8,
    check,
    decoded_by_opencv,
    hand_made_tiff,
    opencv,
    page_tags,
    refused,
    tiff,
)

RNG = np.random.default_rng(5)


def test_tiff_pages():
    stack = RNG.integers(0, 65536, (5, 23, 37), np.uint16)
    imagej = {"imagej": True, "metadata": {"axes": "ZYX"}}
    for options in ({}, {"metadata": None}, imagej, {"compression": "zlib"}):
        data = tiff(stack, photometric="minisblack", **options)
        for page in range(5):
            image = decode_image(data, page=page)
            np.testing.assert_array_equal(image.pixels[:, :, 0], stack[page])
            assert image.plane.startswith(f"page {page} of 5")
        refused(data, "unsupported", "has 5", page=5)


def test_tiff_pages_of_different_kinds():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels in (GREY8, RGB16, GREY16[:10]):
            writer.write(pixels, metadata=None, compression="zlib")
    data = file.getvalue()
    check(data, GREY8, plane="page 0 of 3")
    check(data, RGB16, True, "page 1 of 3", page=1)
    check(data, GREY16[:10], plane="page 2 of 3", page=2)


def test_tiff_pyramid_gives_the_full_resolution():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY16[::2, ::2], metadata=None, subfiletype=1)
        writer.write(GREY16, metadata=None)
        writer.write(GREY16[::4, ::4], metadata=None, subfiletype=1)
    check(file.getvalue(), GREY16)
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(GREY16, subifds=1, metadata={"axes": "YX"})
        writer.write(GREY16[::2, ::2], subfiletype=1)
    check(file.getvalue(), GREY16)


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("TZCYX", {"imagej": True}),
        ("TZCYX", {"ome": True}),
        ("TCZYX", {"ome": True}),
        ("TZCYX", {"ome": True, "compression": "zlib", "tile": (16, 16)}),
        ("TZCYX", {"imagej": True, "truncate": True}),
        ("TZCYX", {"truncate": True}),
        ("TCZYX", {"truncate": True, "byteorder": ">"}),
    ],
)
def test_hyperstack_gives_all_channels_of_one_plane(axes, options):
    data = tiff(HYPERSTACK, photometric="minisblack", metadata={"axes": axes}, **options)
    sizes = dict(zip(axes, HYPERSTACK.shape, strict=True))
    page = 0
    for t, z in itertools.product(range(sizes["T"]), range(sizes["Z"])):
        index = tuple({"T": t, "Z": z, "C": slice(None)}[axis] for axis in axes[:3])
        plane = f"page {page} of {sizes['T'] * sizes['Z']} (T={t}, Z={z})"
        check(data, np.moveaxis(HYPERSTACK[index], 0, 2), plane=plane, page=page)
        page += 1
    refused(data, "unsupported", f"has {page}", page=page)


@pytest.mark.parametrize("options", [{"ome": True}, {"imagej": True}])
def test_three_channels_are_not_color_unless_they_are_stored_as_rgb(options):
    channels = np.moveaxis(RGB8, 2, 0)
    data = tiff(channels, photometric="minisblack", metadata={"axes": "CYX"}, **options)
    check(data, RGB8)
    check(tiff(RGB8, photometric="rgb", metadata={"axes": "YXS"}, **options), RGB8, is_color=True)


def test_volume_within_one_page():
    volume = RNG.integers(0, 256, (16, 16, 32), np.uint8)
    data = tiff(volume, photometric="minisblack", volumetric=True, tile=(16, 16, 16), metadata=None)
    for page in (0, 5, 15):
        check(data, volume[page], plane=f"page {page} of 16", page=page)
    refused(data, "unsupported", "has 16", page=16)


def test_ome_that_points_to_other_files_reads_what_is_here(tmp_path, monkeypatch):
    data = tiff(GREY8, ome=True, metadata={"axes": "YX"})
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        text = file.pages.first.description
    planes = '<TiffData IFD="0" FirstZ="0" PlaneCount="1"><UUID FileName="a.tif">urn:uuid:a</UUID></TiffData>'  # fmt: skip
    planes += planes.replace('FirstZ="0"', 'FirstZ="1"').replace("a.tif", "b.tif").replace("uuid:a", "uuid:b")  # fmt: skip
    start, end = text.index("<TiffData"), text.index("</Pixels>")
    text = (text[:start] + planes + text[end:]).replace('SizeZ="1"', 'SizeZ="2"')
    text = re.sub(r'UUID="[^"]*"', 'UUID="urn:uuid:a"', text, count=1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.tif").write_bytes(tiff(255 - GREY8))
    data = tiff(GREY8, description=text.encode(), metadata=None)
    check(data, GREY8, plane="page 0 of 1 (Z=0)", warning="other files (b.tif) are not read")
    refused(data, "unsupported", "has 1", page=1)


def test_metamorph_stack_has_one_header_for_all_planes():
    stack = RNG.integers(0, 65536, (4, 23, 37), np.uint16)
    plane = struct.pack("<6I", 1, 1, 2450000, 0, 2450000, 0)
    tags = page_tags(stack[0], 1, 1, stack[0].nbytes)
    tags[33628] = (4, 1, struct.pack("<II", 0, 0))
    tags[33629] = (5, 4, plane * 4)
    data = hand_made_tiff(tags, stack.tobytes())
    for page in range(4):
        check(data, stack[page], plane=f"page {page} of 4 (Z={page})", page=page)
    refused(data, "unsupported", "has 4", page=4)
    refused(data[:-1], "unreadable", "truncated", page=3)


def test_zeiss_lsm_has_channels_though_it_says_rgb_and_thumbnails_that_do_not_count():
    channels = RNG.integers(0, 256, (3, 23, 37), np.uint8)
    info = struct.pack("<10i6dH", 0x0400494C, 512, 37, 23, 1, 3, 1, 1, 37, 23, *[1e-7] * 6, 0)
    tags = page_tags(np.moveaxis(channels, 0, 2), 2, 1, 23 * 37)
    plane_size = channels[0].size
    tags |= {
        258: (3, 3, struct.pack("<4H", 8, 8, 8, 0)),
        284: (3, 1, 2),
        34412: (1, 512, info.ljust(512, b"\0")),
    }
    tags[279] = (4, 3, struct.pack("<3I", *[plane_size] * 3))
    start = 8 + 2 + 12 * (len(tags)) + 4 + 8 + 512 + 12 + 12
    tags[273] = (4, 3, struct.pack("<3I", *(start + plane * plane_size for plane in range(3))))
    first = bytearray(hand_made_tiff(tags, channels.tobytes()))
    struct.pack_into("<I", first, 8 + 2 + 12 * len(tags), len(first))
    small = page_tags(channels[0, ::4, ::4], 1, 1, channels[0, ::4, ::4].size)
    small[254] = (4, 1, 1)
    second = hand_made_tiff(small, b"")[8:]
    at = second.index(struct.pack("<HHI", 273, 4, 1)) + 8
    data = bytearray(first + second)
    struct.pack_into("<I", data, len(first) + at, len(data))
    data += channels[0, ::4, ::4].tobytes()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert [one.kind for one in file.series] == ["lsm", "lsm"]
    check(bytes(data), np.moveaxis(channels, 0, 2))
    refused(bytes(data), "unsupported", "has 1 page", page=1)


@pytest.mark.parametrize("photometric", [1, 6])
def test_ndpi_is_one_jpeg(photometric):
    pixels = SMOOTH8 if photometric == 6 else SMOOTH8[:, :, 0]
    options = (cv2.IMWRITE_JPEG_RST_INTERVAL, 2, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)
    jpeg = opencv(".jpg", pixels, *options)
    scan = jpeg.index(b"\xff\xda")
    scan += 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
    starts = [scan] + [at + 2 for at in range(scan, len(jpeg)) if jpeg[at] == 0xFF and 0xD0 <= jpeg[at + 1] < 0xD8]  # fmt: skip
    tags = page_tags(pixels, photometric, 7, len(jpeg))
    tags[271] = (2, 10, b"Hamamatsu\0")
    tags[65420] = (4, 1, 1)
    tags[65426] = (4, len(starts), struct.pack(f"<{len(starts)}I", *starts))
    data = hand_made_tiff(tags, jpeg)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.is_ndpi
        assert file.pages.first.jpegheader
    check(data, decoded_by_opencv(jpeg), is_color=photometric == 6)
    short = jpeg[: starts[5]] + jpeg[starts[6] :]
    refused(hand_made_tiff(tags, short + bytes(200)), "unreadable", "restart")


def test_slide_gives_the_full_resolution():
    slide = np.tile(SMOOTH8, (3, 4, 1))
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for step, kind in ((1, 0), (4, 0), (2, 0), (8, 1), (8, 9)):
            words = "Aperio Image Library v11.2.1 \r\n256x144 (64x64) JPEG/RGB Q=70|AppMag = 20"
            layout = {"tile": (64, 64), "compression": "zlib"} if step < 4 else {}
            pixels = slide[::step, ::step]
            writer.write(pixels, subfiletype=kind, description=words, metadata=None, **layout)
    check(file.getvalue(), slide, True)


def test_axes_of_the_same_name_are_counted_all():
    stack = RNG.integers(0, 256, (2, 6, 23, 37), np.uint8)
    data = tiff(stack, photometric="minisblack", metadata={"axes": "QQYX"})
    check(data, stack[1, 3], plane="page 9 of 12 (Q=1, Q=3)", page=9)


def test_color_model_that_is_not_stated_is_guessed_from_the_samples():
    for pixels, stated in ((GREY8, 1), (RGB8, 2)):
        data = tiff(pixels, metadata=None)
        entry = struct.pack("<HHIH", 262, 3, 1, stated)
        assert entry in data
        data = data.replace(entry, struct.pack("<HHIH", 60000, 3, 1, stated))
        check(data, pixels, is_color=pixels.ndim == 3)


def test_ome_metadata_that_do_not_fit_the_pages_leave_the_pages():
    stack = RNG.integers(0, 65536, (5, 23, 37), np.uint16)
    data = tiff(stack, photometric="minisblack", ome=True, metadata={"axes": "TYX"})
    for right, wrong, plane, warning in (
        (b'SizeT="5"', b'SizeT="9"', "page 4 of 5 (T=4)", "name 9 planes, and the file has 5"),
        (b"<Pixels", b"<Pixals", "page 4 of 5", "do not fit its pages"),
        (b"<OME ", b"<EMO ", "page 4 of 5 (T=4)", "not well-formed"),
    ):
        assert right in data
        check(data.replace(right, wrong), stack[4], plane=plane, warning=warning, page=4)
