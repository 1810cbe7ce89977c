"""The table of cases: what runs and what is detected when something has changed, or nothing."""

import os
import shutil
from collections import Counter

import pytest

ALL = {"plan": 1, "detect": 1, "summary": 1}
WITHOUT_DETECTION = {"plan": 1, "summary": 1}


def forget_snakemake_metadata(workspace):
    shutil.rmtree(workspace.folder / ".snakemake", ignore_errors=True)


def keep_snakemake_metadata(workspace):
    pass


@pytest.mark.parametrize(
    ("arguments", "between_runs"),
    [
        ((), keep_snakemake_metadata),
        (("--rerun-triggers", "mtime"), keep_snakemake_metadata),
        ((), forget_snakemake_metadata),
    ],
    ids=["all triggers", "mtime alone", ".snakemake lost"],
)
def test_every_case_runs_only_what_it_needs(workspace, arguments, between_runs):
    def run():
        between_runs(workspace)
        return workspace.run(*arguments)

    a, b = workspace.add_image("a.png", 1), workspace.add_image("wells/b.png", 2)
    first = run()
    assert first.jobs == Counter(ALL)
    assert first.detections == 2
    assert set(workspace.summary()) == {"a.png", "wells/b.png"}

    assert run().idle

    workspace.add_image("wells/b.png", 3)
    changed = run()
    assert changed.jobs == Counter(ALL)
    assert changed.detections == 1

    shutil.copy(a, workspace.images / "copy of a.png")
    copied = run()
    assert (copied.jobs, copied.detections) == (Counter(WITHOUT_DETECTION), 0)
    rows = workspace.summary()
    assert rows["copy of a.png"]["image_id"] == rows["a.png"]["image_id"]

    b.rename(workspace.images / "c.png")
    renamed = run()
    assert (renamed.jobs, renamed.detections) == (Counter(WITHOUT_DETECTION), 0)
    assert set(workspace.summary()) == {"a.png", "c.png", "copy of a.png"}

    (workspace.images / "copy of a.png").unlink()
    removed = run()
    assert (removed.jobs, removed.detections) == (Counter(WITHOUT_DETECTION), 0)
    assert set(workspace.summary()) == {"a.png", "c.png"}

    os.utime(a)
    touched = run()
    assert (touched.jobs, touched.detections) == (Counter({"plan": 1}), 0)
    assert run().idle

    workspace.config["fluorescence"]["min_mean_intensity"] = 255
    filtered = run()
    assert (filtered.jobs, filtered.detections) == (Counter({"summary": 1}), 0)
    assert {row["status"] for row in workspace.summary().values()} == {"empty"}
    workspace.config["fluorescence"]["min_mean_intensity"] = 0
    assert run().jobs == Counter({"summary": 1})

    workspace.config["sam"]["stability_score_thresh"] = 0.1
    other_model = run()
    assert other_model.jobs == Counter(ALL)
    assert other_model.detections == 2
    workspace.config["sam"]["stability_score_thresh"] = 0.0
    set_back = run()
    assert (set_back.jobs, set_back.detections) == (Counter(WITHOUT_DETECTION), 0)
    assert run().idle
