"""What a run leaves: a row for every image, the user's columns, errors before and after."""

import csv
import json

import cv2
import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco

from tests.workflow.conftest import NOT_DETECTED


@pytest.mark.slow
def test_a_dry_run_tells_what_would_be_detected(first_run):
    assert "5 images found: 5 new, 0 changed, 0 moved, 0 removed; up to 5 to detect" in (
        first_run.dry.output
    )
    assert not first_run.dry_wrote


@pytest.mark.slow
def test_every_image_has_a_status_and_if_something_is_wrong_with_it_a_reason(first_run):
    assert "ignored 1 other file: 1 .txt" in first_run.run.output
    rows = first_run.workspace.summary()
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.png": "ok",
        "wells/b.png": "ok",
        "truncated.png": "unreadable",
        "gone.png": "unreadable",
        "huge.png": "too_large",
    }
    assert {name for name, row in rows.items() if row["reason"]} == NOT_DETECTED


@pytest.mark.slow
def test_the_visible_devices_are_the_limit_and_too_few_cores_for_them_are_told(first_run):
    assert 'gpu=Resource("gpu", 2)' in first_run.run.output
    assert "2 GPUs but only 1 core:" in first_run.run.output


@pytest.mark.slow
def test_failures_are_remembered_until_the_limit_is_raised_and_may_end_the_run(detected):
    assert detected.run().idle
    detected.config["image"]["max_pixels"] = 200 * 100
    before = detected.ledger()
    again = detected.run()
    assert again.detections == 1
    (row,) = [row for row in detected.ledger() if row not in before]
    assert row["image_id"] == detected.summary()["huge.png"]["image_id"]
    assert detected.summary()["huge.png"]["status"] in ("ok", "empty")

    detected.config["on_error"] = "fail"
    failed = detected.run(fails=True)
    assert failed.jobs == {"verify": 1}
    assert "2 of 5 images failed" in failed.output
    assert "truncated.png: unreadable" in failed.output


def test_objects_agree_with_their_masks_and_pixels(first_run):
    workspace = first_run.workspace
    objects = pd.read_parquet(workspace.results / "objects.parquet")
    assert set(objects.image) == {"a.png", "wells/b.png"}
    for row in objects.itertuples():
        pixels = cv2.imread(str(workspace.images / row.image), cv2.IMREAD_UNCHANGED).astype(float)
        mask = coco.decode({"size": [row.height, row.width], "counts": row.rle}).astype(bool)
        y, x = np.nonzero(mask)
        assert mask.sum() == row.area
        assert (x.min(), y.min()) == (row.bbox_x, row.bbox_y)
        assert (np.ptp(x) + 1, np.ptp(y) + 1) == (row.bbox_width, row.bbox_height)
        assert pixels[mask].sum() == row.raw_integrated_intensity == row.integrated_intensity
        assert pixels[mask].mean() == pytest.approx(row.intensity_mean)
        assert row.ctcf == pytest.approx(row.integrated_intensity - row.area * row.background)
    candidates = 0
    for name, found in objects.groupby("image"):
        summary = workspace.summary()[name]
        assert int(summary["n_objects"]) == len(found)
        assert int(summary["object_area"]) == found.area.sum()
        candidates += int(summary["n_candidates"])
    with (workspace.results / "filtering.csv").open() as file:
        filtering = {row["filter"]: int(row["count"]) for row in csv.DictReader(file)}
    assert filtering.pop("candidates") == candidates
    assert filtering.pop("objects") == len(objects)
    assert sum(filtering.values()) == candidates - len(objects)


@pytest.mark.slow
def test_a_shards_record_names_its_host_and_device(first_run):
    (done,) = first_run.workspace.results.glob("plan/*/0001.done")
    record = json.loads(done.read_text())
    assert (record["device"], record["images"], record["detected"]) == ("gpu0", 4, 2)
    rows = first_run.workspace.ledger()
    assert len(rows) == 4
    for row in rows:
        assert (row["host"], row["device"], row["shard"]) == (record["host"], "gpu0", "0001")
        assert float(row["seconds_reading"]) > 0


@pytest.mark.slow
def test_outlines_can_be_looked_at(detected):
    assert "2 images in outlines" in detected.command_line("overlays", "outlines")
    drawn = cv2.imread(str(detected.folder / "outlines" / "wells" / "b.png"))
    assert drawn.shape == (48, 64, 3)
    detected.config["fluorescence"]["min_area"] = 2
    detected.config["image"]["level"] = 1
    detected.command()  # writes the configuration, and runs nothing
    refused = detected.command_line("overlays", "outlines", fails=True)
    assert "objects are those of another fluorescence.min_area and image.level" in refused


@pytest.mark.slow
def test_a_tables_columns_are_carried_into_the_summary(detected):
    table = detected.folder / "plate.csv"
    table.write_text("well,image,treatment\nB02,images/a.png,none\n")
    detected.config["images"] = "plate.csv"
    assert detected.run().detections == 0
    (row,) = detected.summary().values()
    assert (row["image"], row["well"], row["treatment"]) == ("images/a.png", "B02", "none")
    table.write_text("well,image,treatment\nB02,images/a.png,DMSO\n")
    changed = detected.run()
    assert changed.jobs == {"summary": 1}
    assert detected.summary()["images/a.png"]["treatment"] == "DMSO"


@pytest.mark.slow
def test_label_images_are_scored_and_a_changed_one_again(first_run, detected):
    scores = pd.read_csv(detected.results / "evaluation.csv").set_index("image")
    assert scores.loc["a.png", "n_labelled"] == 0
    assert scores.loc["wells/b.png", "problem"] == "no label image"

    objects = pd.read_parquet(detected.results / "objects.parquet")
    row = objects[objects.image == "a.png"].iloc[0]
    mask = coco.decode({"size": [row.height, row.width], "counts": row.rle})
    cv2.imwrite(str(detected.folder / "labels" / "a.png"), mask)
    detected.config["evaluation"] = first_run.workspace.config["evaluation"]
    again = detected.run()
    assert again.detections == 0
    assert not again.jobs
    scores = pd.read_csv(detected.results / "evaluation.csv").set_index("image")
    assert (scores.loc["a.png", "n_labelled"], scores.loc["a.png", "tp_75"]) == (1, 1)
    assert detected.run().idle


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "messages"),
    [
        (
            {"sma": {}, "sam": {"points_per_side": 0}},
            ["unknown key: sma", "sam.points_per_side"],
        ),
        ({"images": "nowhere"}, ["images: nowhere is neither a folder nor a table"]),
        (
            {"sam": {"model": "tiny", "checkpoint": "lost.pth"}},
            ["sam.checkpoint: lost.pth"],
        ),
    ],
    ids=["keys", "images", "checkpoint"],
)
def test_a_faulty_configuration_is_refused_before_anything_runs(workspace, faults, messages):
    workspace.add_image("a.png", 1)
    workspace.config |= faults
    run = workspace.run(fails=True)
    assert all(message in run.output for message in messages)
    assert not run.jobs
    assert "Traceback" not in run.output


@pytest.mark.slow
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
