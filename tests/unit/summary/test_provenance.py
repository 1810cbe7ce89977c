"""What a run says of itself afterwards."""

import json
import os
import re
from collections import Counter
from dataclasses import replace

import pytest

from samfleet import cli
from samfleet.plan.commands import note_command, noted_commands
from samfleet.plan.manifest import ManifestRow
from samfleet.plan.progress import Beat, write_beat
from samfleet.plan.record import PlannedShard
from samfleet.results import (
    beat_file,
    commands_file,
    done_file,
    report_file,
    run_file,
    store_folder,
    store_settings_file,
    summary_file,
)
from samfleet.summary.account import account
from samfleet.summary.provenance import methods, write_provenance
from samfleet.summary.tables import Counts, projections_of
from tests.builders import make_settings, plan_of

PLAN = plan_of(PlannedShard("0001", 3, 60.0), images=3)
COUNTS = Counts(Counter(ok=2, unreadable=1), 1200, Counter(min_area=200), 1000)


def provenance(results, plan=PLAN, counts=COUNTS, **sections) -> dict:
    """What is written of a plan that was carried out."""
    settings = make_settings("images", **sections)
    write_provenance(settings, results, plan, counts, {"uint16": 4095.0})
    return json.loads(run_file(results).read_text())


@pytest.fixture
def results(tmp_path):
    path = done_file(tmp_path, "P", "0001")
    path.parent.mkdir(parents=True)
    done = {"host": "node1", "device": "gpu0", "detected": 2, "failed": 1, "seconds": 10.0}
    done |= {"device_idle": 0.25, "versions": {"torch": "2.14.1"}}
    path.write_text(json.dumps(done))
    (tmp_path / "plan" / "last.json").write_text(PLAN.to_json())
    model = store_settings_file(store_folder(tmp_path, "K"))
    model.parent.mkdir(parents=True)
    model.write_text(json.dumps({"model": "vit_h", "weights": "0123456789abcdef"}))
    return tmp_path


def test_a_run_says_what_its_tables_were_made_from_and_with(results):
    note_command(results, ["samfleet", "run", "my file.yaml"])
    record = provenance(results, fluorescence={"min_area": 77})
    assert record["model"] == {"key": "K", "model": "vit_h", "weights": "0123456789abcdef"}
    assert record["detection"]["devices"] == ["node1 gpu0"]
    assert record["detection"]["versions"] == {"torch": "2.14.1"}
    assert [each["command"] for each in record["commands"]] == ["samfleet run 'my file.yaml'"]
    assert record["configuration"]["fluorescence"]["min_area"] == 77
    assert record["counts"]["images"] == {"ok": 2, "unreadable": 1}
    assert record["counts"]["objects"] == 1000
    assert record["versions"]["numpy"]


def test_a_plan_with_nothing_to_detect_keeps_what_is_known_of_the_detections(results):
    before = provenance(results)["detection"]
    nothing = replace(PLAN, id="Q", pending=0, shards=())
    assert provenance(results, nothing)["detection"] == before
    assert provenance(results, replace(nothing, model_key="L"))["detection"] == {}


def test_the_methods_say_what_a_reader_needs(results, capsys):
    provenance(
        results,
        sam={"model": "vit_b", "points_per_side": 16},
        fluorescence={"min_circularity": 0.6, "exclude_edge": True, "channel": 1},
    )
    assert cli.main(["methods", "--results", str(results)]) == 0
    text = capsys.readouterr().out
    for words in (
        "model vit_b, weights with SHA-256 0123456789ab…",
        "a grid of 16 × 16 prompts",
        "an area of 1,500 to 150,000 pixels",
        "a circularity of at least 0.6 and no pixel at the edge of the image.",
        "measured on channel 1 of",
        "255 stands for 4095 (uint16)",
        "3 images (1 could not be analysed) gave 1,200 masks, of which 1,000 were objects",
        "PyTorch 2.14.1",
    ):
        assert words in text
    assert not re.search(r"None|\{|\}|  ", text)
    assert text == methods(json.loads(run_file(results).read_text())) + "\n"


def test_the_methods_name_a_channel_and_a_length(results):
    record = provenance(results, sam={"object_diameter": "12 um"}, fluorescence={"channel": "DAPI"})
    text = methods(record)
    assert "in tiles that suit objects of 12 um;" in text
    assert "Fluorescence was measured on channel DAPI of the pixels" in text


def test_the_methods_say_all_that_is_done_to_masks(results):
    everything = {
        "crop_n_layers": 1,
        "skip_background": True,
        "mask_nms_thresh": 0.9,
        "mask_nms_of": "smaller",
        "min_mask_region_area": 1200,
    }
    text = methods(provenance(results, sam=everything, fluorescence={"largest_part": True}))
    for words in (
        "64 × 64 prompts and 1 layer of crops, less those on background alone;",
        "of masks that shared more than 90% of the smaller one the better was kept.",
        "Holes and islands of fewer than 1,200 pixels were removed from masks, and of a mask in",
    ):
        assert words in text
    assert "Z" not in text
    mapped = {
        "model": "tiny",
        "prompts": "decoder",
        "refine_with_maps": True,
        "min_mask_region_area": 0,
        "crop_n_layers": 1,
    }
    text = methods(provenance(results, sam=mapped, fluorescence={"largest_part": False}))
    assert "saw (Archit & Pape, MIDL 2026) in the image and 1 layer of crops;" in text
    for words in (
        "was the mean of what SAM gave and of the mask's IoU with the objects that a watershed of",
        "Of masks that these maps showed to be of one object the best was kept, and outlines were",
        "corrected by a watershed from the prompts of what was kept. Masks were kept as objects if",
    ):
        assert words in text
    nothing = {"min_mask_region_area": 0, "box_nms_thresh": 1.0}
    text = methods(provenance(results, sam=nothing, fluorescence={"largest_part": False}))
    assert not re.search("boxes|watershed|mean of|pieces|islands|shared more than 90%", text)


