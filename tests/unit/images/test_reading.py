"""read_image: the bytes that are decoded are the bytes that are identified."""

import os
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile

from samfleet import content
from samfleet.content import stat_of
from samfleet.digests import image_id
from samfleet.images import reading, windows
from samfleet.images.reading import (
    Failure,
    OpenedImage,
    ReadImage,
    Wish,
    open_image,
    path_of,
    read_image,
)
from samfleet.images.sources.large import ChangedFile
from samfleet.images.sources.source import describe
from samfleet.planes import Plane, companions_digest
from tests.builders import make_settings
from tests.microscopes import write_ome_zarr
from tests.unit.images.sources.test_tiff_source import write_set

PIXELS = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10) * 500


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "image.png"
    assert cv2.imwrite(str(path), PIXELS)
    return path


def read(path, **sections) -> ReadImage | Failure:
    settings = make_settings(**sections)
    return read_image(path, settings.image, settings.display)


def test_an_image_is_read_exactly_and_identified_by_its_bytes(png):
    found = read(png)
    np.testing.assert_array_equal(found.pixels[:, :, 0], PIXELS)
    assert found.image_id == image_id(png.read_bytes())
    assert not found.is_color
    assert found.seconds > 0


def test_sam_sees_eight_bits_by_the_configured_display(png):
    found = read(png, display={"percentiles": [0, 100], "colormap": "green"})
    assert (found.rgb.shape, found.rgb.dtype) == ((12, 10, 3), np.uint8)
    np.testing.assert_array_equal(found.rgb[:, :, 1], np.rint(PIXELS / PIXELS.max() * 255))
    assert not found.rgb[:, :, [0, 2]].any()


def test_sam_sees_the_configured_channel(tmp_path):
    channels = np.zeros((8, 9, 2), np.uint8)
    channels[:, :4, 0] = channels[:, 6:, 1] = 255
    path = tmp_path / "channels.tif"
    tifffile.imwrite(path, channels, photometric="minisblack", planarconfig="contig")
    shown = [read(path, display={"channel": n}).rgb[0, :, 0].tolist() for n in (0, 1)]
    assert shown == [[255] * 4 + [0] * 5, [0] * 6 + [255] * 3]


def test_a_file_is_read_once_so_that_a_replacement_cannot_come_between(png, monkeypatch):
    read_bytes, times = type(png).read_bytes, []

    def replaced_afterwards(path):
        data = read_bytes(path)
        times.append(path)
        path.write_bytes(b"replaced")
        return data

    before = image_id(png.read_bytes())
    monkeypatch.setattr(type(png), "read_bytes", replaced_afterwards)
    found = read(png)
    assert isinstance(found, ReadImage)
    assert (found.image_id, len(times)) == (before, 1)


def test_a_damaged_image_is_a_permanent_failure_of_its_content(tmp_path):
    path = tmp_path / "damaged.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and nothing")
    found = read(path)
    assert (found.status, found.transient) == ("unreadable", False)
    assert found.image_id == image_id(path.read_bytes())
    assert found.reason


def test_an_image_of_too_many_pixels_is_not_decoded(png):
    found = read(png, image={"max_pixels": 119})
    assert (found.status, found.transient) == ("too_large", False)
    assert "image.max_pixels (119)" in found.reason
    assert isinstance(read(png, image={"max_pixels": 120}), ReadImage)


def test_a_page_or_channel_that_is_not_there_is_a_permanent_failure(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 9), np.uint8), photometric="minisblack")
    settings = make_settings()
    assert read_image(path, settings.image, settings.display, Wish(Plane(1))).pixels.shape == (
        8,
        9,
        1,
    )
    for plane in (Plane(2), Plane(0, 1), Plane(0, None, "1")):
        found = read_image(path, settings.image, settings.display, Wish(plane))
        assert found.status in ("unsupported", "unreadable")
        assert not found.transient


def test_an_image_of_a_file_that_changed_after_planning_is_changed(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 9), np.uint8), photometric="minisblack")
    settings = make_settings()
    stat = path.stat()
    wish = Wish(Plane(1), "ab" * 16, stat.st_size, stat.st_mtime_ns)
    assert read_image(path, settings.image, settings.display, wish).image_id == "ab" * 16
    os.utime(path, ns=(1, 1))
    found = read_image(path, settings.image, settings.display, wish)
    assert (found.status, found.transient, found.image_id) == ("changed", True, "")


