"""Files that hold several images, Zarrs, sets and joined files, from the scan to the shards."""

import csv
import json
import logging
import os
import shutil
import sys

import numpy as np
import pytest
import tifffile

from samfleet import open_results
from samfleet.cells import read_csv
from samfleet.images.sources.source import describe
from samfleet.opened.tables import table_images
from samfleet.plan import manifest
from samfleet.plan.collection import ManifestError, scan_collection
from samfleet.plan.cost import guess_cost
from samfleet.plan.manifest import read_manifest
from samfleet.plan.outlook import outlook
from samfleet.plan.planning import make_plan
from samfleet.planes import Plane, companions_digest
from samfleet.report.selection import name_of
from samfleet.results import descriptions_file, manifest_file, store_folder, summary_file
from samfleet.summary.tables import write_summary
from tests.builders import carry_out, make_settings, shard_images, stored_rows, write_segment
from tests.microscopes import write_dv, write_lif, write_ome_zarr
from tests.unit.images.sources.test_tiff_source import write_set

KEY = "0123456789abcdef"
STACK = np.arange(2 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 3, 8, 9)


class Run:
    """A collection of files that are planned."""

    def __init__(self, folder):
        self.images, self.results = folder / "images", folder / "results"
        self.images.mkdir()
        self.source = self.images
        self.last = None

    def plan(self, **image):
        settings = make_settings(self.source, image=image)
        self.last = make_plan(settings, self.results, KEY, 1)
        return self.last

    def rows(self) -> list[tuple]:
        return [(row.path, *row.cells) for row in read_manifest(manifest_file(self.results))]

    def pending(self, **image) -> list[tuple]:
        before = self.last
        plan = self.plan(**image)
        if before is not None and plan.id == before.id:  # nothing is to do
            return []
        return [(each.path, *each.plane.cells) for each in shard_images(self.results, plan)]

    def detect(self) -> None:
        carry_out(self.results, self.last)


def test_a_job_is_told_what_the_other_files_of_a_set_were(run):
    (run.images / "set").mkdir()
    write_set(run.images / "set", companion=True)
    planned = {each.path: each.companions for each in shard_images(run.results, run.plan())}
    found = describe(run.images / "set" / "z0.tif").companions
    assert planned["set/z0.tif"] == companions_digest(found) != ""
    assert planned["a.tif"] == planned["b.tif"] == ""
    os.utime(run.images / "set" / "z2.tif", ns=(1, 1))
    again = {each.path: each.companions for each in shard_images(run.results, run.plan())}
    assert again["set/z0.tif"] not in ("", planned["set/z0.tif"])


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    tifffile.imwrite(run.images / "a.tif", STACK[0, 0])
    write_stack(run.images / "b.tif", STACK)
    return run


def write_stack(path, data) -> None:
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "TZYX"})


def test_every_image_of_a_file_has_its_row_and_the_one_image_of_a_file_its_digest(run):
    assert run.pending() == [
        ("a.tif", "", "", ""),
        ("b.tif", "", "0", "max"),
        ("b.tif", "", "1", "max"),
    ]
    rows = list(read_manifest(manifest_file(run.results)))
    assert rows[0].image_id == manifest.digest_of_content([run.images / "a.tif"])[0]
    assert len({row.image_id for row in rows}) == 3


def test_a_plan_with_nothing_new_opens_no_file_whatever_is_selected(run, monkeypatch):
    run.plan()
    run.detect()

    def opened(*_):
        raise AssertionError("a file was opened")

    for name in ("digest_of_file", "digest_of_content"):
        monkeypatch.setattr(manifest, name, opened)
    monkeypatch.setattr("samfleet.plan.planning.describe_content", opened)
    assert run.pending() == []
    assert run.pending(slices="all", times=1) == [("b.tif", "", "1", str(z)) for z in range(3)]
    assert run.pending() == []


def test_of_a_file_that_changes_its_own_images_are_detected_and_no_others(run):
    write_stack(run.images / "c.tif", STACK + 1)
    run.plan()
    run.detect()
    changed = STACK.copy()
    changed[1, 2, 3, 4] += 7
    write_stack(run.images / "b.tif", changed)
    assert run.pending() == [("b.tif", "", "0", "max"), ("b.tif", "", "1", "max")]
    shutil.copy(run.images / "c.tif", run.images / "copy.tif")
    run.detect()
    assert run.pending() == []


