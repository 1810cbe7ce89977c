"""Exports of images that stay in their files."""

import os

import cv2
import numpy as np
import pytest

from samfleet.exports import ngff
from samfleet.images import reading, windows
from samfleet.images.formats.image import ImageError
from samfleet.images.sources.large import FileWindows
from samfleet.opened.files import read_as_detected
from samfleet.opened.results import Results
from tests.builders import disc, make_settings
from tests.detected import Detected, object_row

SIZE = 300, 220
IN_TILES = {"tile_size": 64}


@pytest.fixture
def detected(tmp_path, monkeypatch) -> Detected:
    """An image that counts as large where tiles are set."""
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(windows, "_BAND_PIXELS", 1)
    monkeypatch.setattr(windows, "_BAND_ROWS", 32)
    monkeypatch.setattr(ngff, "_CHUNK", 64)
    detected = Detected(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 4000, SIZE).astype(np.uint16)
    masks = [disc(*SIZE, 100, 90, 30), disc(*SIZE, 250, 180, 12)]
    objects = [object_row(mask, n) for n, mask in enumerate(masks, 1)]
    detected.add("a.tif", objects=objects, pixels=pixels, pixel_size_um="")
    return detected


@pytest.fixture
def windows_read(monkeypatch) -> list[int]:
    """The pixels of every window that is read."""
    areas: list[int] = []
    read = FileWindows.read

    def counted(self, y0, y1, x0, x1):
        areas.append((y1 - y0) * (x1 - x0))
        return read(self, y0, y1, x0, x1)

    monkeypatch.setattr(FileWindows, "read", counted)
    return areas


def files_of(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".samfleet")
    }


@pytest.mark.parametrize("kind", ["zarr", "overlays"])
def test_an_image_that_stays_in_its_file_gives_the_files_that_it_gives_in_memory(
    detected, windows_read, kind
):
    detected.export(kind, out="whole")
    assert not windows_read
    detected.export(kind, out="windows", sam=IN_TILES)
    assert windows_read
    if kind == "zarr":  # an overlay of 4096 pixels is made at once
        assert max(windows_read) == 64 * 220
    assert files_of(detected.folder / "windows") == files_of(detected.folder / "whole")


def test_the_pixels_of_an_object_are_read_alone(detected, windows_read, monkeypatch):
    settings = make_settings(detected.images, sam=IN_TILES)
    monkeypatch.setattr(Results, "settings", settings)
    results = Results(detected.results)
    row = results.objects.iloc[1]
    windows_read.clear()
    pixels = results.pixels(row)
    assert pixels.shape == (25, 25, 1)
    assert windows_read[-1] == 25 * 25
    whole = results.image_pixels(row)
    assert whole.shape == (*SIZE, 1)
    y, x = row["bbox_y"], row["bbox_x"]
    np.testing.assert_array_equal(pixels, whole[y : y + 25, x : x + 25])


def test_the_reports_picture_of_a_large_image_is_that_of_the_image(detected):
    settings = make_settings(detected.images, sam=IN_TILES)
    row = detected.rows[0]
    read = read_as_detected(settings, row["image"], row["image_id"], SIZE, None)
    assert isinstance(read, reading.OpenedImage)
    (rgb,) = read.parts([(0, 0, SIZE[1], SIZE[0])])
    at_once = read_as_detected(
        make_settings(detected.images), row["image"], row["image_id"], SIZE, None
    )
    np.testing.assert_array_equal(rgb, at_once.rgb)
    assert cv2.countNonZero(rgb[..., 0]) > 0


@pytest.mark.parametrize("then", ["changed", "damaged"])
@pytest.mark.parametrize(("kind", "window"), [("zarr", 15), ("overlays", 11)])
def test_a_large_image_that_changes_while_it_is_exported_costs_no_other(
    detected, monkeypatch, kind, window, then
):
    detected.add("b.tif", objects=[], pixels=np.full(SIZE, 9, np.uint16), pixel_size_um="")
    path = detected.images / "a.tif"
    read, reads = FileWindows.read, []

    def changed_before(self, *box):
        reads.append(self._path.name)
        if (
            reads[-1] == "a.tif" and reads.count("a.tif") == window
        ):  # the last: they are read once before
            if then == "damaged":
                raise ImageError("unreadable", "a tile is damaged")
            os.utime(path, ns=(1, 1))
        return read(self, *box)

    monkeypatch.setattr(FileWindows, "read", changed_before)
    exported = detected.export(kind, sam=IN_TILES)
    assert reads.count("a.tif") == window
    assert (exported.written, [*exported.outdated]) == (1, ["a.tif"])
    assert not [*(detected.folder / "out").glob("a.tif*")]