@pytest.mark.parametrize("then", ["replaced", "cut", "gone"])
def test_what_changes_while_it_is_read_is_not_taken_for_what_was_planned(
    tmp_path, monkeypatch, then
):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.full((2, 8, 9), 3, np.uint8), photometric="minisblack")
    stat = path.stat()
    wish = Wish(Plane(1), "ab" * 16, stat.st_size, stat.st_mtime_ns)
    read_plane = reading.read_plane

    def changed_before(*arguments):
        if then == "gone":
            path.unlink()
        elif then == "cut":
            os.truncate(path, 200)
        else:
            tifffile.imwrite(path, np.full((2, 8, 9), 99, np.uint8), photometric="minisblack")
        return read_plane(*arguments)

    monkeypatch.setattr(reading, "read_plane", changed_before)
    settings = make_settings()
    found = read_image(path, settings.image, settings.display, wish)
    assert isinstance(found, Failure) and found.transient
    assert found.status == ("unreadable" if then == "gone" else "changed")


ZARR = np.full((2, 40, 40), 7, np.uint8)


@pytest.fixture
def zarr_wish(tmp_path):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, ZARR, "tyx", chunks=20)
    return path, Wish(Plane(None, 1), "ab" * 16, *stat_of([path])[:2])


def test_a_scene_that_a_zarr_does_not_have_is_unsupported(zarr_wish):
    path, wish = zarr_wish
    settings = make_settings()
    found = read_image(path, settings.image, settings.display, replace(wish, plane=Plane(7)))
    assert (found.status, found.transient) == ("unsupported", False)


@pytest.mark.parametrize("then", ["a chunk", "everything"])
def test_a_chunk_that_goes_while_a_zarr_is_read_is_no_fill_value(zarr_wish, monkeypatch, then):
    path, wish = zarr_wish
    read_plane = reading.read_plane

    def changed_before(*arguments):
        chunks = sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
        for chunk in chunks if then == "everything" else chunks[-1:]:
            chunk.unlink()
        return read_plane(*arguments)

    monkeypatch.setattr(reading, "read_plane", changed_before)
    settings = make_settings()
    # as of a plate that takes long to look through, so that it is seldom looked through
    monkeypatch.setattr(content, "_RARELY", 1e6)
    found = read_image(path, settings.image, settings.display, wish)
    assert (found.status, found.transient) == ("changed", True)


def test_only_the_part_of_a_zarr_that_was_read_has_to_be_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    for field in "01":
        write_ome_zarr(path / field, ZARR[0], "yx", chunks=20)
    monkeypatch.setattr(content, "_RARELY", 1e6)
    found = content.recent_stat([path])[:2]
    looked = []
    monkeypatch.setattr(os, "stat", lambda file, stat=os.stat: looked.append(file) or stat(file))
    assert content.is_unchanged([path], found, path / "0" / "0")
    assert looked and all(str(file).startswith(str(path / "0")) for file in looked)
    (path / "1" / "0" / "1.1").write_bytes(b"other")
    assert content.is_unchanged([path], found, path / "0" / "0")
    assert not content.is_unchanged([path], found, path / "1" / "0")
    assert not content.is_unchanged([path], found)


def test_a_file_of_a_set_that_changed_after_planning_changes_the_images_of_all(tmp_path):
    write_set(tmp_path, companion=False)
    path, other = tmp_path / "z0.tif", tmp_path / "z1.tif"
    planned = companions_digest(describe(path).companions)
    stat = path.stat()
    wish = Wish(Plane(0, 1, "max"), "ab" * 16, stat.st_size, stat.st_mtime_ns, companions=planned)
    settings = make_settings()
    assert read_image(path, settings.image, settings.display, wish).image_id == "ab" * 16
    os.truncate(other, 300)  # while its set is open, or before
    for _ in range(2):
        found = read_image(path, settings.image, settings.display, wish)
        assert (found.status, found.transient) == ("changed", True)
    other.unlink()
    found = read_image(path, settings.image, settings.display, wish)
    assert found.transient and found.status in ("changed", "unreadable")