def test_the_methods_say_how_stacks_were_projected_if_there_were_any(results):
    rows = [
        ManifestRow("a.tif", "A", 1, 1),
        ManifestRow("b.tif", "B", 1, 1, cells=("", "", "mean")),
        ManifestRow("c.tif", "C", 1, 1, cells=("0", "", "max")),
        ManifestRow("c.tif", "", 1, 1, "unsupported: it", ("9", "", "sharpest")),
    ]
    record = provenance(results, counts=replace(COUNTS, projections=projections_of(rows)))
    assert "Stacks of Z were projected to their maximum and mean." in methods(record)
    record["counts"] = {"images": {"ok": 1}, "candidates": 1, "objects": 1}  # of an older version
    assert "1 image gave 1 mask, of which 1 was an object." in methods(record)


def test_before_anything_is_detected_there_are_no_methods(results, capsys):
    record = provenance(results)
    del record["model"]["weights"]
    run_file(results).write_text(json.dumps(record))
    assert cli.main(["methods", "--results", str(results)]) == 2
    assert "no image has been detected yet" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"configuration": {}}'])
def test_without_a_run_there_are_no_methods(tmp_path, capsys, content):
    if content is not None:
        run_file(tmp_path).write_text(content)
    assert cli.main(["methods", "--results", str(tmp_path)]) == 2
    assert "run the workflow again" in capsys.readouterr().err


def test_commands_are_kept_in_order_and_a_damaged_journal_is_begun_anew(tmp_path):
    note_command(tmp_path, ["a"])
    note_command(tmp_path, ["b", "\n\t"])
    assert [each["command"] for each in noted_commands(tmp_path)] == ["a", "b '\n\t'"]
    commands_file(tmp_path).write_text("damaged")
    assert noted_commands(tmp_path) == []
    note_command(tmp_path, ["c"])
    assert [each["command"] for each in noted_commands(tmp_path)] == ["c"]


def test_a_run_ends_with_a_short_account(results):
    rows = ["image,status,n_objects", "a.tif,ok,600", "b.tif,ok,400", "c.tif,unreadable,"]
    summary_file(results).write_text("\n".join(rows) + "\n")
    lines = list(account(results, began=0))
    assert lines[0] == "3 images (2 ok, 1 unreadable), 1000 objects"
    assert lines[1] == (
        "3 images detected on 1 device in 10 s, 18 a minute; devices were idle for 25% of the time"
    )
    assert "summary.csv has a row for each image" in lines[2]
    assert "1 image without a result" in lines[3]
    assert len(list(account(results, began=2e10))) == 3  # nothing was detected since
    # two more were found by a job that was stopped: it left results and no record of its own
    (results / "plan" / "last.json").write_text(replace(PLAN, pending=5).to_json())
    assert next(line for line in account(results, 0) if "detected on" in line).endswith(
        "25% of the time; 2 images more by jobs that were stopped or failed"
    )
    # a job has not ended: what it has is not known
    undone = (*PLAN.shards, PlannedShard("0002", 2, 60.0))
    (results / "plan" / "last.json").write_text(replace(PLAN, pending=5, shards=undone).to_json())
    assert next(line for line in account(results, 0) if "detected on" in line).endswith("the time")
    report_file(results).write_text("<!doctype html>")
    assert f"{report_file(results)} shows it: open it in a browser" in account(results, began=0)
    summary_file(results).unlink()
    assert list(account(results, began=0)) == []


def test_a_run_that_did_not_reach_its_end_does_not_describe_the_tables_of_an_earlier_one(results):
    summary_file(results).write_text("image,status,n_objects\na.tif,ok,600\n")
    os.utime(summary_file(results), (1000, 1000))
    assert list(account(results, 2000, succeeded=False)) == []  # it failed before its plan
    undone = (*PLAN.shards, PlannedShard("0002", 7, 60.0))
    (results / "plan" / "last.json").write_text(replace(PLAN, shards=undone).to_json())
    for shard, written in (("0001", 3), ("0002", 2)):  # what was not written is lost
        stopped = Beat("node1", "gpu0", "stopped", recorded=written + 1, written=written)
        write_beat(beat_file(results, "P", shard), stopped)
    assert list(account(results, 2000, succeeded=False)) == [
        "5 of 10 images are detected, and kept: run again for the others and for the tables"
    ]
    # an image that failed ends a run with `on_error: fail`, when its tables are written
    os.utime(summary_file(results), (3000, 3000))
    assert next(account(results, 2000, succeeded=False)) == "1 image (1 ok), 600 objects"
