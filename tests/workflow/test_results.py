"""What a run leaves: a row for every image, the user's columns, errors before and after."""

import csv
import json

import cv2
import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco


def test_what_is_wrong_with_an_image_is_said_remembered_and_may_end_the_run(workspace):
    whole = workspace.add_image("whole.png", 1)
    (workspace.images / "truncated.png").write_bytes(whole.read_bytes()[:-40])
    (workspace.images / "gone.png").symlink_to("nowhere")
    (workspace.images / "notes.txt").write_text("not an image")
    cv2.imwrite(str(workspace.images / "huge.png"), np.zeros((100, 200), np.uint8))
    workspace.config["image"] = {"max_pixels": 64 * 48}
    run = workspace.run()
    assert "ignored 1 other file: 1 .txt" in run.output
    statuses = {name: row["status"] for name, row in workspace.summary().items()}
    assert statuses == {
        "whole.png": "ok",
        "truncated.png": "unreadable",
        "gone.png": "unreadable",
        "huge.png": "too_large",
    }
    assert all(row["reason"] for row in workspace.summary().values() if row["status"] != "ok")
    assert workspace.run().idle  # permanent failures are remembered

    workspace.config["image"]["max_pixels"] = 200 * 100
    again = workspace.run()
    assert [row["image_id"] for row in workspace.ledger()[-1:]] == [
        workspace.summary()["huge.png"]["image_id"]
    ]
    assert again.detections == 1
    assert workspace.summary()["huge.png"]["status"] in ("ok", "empty")

    workspace.config["on_error"] = "fail"
    failed = workspace.run(fails=True)
    assert failed.jobs == {"verify": 1}
    assert "2 of 4 images failed" in failed.output
    assert "truncated.png: unreadable" in failed.output


def test_objects_agree_with_their_masks_and_pixels(workspace):
    path = workspace.add_image("a.png", 1)
    workspace.run()
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(float)
    objects = pd.read_parquet(workspace.results / "objects.parquet")
    assert len(objects) > 0
    for row in objects.itertuples():
        mask = coco.decode({"size": [row.height, row.width], "counts": row.rle}).astype(bool)
        y, x = np.nonzero(mask)
        assert mask.sum() == row.area
        assert (x.min(), y.min()) == (row.bbox_x, row.bbox_y)
        assert (np.ptp(x) + 1, np.ptp(y) + 1) == (row.bbox_width, row.bbox_height)
        assert pixels[mask].sum() == row.raw_integrated_intensity == row.integrated_intensity
        assert pixels[mask].mean() == pytest.approx(row.mean_intensity)
        assert row.ctcf == pytest.approx(row.integrated_intensity - row.area * row.background)
    summary = workspace.summary()["a.png"]
    assert int(summary["n_objects"]) == len(objects)
    assert int(summary["object_area"]) == objects.area.sum()
    with (workspace.results / "filtering.csv").open() as file:
        filtering = {row["filter"]: int(row["count"]) for row in csv.DictReader(file)}
    assert filtering.pop("candidates") == int(summary["n_candidates"])
    assert filtering.pop("objects") == len(objects)
    assert sum(filtering.values()) == int(summary["n_candidates"]) - len(objects)


def test_a_tables_columns_are_carried_into_the_summary(workspace):
    workspace.add_image("a.png", 1)
    workspace.add_image("not listed.png", 2)
    table = workspace.folder / "plate.csv"
    table.write_text("well,image,treatment\nB02,images/a.png,none\n")
    workspace.config["images"] = "plate.csv"
    workspace.run()
    (row,) = workspace.summary().values()
    assert (row["image"], row["well"], row["treatment"]) == ("images/a.png", "B02", "none")
    table.write_text("well,image,treatment\nB02,images/a.png,DMSO\n")
    changed = workspace.run()
    assert changed.jobs == {"summary": 1}
    assert workspace.summary()["images/a.png"]["treatment"] == "DMSO"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sma", {}, "unknown key: sma"),
        ("sam", {"points_per_side": 0}, "sam.points_per_side"),
        ("images", "nowhere", "images: nowhere is neither a folder nor a table"),
        ("sam", {"model": "tiny", "checkpoint": "lost.pth"}, "sam.checkpoint: lost.pth"),
    ],
)
def test_a_faulty_configuration_is_refused_before_anything_runs(workspace, key, value, message):
    workspace.add_image("a.png", 1)
    workspace.config[key] = value
    run = workspace.run(fails=True)
    assert message in run.output
    assert not run.jobs
    assert "Traceback" not in run.output