def test_joined_files_are_the_named_channels_of_one_image(tmp_path):
    for name, value in (("a.tif", 3), ("b.png", 5)):
        pixels = np.full((8, 9), value, np.uint8)
        cv2.imwrite(str(tmp_path / name), pixels)
    settings = make_settings(display={"channel": "GFP"})
    channels = (("DAPI", tmp_path / "a.tif"), ("GFP", tmp_path / "b.png"))
    found = read_image(
        tmp_path / "a.tif", settings.image, settings.display, Wish(channels=channels)
    )
    assert found.channels == ("DAPI", "GFP") and not found.is_color
    assert found.pixels[0, 0].tolist() == [3, 5]
    settings = make_settings(display={"channel": "Cy5"})
    found = read_image(
        tmp_path / "a.tif", settings.image, settings.display, Wish(channels=channels)
    )
    assert "the channels are called DAPI, GFP, but display.channel is Cy5" in found.reason
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((8, 10), np.uint8))
    found = read_image(
        tmp_path / "a.tif", settings.image, settings.display, Wish(channels=channels)
    )
    assert found.status == "unsupported" and "b.png holds 1 image of 10 x 8 pixels" in found.reason
    (tmp_path / "b.png").unlink()
    found = read_image(
        tmp_path / "a.tif", settings.image, settings.display, Wish(channels=channels)
    )
    assert found.status == "unreadable"


def test_a_missing_file_is_a_transient_failure_without_an_id(tmp_path):
    found = read(tmp_path / "gone.png")
    assert (found.status, found.transient, found.image_id) == ("unreadable", True, "")
    assert found.reason == "cannot be read: No such file or directory"


@pytest.mark.parametrize("read_or_open", [read_image, open_image])
def test_a_folder_that_took_the_place_of_an_image_says_nothing_of_its_content(png, read_or_open):
    stat = png.stat()
    wish = Wish(image_id=image_id(png.read_bytes()), size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    png.unlink()
    png.mkdir()
    settings = make_settings()
    found = read_or_open(png, settings.image, settings.display, wish)
    assert (found.status, found.transient, found.image_id) == ("changed", True, "")


def test_no_memory_is_a_transient_failure(png, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(reading, "to_rgb", exhausted)
    found = read(png)
    assert (found.status, found.transient) == ("out_of_memory", True)
    assert found.image_id == image_id(png.read_bytes())


def test_paths_are_relative_to_the_root_or_absolute(tmp_path):
    assert path_of(tmp_path, "sub/a.tif") == tmp_path / "sub" / "a.tif"
    assert str(path_of(tmp_path, "/data/a.tif")) == "/data/a.tif"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_without_a_finite_pixel_is_black_and_this_is_said(tmp_path, value):
    path = tmp_path / "blank.tif"
    tifffile.imwrite(path, np.full((8, 9), value, np.float32))
    found = read(path)
    assert found.warning == "all pixels are NaN or infinite"
    assert not found.rgb.any()


def test_a_channel_without_a_finite_pixel_is_said(tmp_path):
    pixels = np.ones((3, 8, 9), np.float32)
    pixels[1] = np.nan
    path = tmp_path / "channels.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX"})
    found = read(path)
    assert found.pixels.shape == (8, 9, 3)
    assert found.warning == "all pixels of channel 1 are NaN or infinite"


def test_pixels_that_are_not_finite_do_not_change_how_the_others_are_shown(tmp_path):
    pixels = np.arange(80, dtype=np.float32).reshape(8, 10)
    tifffile.imwrite(tmp_path / "whole.tif", pixels)
    pixels[0, :2], pixels[7, 9] = (np.nan, -np.inf), np.inf
    tifffile.imwrite(tmp_path / "holes.tif", pixels)
    display = {"percentiles": [0, 100]}
    whole, holes = (
        read(tmp_path / name, display=display).rgb for name in ("whole.tif", "holes.tif")
    )
    assert (
        np.abs(whole.astype(int) - holes).max() <= 8
    )  # the limits are 2 and 78 instead of 0 and 79


def test_a_look_up_table_is_applied_or_ignored_as_configured(tmp_path):
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    fire = cv2.applyColorMap(index.reshape(-1, 1), cv2.COLORMAP_HOT)[:, 0, ::-1]
    path = tmp_path / "hot.tif"
    tifffile.imwrite(path, index, photometric="palette", colormap=fire.T.astype(np.uint16) * 257)
    for choice in ("auto", "ignored"):
        found = read(path, image={"lookup_table": choice})
        assert found.pixels[:, :, 0].tolist() == index.tolist()
        assert bool(found.warning) == (choice == "auto")
    found = read(path, image={"lookup_table": "applied"})
    assert found.is_color
    assert found.pixels.reshape(-1, 3).tolist() == fire.tolist()
    assert not found.warning


# large images stay in their files


def opened(path, **sections) -> ReadImage | OpenedImage | Failure:
    settings = make_settings(**sections)
    return open_image(path, settings.image, settings.display)


