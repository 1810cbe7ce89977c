"""Windows of TIFFs give what reading the whole file gives, or the same refusal."""

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from samfleet.images.formats.image import ImageError, Limits
from samfleet.images.formats.tiff import windows
from samfleet.images.sources import large
from samfleet.images.sources.large import FileWindows
from samfleet.images.sources.source import Reading, read
from samfleet.planes import ONLY, Plane
from tests.images import opencv

RNG = np.random.default_rng(6)
GREY = RNG.integers(0, 65536, (123, 97), np.uint16)
RGB = RNG.integers(0, 256, (123, 97, 3), np.uint8)
STACK = RNG.integers(0, 65536, (2, 3, 123, 97), np.uint16)
PALETTE = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
FILES = {
    "one piece": (GREY, {}),
    "big-endian": (GREY, {"byteorder": ">"}),
    "tiles": (GREY, {"tile": (32, 48)}),
    "compressed tiles": (GREY, {"tile": (32, 48), "compression": "zlib", "predictor": True}),
    "compressed strips": (GREY, {"rowsperstrip": 7, "compression": "lzw"}),
    "strips of more rows than the image": (GREY, {"rowsperstrip": 500, "compression": "zlib"}),
    "colour": (RGB, {"tile": (32, 32)}),
    "colour in planes": (
        np.moveaxis(RGB, 2, 0),
        {"photometric": "rgb", "planarconfig": "separate", "tile": (32, 48)},
    ),
    "colour in planes of one piece": (
        np.moveaxis(RGB, 2, 0),
        {"photometric": "rgb", "planarconfig": "separate"},
    ),
    "alpha": (
        RNG.integers(0, 256, (123, 97, 4), np.uint8),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
    ),
    "JPEG": (RGB, {"tile": (64, 48), "compression": "jpeg"}),
    "JPEG 2000": (RGB, {"tile": (64, 48), "compression": "jpeg2000"}),
    "truth values": (GREY > 30000, {}),
    "half precision": ((GREY / 70).astype(np.float16), {}),
    "floats": (GREY / 7, {"tile": (16, 16)}),
    "min is white": (GREY, {"photometric": "miniswhite", "tile": (32, 32)}),
    "palette": (RGB[..., 0], {"photometric": "palette", "colormap": PALETTE, "tile": (32, 32)}),
    "OME": (STACK, {"ome": True, "metadata": {"axes": "ZCYX"}, "tile": (32, 32)}),
    "ImageJ": (STACK, {"imagej": True}),
    "shaped": (STACK, {"compression": "zlib", "photometric": "minisblack"}),
}


def write(folder: Path, name: str, **more) -> Path:
    pixels, options = FILES[name]
    path = folder / "a.tif"
    tifffile.imwrite(path, pixels, **options | more)
    return path


ANY = Reading(Limits(1 << 40))


def opened(path: Path, plane: Plane = ONLY) -> FileWindows:
    return FileWindows(path, (), plane, ANY)


def check(path: Path, plane: Plane = ONLY) -> None:
    """Windows at the edges, in the middle, of one pixel and of all."""
    whole, found = read(path, plane, ANY), opened(path, plane)
    assert (found.shape, found.dtype) == (whole.pixels.shape, whole.pixels.dtype)
    known = dataclasses.replace(found.about, pixels=whole.pixels)
    assert known == whole and found.is_color == whole.is_color
    height, width, _ = found.shape
    places = [(0, height, 0, width), (height - 1, height, width - 1, width), (31, 66, 40, 95)]
    for y0, y1, x0, x1 in [*places, (0, 32, 0, 48), (5, 6, 0, width), (0, height, 47, 49)]:
        window = found.read(y0, y1, x0, x1)
        assert np.array_equal(window, whole.pixels[y0:y1, x0:x1])
        assert window.flags.c_contiguous and window.dtype.isnative


@pytest.mark.parametrize("name", FILES)
def test_a_window_is_a_part_of_the_whole_image(tmp_path, name):
    check(write(tmp_path, name))


@pytest.mark.parametrize("name", ["one piece", "tiles", "colour in planes"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_windows_are_those_of_the_upright_image(tmp_path, name, orientation):
    check(write(tmp_path, name, extratags=[(274, "H", 1, orientation, True)]))


@pytest.mark.parametrize("name", ["OME", "ImageJ"])
def test_windows_are_of_the_plane_that_is_wanted(tmp_path, name):
    path = write(tmp_path, name)
    check(path, Plane(slice="1"))
    check(path, Plane(slice="max"))
    check(path, Plane(slice="mean"))


def test_few_decoded_tiles_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "_KEPT_BYTES", 1)
    path = write(tmp_path, "compressed tiles")
    check(path)
    found = opened(path)
    found.read(0, 123, 0, 97)
    assert len(found.source._kept) == 4  # a row of three, and one


def test_what_has_no_windows_is_left_to_the_reader_of_whole_files(tmp_path, monkeypatch):
    def is_large(plane: Plane = ONLY) -> bool:
        return large.large_image(path, (), plane, ANY, 0) is not None

    path = write(tmp_path, "OME")
    assert is_large(Plane(slice="0")) and is_large(Plane(slice="max"))
    assert not is_large(Plane(slice="sharpest"))
    volume = RNG.integers(0, 65536, (4, 64, 96), np.uint16)
    tifffile.imwrite(path, volume, volumetric=True, tile=(2, 32, 32), photometric="minisblack")
    assert not is_large(Plane(slice="0"))
    path.write_bytes(opencv(".png", RGB))
    assert not is_large()
    write(tmp_path, "tiles")
    assert is_large()
    monkeypatch.setattr(windows, "_SEGMENT_BYTES", 1000)
    assert not is_large()


@pytest.mark.parametrize("name", ["one piece", "tiles", "compressed strips", "JPEG"])
def test_a_truncated_file_is_unreadable_when_the_missing_part_is_read(tmp_path, name):
    path = write(tmp_path, name)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        last = page.dataoffsets[-1] + page.databytecounts[-1]
    data = path.read_bytes()
    if name != "JPEG":
        path.write_bytes(data[: last - 9])
    else:  # the end of a tile, whose decoder would fill in grey
        path.write_bytes(data[: last - 40] + bytes(40) + data[last:])
    with pytest.raises(ImageError) as refusal:
        opened(path).read(0, 123, 0, 97)
    assert refusal.value.status == "unreadable"
    with pytest.raises(ImageError, match="unreadable"):
        read(path, ONLY, ANY)


def test_another_process_reads_the_file_itself(tmp_path):
    path = write(tmp_path, "compressed tiles")
    sent = pickle.dumps(opened(path))
    assert len(sent) < 1000
    script = "import pickle, sys; w = pickle.load(sys.stdin.buffer); print(w.read(7, 8, 9, 10))"
    done = subprocess.run(
        [sys.executable, "-c", script], input=sent, stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.decode().strip() == f"[[[{GREY[7, 9]}]]]"


def test_a_file_that_was_replaced_is_not_read(tmp_path):
    path = write(tmp_path, "tiles")
    found = opened(path)
    sent = pickle.dumps(found)
    found.read(0, 1, 0, 1)
    path.unlink()
    write(tmp_path, "big-endian")
    with pytest.raises(OSError, match="has changed"):
        pickle.loads(sent)
    found = opened(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(OSError, match="has changed"):
        found.read(0, 1, 0, 1)


def test_more_pixels_than_coco_can_count_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "MOST_PIXELS", 123 * 97 - 1)
    with pytest.raises(ImageError, match="COCO") as refusal:
        opened(write(tmp_path, "tiles"))
    assert refusal.value.status == "too_large"
