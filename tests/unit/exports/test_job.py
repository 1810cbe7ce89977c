"""What is exported again, and what is not."""

import csv
import os

import numpy as np
import pytest

from samfleet.errors import UserError
from samfleet.exports.job import KINDS, export_all
from samfleet.exports.stamp import export_stamp
from samfleet.results import EXPORT_KINDS, export_folder, export_list_file
from tests.builders import disc, make_settings, schema_leaves
from tests.detected import Detected, object_row


@pytest.fixture
def detected(tmp_path) -> Detected:
    detected = Detected(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        detected.add(name)
    return detected


def test_the_kinds_are_those_of_the_configuration():
    assert tuple(KINDS) == EXPORT_KINDS == tuple(schema_leaves()["exports"]["items"]["enum"])


def times(detected: Detected) -> dict[str, int]:
    """The time at which each file was written."""
    out = detected.folder / "out"
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for path in sorted(out.iterdir())
        if not path.name.startswith(".")
    }


@pytest.mark.parametrize("kind", [kind for kind in EXPORT_KINDS if kind not in ("coco", "anndata")])
def test_only_images_whose_objects_changed_are_written_again(detected, kind):
    detected.export(kind)
    before = times(detected)
    assert detected.export(kind).unchanged == 3
    assert times(detected) == before
    detected.objects["b.png"] = [object_row(disc(60, 80, 30, 30, 8))]
    detected.write()
    exported = detected.export(kind)
    assert (exported.written, exported.unchanged) == (1, 2)
    changed = {name for name, time in times(detected).items() if time != before[name]}
    assert changed and all(name.startswith("b.png") for name in changed)
    assert set(times(detected)) == set(before)


@pytest.mark.parametrize("kind", ["coco", "anndata"])
def test_the_one_file_of_all_images_is_written_again_if_any_of_them_changed(detected, kind):
    assert detected.export(kind).written == 3
    assert detected.export(kind).unchanged == 3
    detected.objects["b.png"] = []
    detected.write()
    assert detected.export(kind).written == 3


def test_a_measurement_that_a_kind_does_not_hold_writes_nothing_again(detected):
    for kind in ("labels", "geojson"):
        detected.export(kind, out=kind)
    detected.objects["b.png"][0]["raw_ctcf"] = 7.0
    detected.write()
    assert detected.export("labels", out="labels").written == 0
    assert detected.export("geojson", out="geojson").written == 1


def test_a_deleted_file_is_written_again_and_one_that_others_changed_is_left(detected):
    detected.export("labels")
    out = detected.folder / "out"
    (out / "a.png.csv").unlink()
    (out / "b.png.tif").write_bytes(b"mine")
    exported = detected.export("labels")
    assert (exported.written, exported.unchanged) == (1, 2)
    assert (out / "a.png.csv").exists()
    assert (out / "b.png.tif").read_bytes() == b"mine"
    detected.objects["b.png"] = []
    detected.write()
    with pytest.raises(UserError, match=r"others have changed what it wrote.*\n  b\.png\.tif"):
        detected.export("labels")
    assert (out / "b.png.tif").read_bytes() == b"mine"


def test_without_its_notes_an_export_writes_everything_again(detected):
    detected.export("zarr")
    for path in (detected.folder / "out").glob(".samfleet-*"):
        path.write_text("damaged")
    assert detected.export("zarr").written == 3


def test_files_of_images_without_a_result_or_a_row_are_removed(detected):
    detected.export("labels")
    detected.rows[0]["status"] = "pending"
    detected.objects["a.png"] = []
    del detected.rows[1]
    detected.write()
    assert detected.export("labels").removed == 2  # a label image and its table
    assert set(times(detected)) == {"c.png.tif", "c.png.csv"}


def test_folders_are_removed_as_files_are(detected):
    detected.export("zarr")
    del detected.rows[1]
    detected.write()
    assert detected.export("zarr").removed == 1
    assert set(times(detected)) == {"a.png.ome.zarr", "c.png.ome.zarr"}
    (detected.folder / "out" / "c.png.ome.zarr" / "mine.txt").write_text("notes")
    del detected.rows[1]
    detected.write()
    assert detected.export("zarr").removed == 0  # it is not as it was written
    assert (detected.folder / "out" / "c.png.ome.zarr" / "mine.txt").exists()


@pytest.mark.parametrize("kind", ["overlays", "zarr"])
def test_an_image_that_changed_since_is_not_exported_with_its_old_objects(detected, kind):
    detected.export(kind)
    pixels = np.full((60, 80), 9, np.uint8)
    detected.add("other.png", pixels=pixels)
    os.replace(detected.folder / "images" / "other.png", detected.folder / "images" / "b.png")
    del detected.rows[-1]
    detected.write()
    exported = detected.export(kind)
    assert "has changed since" in exported.outdated["b.png"]
    assert not any(name.startswith("b.png") for name in times(detected))


def test_objects_of_an_image_that_is_not_asked_for_are_passed_over(detected):
    detected.export("geojson", "c.png")
    assert list(times(detected)) == ["c.png.geojson"]
    assert (detected.folder / "out" / "c.png.geojson").read_text().count('"Feature"') == 1


def test_the_workflows_export_lists_its_files_and_is_due_when_they_are_not_there(detected):
    detected.summarized()
    settings = make_settings(detected.images, exports=["labels"])
    results = detected.results
    assert export_stamp(settings, results, "labels") == 1
    (results / "plan").mkdir(exist_ok=True)
    (results / "plan" / "export-labels.1.stamp").touch()
    export_all(settings, results, "labels", threads=2)
    with export_list_file(results, "labels").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a.png", "b.png", "c.png"]
    assert {row["n_objects"] for row in rows} == {"1"}
    for row in rows:
        assert (export_folder(results, "labels") / row["file"]).is_file()
    assert export_stamp(settings, results, "labels") == 1
    (export_folder(results, "labels") / "a.png.tif").unlink()
    assert export_stamp(settings, results, "labels") == 2