@pytest.fixture
def all_are_large(monkeypatch):
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 99)
    monkeypatch.setattr(windows, "_BAND_PIXELS", 1)
    monkeypatch.setattr(windows, "_BAND_ROWS", 16)


RANDOM = np.random.default_rng(3)
LARGE = {
    "u1": RANDOM.integers(0, 256, (70, 60), np.uint8),
    "u2": RANDOM.integers(0, 5000, (2, 70, 60), np.uint16),
    "i4": RANDOM.integers(-(10**9), 10**9, (70, 60), np.int32),
    "f4": RANDOM.normal(size=(2, 70, 60)).astype(np.float32),
    "constant": np.full((70, 60), 7, np.uint16),
    "colour": RANDOM.integers(0, 256, (70, 60, 3), np.uint8),
    "deep colour": RANDOM.integers(0, 5000, (70, 60, 3), np.uint16),
}
LARGE["f4"][0, 3, :20], LARGE["f4"][0, 50, :9], LARGE["f4"][1] = np.nan, np.inf, np.nan


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("display", [{}, {"percentiles": [5, 60], "colormap": "jet"}])
def test_a_large_image_is_shown_in_parts_as_it_is_at_once(tmp_path, all_are_large, name, display):
    path = tmp_path / "a.tif"
    colour = {"photometric": "rgb"} if "colour" in name else {"photometric": "minisblack"}
    axes = {} if "colour" in name or LARGE[name].ndim == 2 else {"metadata": {"axes": "CYX"}}
    tifffile.imwrite(path, LARGE[name], tile=(32, 16), **colour, **axes)
    whole, found = read(path, display=display), opened(path, display=display)
    assert isinstance(found, OpenedImage)
    assert (found.size, found.dtype, found.image_id) == (whole.size, whole.dtype, whole.image_id)
    assert (found.is_color, found.plane) == (whole.is_color, whole.plane)
    assert found.warning == whole.warning
    assert ("NaN" in found.warning) == (name == "f4")
    for y0, y1, x0, x1 in [(0, 70, 0, 60), (13, 40, 5, 50)]:
        pixels = found.windows.read(y0, y1, x0, x1)
        assert np.array_equal(pixels, whole.pixels[y0:y1, x0:x1], equal_nan=whole.dtype.kind == "f")
        assert np.array_equal(found.painter.paint(pixels), whole.rgb[y0:y1, x0:x1])


def test_only_large_images_of_formats_with_windows_stay_in_their_files(png, all_are_large):
    path = png.with_suffix(".tif")
    tifffile.imwrite(path, PIXELS[:9])
    assert isinstance(opened(path), ReadImage)  # 90 pixels
    assert isinstance(opened(png), ReadImage)
    tifffile.imwrite(path, PIXELS)
    assert isinstance(opened(path), OpenedImage)


def test_max_pixels_bounds_what_is_read_whole(png):
    path = png.with_suffix(".tif")
    tifffile.imwrite(path, PIXELS)
    limit = {"image": {"max_pixels": 100}}
    assert opened(png, **limit).status == read(path, **limit).status == "too_large"
    assert isinstance(opened(path, **limit), OpenedImage)


@pytest.mark.parametrize("fault", ["truncated", "channel", "tile"])
def test_a_large_image_that_cannot_be_read_fails_as_a_small_one_does(tmp_path, monkeypatch, fault):
    path, sections = tmp_path / "a.tif", {}
    tifffile.imwrite(path, LARGE["u1"], tile=(32, 16), compression="zlib")
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-30])
    elif fault == "channel":
        tifffile.imwrite(path, LARGE["u2"], imagej=True, metadata={"axes": "CYX"})
        sections = {"display": {"channel": 2}}
    else:
        with tifffile.TiffFile(path) as tiff:
            place = tiff.pages[0].dataoffsets[4]
        data = bytearray(path.read_bytes())
        data[place + 5 : place + 15] = bytes(10)
        path.write_bytes(data)
    small = read(path, **sections)
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 99)
    found = opened(path, **sections)
    assert isinstance(found, Failure)
    assert (found.status, found.image_id) == (small.status, small.image_id)
    assert found.reason.split(":")[0] == small.reason.split(":")[0]
    assert found.transient == small.transient


def test_a_large_image_that_changes_after_its_last_window_is_noticed(tmp_path, all_are_large):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, LARGE["u1"], tile=(32, 16))
    found = opened(path)
    assert isinstance(found, OpenedImage)
    found.windows.read(0, 9, 0, 9)
    found.windows.check()
    os.utime(path, ns=(1, 1))
    with pytest.raises(ChangedFile):
        found.windows.check()