def test_a_file_whose_reader_is_missing_is_refused_until_that_is_installed(run, monkeypatch):
    write_dv(run.images / "c.dv", STACK[:, np.newaxis], [525])
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "mrc", None)
        assert ("c.dv", "", "", "") not in run.pending()
        run.detect()
        (row,) = [r for r in read_manifest(manifest_file(run.results)) if r.path == "c.dv"]
        assert "unsupported: " in row.problem and "the package mrc; install that" in row.problem
    run.last = make_plan(make_settings(run.images, rehash=True), run.results, KEY, 1)
    found = [(r.path, *r.plane.cells) for r in shard_images(run.results, run.last)]
    assert found == [("c.dv", "", "0", "max"), ("c.dv", "", "1", "max")]


def test_a_file_that_memory_does_not_suffice_for_is_not_taken_for_one_image(run, monkeypatch):
    def describe(path, *_):
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr("samfleet.images.sources.source.describe", describe)
        assert run.pending() == [("a.tif", "", "", "")]
        run.detect()
        rows = list(read_manifest(manifest_file(run.results)))
        assert "too little memory" in rows[1].problem and not rows[1].image_id
    run.last = make_plan(make_settings(run.images, rehash=True), run.results, KEY, 1)
    found = [(r.path, *r.plane.cells) for r in shard_images(run.results, run.last)]
    assert found == [("b.tif", "", "0", "max"), ("b.tif", "", "1", "max")]


def test_the_plan_says_what_files_hold_and_what_is_left_out(run, caplog):
    with caplog.at_level(logging.INFO):
        run.plan()
    assert "1 file holds several planes: 2 images (1 of 2 times × 3 slices)" in caplog.text
    assert "6 slices of Z are seen only in a projection (image.slices: max)" in caplog.text
    caplog.clear()
    run.plan(slices=1)
    assert "4 planes are left out" in caplog.text and "projection" not in caplog.text


def test_entries_that_match_nothing_in_any_file_are_said_once_with_what_there_is(run, caplog):
    names = ["A1", "A2", "B1", "B2", "C1", "C2", "D1"]
    position = STACK[:, :1, np.newaxis].astype(np.uint8)
    write_lif(run.images / "c.lif", dict.fromkeys(names, position[:1]))
    write_lif(run.images / "d.lif", {"E1": position, "01": position})
    wanted = {"suffixes": [".tif", ".lif"], "scenes": ["A2", "Z9", 6, 7, "E1", "01", "99"]}
    for _ in range(2):  # the second time nothing is described anew
        caplog.clear()
        run.plan(**wanted, times=[0, 1, 5], slices=[2, 3])
        run.detect()
        (said,) = [each for each in caplog.messages if "matches" in each]
        assert said == (
            "nothing in the files that can be read matches image.scenes: Z9, 7, 99 (known: numbers 0 to 6, and names "
            "A1, A2, B1, B2, C1 and 4 more) and image.times: 5 (known: numbers 0 to 1) and image.slices: 3 "
            "(known: numbers 0 to 2)"
        )
    caplog.clear()
    run.plan(suffixes=[".tif", ".lif"], scenes=["A2", 6, "E1", "1"], times=1, slices=[0, 2])
    assert "matches" not in caplog.text


def test_entries_are_not_said_to_match_nothing_if_no_file_is_known_or_nothing_is_chosen(
    run, caplog
):
    run.plan(slices="mean")
    assert "matches" not in caplog.text
    (run.images / "b.tif").unlink()
    run.plan(scenes=[0, "A1"])
    assert "matches image.scenes: A1 (known: only number 0)" in caplog.text
    caplog.clear()
    (run.images / "a.tif").unlink()
    (run.images / "a.tif").symlink_to("gone.tif")
    run.plan(scenes=[0, "A1"])
    assert "a.tif cannot be read" in caplog.text and "matches" not in caplog.text


def test_the_cost_of_a_file_is_shared_by_its_images(run):
    """Else a file of 8 GB with 4000 planes would count 4000 times."""
    size = (run.images / "b.tif").stat().st_size
    plan = run.plan(slices="all")
    guess = guess_cost("vit_h")
    expected = 7 * guess.constant + guess.per_byte * (size + (run.images / "a.tif").stat().st_size)
    assert sum(shard.seconds for shard in plan.shards) == pytest.approx(expected, abs=0.06)


def test_a_dry_run_counts_images_and_files(run):
    collection = scan_collection(str(run.images), [".tif"], run.results)
    assert str(outlook(collection, run.results, KEY, False)).startswith("2 images found: 2 new")
    run.plan()
    run.detect()
    write_stack(run.images / "c.tif", STACK + 1)
    collection = scan_collection(str(run.images), [".tif"], run.results)
    said = str(outlook(collection, run.results, KEY, False))
    assert said.startswith("4 images in 3 files found: 1 new, 0 changed")