def test_a_dry_run_tells_what_would_be_detected(workspace):
    workspace.add_image("a.png", 1)
    workspace.add_image("b.png", 2)
    run = workspace.run("-n")
    assert "2 images found: 2 new, 0 changed, 0 moved, 0 removed; up to 2 to detect" in run.output
    assert not (workspace.results / "manifest.tsv").exists()


def test_official_weights_are_fetched_only_when_something_is_pending(workspace):
    (workspace.images / "gone.png").symlink_to("nowhere")
    workspace.config["sam"] = {"model": "vit_b", "cache_folder": str(workspace.folder / "weights")}
    # nobody listens at the proxy, so a download cannot succeed
    proxy = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    idle = workspace.run(environment=proxy)
    assert idle.jobs == {"plan": 1, "summary": 1}
    workspace.add_image("a.png", 1)
    failed = workspace.run(fails=True, environment=proxy)
    assert failed.jobs == {"plan": 1, "fetch_weights": 1}
    assert "sam_vit_b_01ec64.pth" in failed.output
    assert "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912" in failed.output
    assert "Traceback" not in failed.output


def test_a_shard_that_fails_leaves_what_is_finished_to_a_partial_summary(workspace):
    workspace.add_image("a.png", 1)
    workspace.run()
    workspace.add_image("b.png", 2)
    workspace.run("--until", "plan")
    failed = workspace.command_line("summary", fails=True)
    assert "use --partial" in failed
    workspace.command_line("summary", "--partial")
    statuses = {name: row["status"] for name, row in workspace.summary().items()}
    assert statuses == {"a.png": "ok", "b.png": "pending"}


def test_a_shards_record_names_its_host_and_device(workspace):
    workspace.add_image("a.png", 1)
    workspace.config["devices"] = ["gpu0"]
    workspace.run()
    (done,) = workspace.results.glob("plan/*/0001.done")
    record = json.loads(done.read_text())
    assert (record["device"], record["images"], record["detected"]) == ("gpu0", 1, 1)
    (row,) = workspace.ledger()
    assert (row["host"], row["device"], row["shard"]) == (record["host"], "gpu0", "0001")
    assert float(row["seconds_reading"]) > 0


def test_outlines_can_be_looked_at(workspace):
    workspace.add_image("wells/a.png", 1)
    workspace.run()
    said = workspace.command_line("overlays", "outlines")
    assert "1 image in outlines" in said
    drawn = cv2.imread(str(workspace.folder / "outlines" / "wells" / "a.png.png"))
    assert drawn.shape == (48, 64, 3)


def test_label_images_are_scored_and_a_changed_one_again(workspace):
    workspace.add_image("a.png", 1)
    workspace.add_image("b.png", 2)
    labels = workspace.folder / "labels"
    labels.mkdir()
    cv2.imwrite(str(labels / "a.png"), np.zeros((48, 64), np.uint8))
    workspace.config["evaluation"] = {"labels": "labels"}
    workspace.run()
    scores = pd.read_csv(workspace.results / "evaluation.csv").set_index("image")
    assert scores.loc["a.png", "n_labelled"] == 0
    assert scores.loc["b.png", "problem"] == "no label image"

    objects = pd.read_parquet(workspace.results / "objects.parquet")
    row = objects[objects.image == "a.png"].iloc[0]
    mask = coco.decode({"size": [row.height, row.width], "counts": row.rle})
    cv2.imwrite(str(labels / "a.png"), mask)
    again = workspace.run()
    assert again.detections == 0
    assert not again.jobs
    scores = pd.read_csv(workspace.results / "evaluation.csv").set_index("image")
    assert (scores.loc["a.png", "n_labelled"], scores.loc["a.png", "tp_75"]) == (1, 1)
    assert workspace.run().idle
