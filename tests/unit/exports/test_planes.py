"""Files that hold several images have an export for each of them."""

import json
import os

import numpy as np
import pytest
import tifffile
import zarr

from samfleet import content
from samfleet.digests import image_id
from samfleet.exports import ngff
from samfleet.exports.job import export
from samfleet.opened.tables import table_images
from samfleet.plan.manifest import ManifestRow, write_manifest
from samfleet.planes import Plane, image_id_of_plane
from samfleet.results import manifest_file
from tests.builders import disc, make_settings
from tests.detected import Detected, object_row
from tests.microscopes import write_ome_zarr


@pytest.fixture
def stack(tmp_path) -> Detected:
    """Two time points of one file, of which each has an object of its own."""
    detected = Detected(tmp_path)
    path = detected.folder / "images" / "s.tif"
    path.parent.mkdir()
    pixels = np.stack([np.full((60, 80), value, np.uint8) for value in (10, 20)])
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TYX"})
    digest = image_id(path.read_bytes())
    rows = []
    for time in (0, 1):
        plane = Plane(time=time)
        identity = image_id_of_plane(digest, plane)
        row = {"image": "s.tif", "scene": "", "time": str(time), "slice": "", "status": "ok"}
        row |= {"image_id": identity, "reason": "", "width": 80, "height": 60}
        detected.rows.append(row)
        found = path.stat()
        rows.append(
            ManifestRow("s.tif", identity, found.st_size, found.st_mtime_ns, cells=plane.cells)
        )
    objects = [object_row(disc(60, 80, 20, 20 + 30 * t, 9), 1, time=t) for t in (0, 1)]
    detected.objects["s.tif"] = objects
    detected.write()
    write_manifest(manifest_file(detected.results), rows)
    return detected


def test_every_image_of_a_file_has_its_own_objects_under_its_own_name(stack):
    assert [image.name for image in table_images(stack.results)] == ["s.tif_t0", "s.tif_t1"]
    assert stack.export("labels").written == 2
    for time in (0, 1):
        labels = tifffile.imread(stack.folder / "out" / f"s.tif_t{time}.tif")
        np.testing.assert_array_equal(labels == 1, disc(60, 80, 20, 20 + 30 * time, 9))


def test_pixels_are_those_of_the_plane(stack):
    assert stack.export("zarr", "s.tif_t1").written == 1
    group = zarr.open_group(stack.folder / "out" / "s.tif_t1.ome.zarr", mode="r")
    assert np.unique(group["0"][:]).tolist() == [20]


def test_a_viewer_is_told_the_names_and_ranges_of_channels(stack):
    path = stack.images / "s.tif"
    pixels = np.full((2, 60, 80), 7, np.uint16)
    pixels[1, :, 40:] = [[300]]
    pixels[0, 59, 79] = 9000
    about = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata=about)
    digest, found = image_id(path.read_bytes()), path.stat()
    stack.rows[:] = stack.rows[:1]
    stack.rows[0] |= {"time": "", "image_id": digest}
    stack.objects["s.tif"] = stack.objects["s.tif"][:1]
    stack.write()
    row = ManifestRow("s.tif", digest, found.st_size, found.st_mtime_ns)
    write_manifest(manifest_file(stack.results), [row])
    assert stack.export("zarr").written == 1
    group = zarr.open_group(stack.folder / "out" / "s.tif.ome.zarr", mode="r")
    channels = group.attrs["omero"]["channels"]
    assert [each["label"] for each in channels] == ["DAPI", "GFP"]
    assert len({each["color"] for each in channels}) == 2
    assert [(each["window"]["start"], each["window"]["end"]) for each in channels] == [
        (7, 9000),
        (7, 300),
    ]


@pytest.mark.parametrize(
    ("values", "window"),
    [
        ([100.0, np.nan, 200.0, np.inf, -np.inf], (100, 200)),
        ([-7.0, -5.0, -np.inf], (-7, -5)),
        ([np.nan, np.nan], (0, 1)),
        ([0.0, 0.0], (0, 1)),
        ([50.0, 50.0], (50, 100)),  # any range, but not of nothing
    ],
)
def test_the_range_of_a_channel_is_that_of_finite_values_and_never_empty(values, window):
    pixels = np.resize(np.array(values, np.float32), (6, 5, 1))
    assert ngff._window(ngff._extremes(pixels)[:, 0]) == {
        "min": window[0],
        "max": window[1],
        "start": window[0],
        "end": window[1],
    }


def test_a_file_means_all_of_its_images(stack):
    settings = make_settings(stack.images)
    assert export(settings, stack.results, "coco", stack.folder / "out", ["s.tif"]).written == 2
    coco = json.loads((stack.folder / "out" / "objects.json").read_text())
    assert [(each["file_name"], each["time"]) for each in coco["images"]] == [
        ("s.tif", "0"),
        ("s.tif", "1"),
    ]
    assert [each["image_id"] for each in coco["annotations"]] == [1, 2]


def test_one_file_of_all_images_is_not_emptied_for_images_without_a_result(stack):
    assert stack.export("coco").written == 2
    before = (stack.folder / "out" / "objects.json").read_bytes()
    stack.rows[1]["status"] = "unreadable"
    stack.write()
    assert [*stack.export("coco", "s.tif_t1").without_result] == ["s.tif_t1"]
    assert (stack.folder / "out" / "objects.json").read_bytes() == before


@pytest.mark.parametrize("kind", ["zarr", "overlays"])
def test_a_zarr_of_which_a_chunk_has_changed_loses_its_export(tmp_path, kind):
    detected = Detected(tmp_path)
    path = tmp_path / "images" / "a.zarr"
    write_ome_zarr(path, np.full((60, 80), 7, np.uint8), "yx", chunks=32)
    row = {"image": "a.zarr", "scene": "", "time": "", "slice": "", "status": "ok", "reason": ""}
    digest = content.digest_of_content([path])[0]
    detected.rows.append(row | {"image_id": digest, "width": 80, "height": 60})
    detected.objects["a.zarr"] = [object_row(disc(60, 80, 20, 20, 9))]
    detected.write()
    planned = ManifestRow("a.zarr", digest, *content.stat_of([path])[:2])
    write_manifest(manifest_file(detected.results), [planned])
    assert detected.export(kind).written == 1
    assert detected.export(kind).unchanged == 1
    os.utime(path / "0" / "0.0", ns=(1, 1))
    content._last.clear()  # as in another process
    assert [*detected.export(kind).outdated] == ["a.zarr"]
    assert not [*(detected.folder / "out").glob("a.zarr*")]