@pytest.mark.parametrize("damage", ["deleted", "damaged"])
def test_without_the_table_of_descriptions_files_are_described_again(run, damage):
    run.plan()
    run.detect()
    path = descriptions_file(run.results)
    if damage == "deleted":
        path.unlink()
    else:
        path.write_text(path.read_text().replace('"times":2', '"times":x'))
    assert run.pending() == []
    assert len(run.rows()) == 3 and '"times":2' in path.read_text()


def test_a_zarr_is_one_file_and_what_is_in_it_no_image(run):
    write_ome_zarr(run.images / "z.zarr", STACK, "tzyx")
    write_ome_zarr(run.images / "no_suffix", STACK[:1, 0], "tyx")
    tifffile.imwrite(run.images / "z.zarr" / "inside.tif", STACK[0, 0])
    assert run.pending(suffixes=[".zarr"]) == [
        ("no_suffix", "", "", ""),
        ("z.zarr", "", "0", "max"),
        ("z.zarr", "", "1", "max"),
    ]
    run.detect()
    assert run.pending(suffixes=[".zarr"]) == []
    (run.images / "z.zarr" / "0" / "1.2.0.0").write_bytes(b"another")
    assert len(run.pending(suffixes=[".zarr"])) == 2


def test_a_table_selects_planes_and_keeps_its_columns(run):
    run.source = run.images / "images.csv"
    run.source.write_text(
        "image,time,slice,dose\nb.tif,1,,high\nb.tif,0,2,low\nb.tif,0,mean,low\na.tif,,,none\n"
    )
    assert run.pending() == [
        ("a.tif", "", "", ""),
        ("b.tif", "", "1", "max"),
        ("b.tif", "", "0", "2"),
        ("b.tif", "", "0", "mean"),
    ]
    run.source.write_text("image,time\nb.tif,7\nb.tif,early\n")
    with pytest.raises(ManifestError, match="time is early, and must be a number"):
        run.plan()
    run.source.write_text("image,time\nb.tif,7\n")
    run.plan()
    (row,) = read_manifest(manifest_file(run.results))
    assert row.problem.startswith("unsupported: it has 2 times, counted from 0, and none is 7")


@pytest.mark.parametrize("gone", ["b.tif,,\n", "b.tif,1,\n"])
def test_a_row_that_leaves_a_table_takes_its_images_with_it(run, gone):
    run.source = run.images / "images.csv"
    rows = "image,time,slice\nb.tif,,\nb.tif,1,\nb.tif,,2\n"
    run.source.write_text(rows)
    before = scan_collection(str(run.source), [], run.results).fingerprint()
    run.source.write_text(rows.replace(gone, ""))
    assert scan_collection(str(run.source), [], run.results).fingerprint() != before


def test_rows_that_join_a_file_with_different_others_are_refused(run):
    run.source = run.images / "images.csv"
    run.source.write_text("image:A,image:B,scene\na.tif,b.tif,0\na.tif,c.tif,1\na.tif,,2\n")
    with pytest.raises(ManifestError, match="2 faulty rows") as raised:
        run.plan()
    assert "line 3: a.tif has other files of channels in line 2; give" in str(raised.value)


def test_a_damaged_file_says_why_it_has_not_what_is_selected(run, caplog):
    whole = (run.images / "b.tif").read_bytes()
    (run.images / "cut.tif").write_bytes(whole[:12])
    run.plan(scenes=[0, 4])
    problems = {row.path: row.problem for row in read_manifest(manifest_file(run.results))}
    assert problems == {"a.tif": "", "b.tif": "", "cut.tif": ""}
    run.plan(scenes=4)
    problems = {row.path: row.problem for row in read_manifest(manifest_file(run.results))}
    assert problems["cut.tif"].startswith("unreadable: the TIFF is truncated")
    assert problems["a.tif"] == problems["b.tif"] == "unsupported: it has 1 scene, counted from 0, and none is 4; correct image.scenes, or scene in the table"  # fmt: skip


def test_rows_of_a_table_that_select_nothing_have_rows_of_their_own_in_the_summary(run, caplog):
    run.source = run.images / "images.csv"
    asked = [
        ("a.tif", "5", "", "", "five"),
        ("a.tif", "=1+1", "all", "", "formula"),
        ("b.tif", "", "07", "", "seven"),
        ("b.tif", "", "01", "", "there"),
        ("b.tif", "", "1", "max", "there again"),
        ("b.tif", "Z9, left", "", "mean", "named"),
        ("gone.nd2", "0", "", "", "lost"),
        ("gone.nd2", "1", "", "", "lost, too"),
    ]
    with run.source.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "scene", "time", "slice", "dose"), *asked])
    assert run.pending() == [("b.tif", "", "1", "max")]
    assert caplog.text.count("gone.nd2 cannot be read") == 1
    assert "has the columns of the first: b.tif_t1_zmax" in caplog.text
    assert "3 planes are left out" in caplog.text and "3 slices of Z are seen only" in caplog.text
    run.detect()
    assert run.pending() == []
    write_summary(make_settings(run.source), run.results, store_folder(run.results, KEY))
    rows = read_csv(summary_file(run.results))
    found = [
        tuple(row[name] for name in ("image", "scene", "time", "slice", "dose")) for row in rows
    ]
    asked[3:5] = [("b.tif", "", "1", "max", "there")]
    assert found == asked
    assert [row["status"] for row in rows] == [*["unsupported"] * 3, "ok", "unsupported", *["unreadable"] * 2]  # fmt: skip
    assert [bool(row["image_id"]) for row in rows] == [row[4] == "there" for row in asked]
    assert "it has 2 times" in rows[2]["reason"] and "none is Z9, left" in rows[4]["reason"]
    results = open_results(run.results)
    assert results.images["scene"].dropna().tolist() == [5, "=1+1", "Z9, left", 0, 1]
    assert results.images["time"].dropna().tolist() == ["all", 7, 1]
    assert results.labels(results.images.iloc[3]).max() == 1
    assert [image.name for image in table_images(run.results)][1:3] == ["a.tif_s=1+1_tall", "b.tif_t07"]  # fmt: skip
    assert name_of(rows[4]) == "b.tif_sZ9, left_zmean"


def write_channels(folder) -> None:
    for site in (1, 2):
        for channel in (1, 2):
            pixels = np.full((8, 9), 10 * site + channel, np.uint8)
            tifffile.imwrite(folder / f"A01_s{site}_w{channel}.TIF", pixels)


PATTERN = r"(?P<image>.*)_w(?P<channel>\d)"


def test_files_are_joined_by_a_pattern(run):
    write_channels(run.images)
    run.plan(channel_pattern=PATTERN)
    rows = {row.path: row for row in read_manifest(manifest_file(run.results))}
    assert list(rows) == ["A01_s1_w1.TIF", "A01_s2_w1.TIF", "a.tif", "b.tif"]
    assert rows["A01_s1_w1.TIF"].channels == (("1", "A01_s1_w1.TIF"), ("2", "A01_s1_w2.TIF"))
    run.detect()
    assert run.pending(channel_pattern=PATTERN) == []
    tifffile.imwrite(run.images / "A01_s1_w2.TIF", np.full((8, 9), 99, np.uint8))
    assert run.pending(channel_pattern=PATTERN) == [("A01_s1_w1.TIF", "", "", "")]


def test_a_pattern_that_joins_what_it_should_not_or_nothing_is_refused(run):
    write_channels(run.images)
    with pytest.raises(ManifestError, match="are both channel 1 of image A01"):
        run.plan(channel_pattern=r"(?P<image>A01)_s\d_w(?P<channel>\d)")
    with pytest.raises(ManifestError, match="fits none of 6 files"):
        run.plan(channel_pattern=r"(?P<image>x)(?P<channel>y)")


def test_files_are_joined_by_the_columns_of_a_table(run):
    write_channels(run.images)
    run.source = run.images / "images.csv"
    run.source.write_text(
        "image:DAPI,image:GFP,well\nA01_s1_w1.TIF,A01_s1_w2.TIF,A1\nA01_s2_w1.TIF,gone.TIF,A2\n"
    )
    run.plan()
    first, second = read_manifest(manifest_file(run.results))
    assert json.loads(json.dumps(first.channels)) == [["DAPI", "A01_s1_w1.TIF"], ["GFP", "A01_s1_w2.TIF"]]  # fmt: skip
    assert second.problem == "cannot be read: No such file or directory (gone.TIF)"


def test_a_file_whose_images_were_not_what_its_stat_promised_is_hashed_again(run):
    run.plan()
    rows = list(read_manifest(manifest_file(run.results)))
    changed = stored_rows(rows[1].image_id, status="changed", transient=True)
    write_segment(store_folder(run.results, KEY), "s", changed, stored_rows(rows[0].image_id))
    hashed = []
    with pytest.MonkeyPatch.context() as patch:
        whole = manifest.digest_of_file
        patch.setattr(
            manifest, "digest_of_file", lambda file: hashed.append(file.name) or whole(file)
        )
        run.plan()
    assert [name.endswith("b.tif") for name in hashed] == [True]
    assert Plane(None, 0, "max") in {row.plane for row in rows}
