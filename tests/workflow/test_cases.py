"""The table of cases: what runs and what is detected when something has changed, or nothing."""

import os
import shutil
from collections import Counter

import pytest

from tests.workflow.conftest import NOT_DETECTED, Run

pytestmark = pytest.mark.slow

ALL = {"plan": 1, "detect": 1, "summary": 1}
WITHOUT_DETECTION = {"plan": 1, "summary": 1}


def assert_did(run: Run, jobs: dict[str, int], detections: int = 0) -> None:
    """A run started these jobs and no others, and they detected so many images."""
    assert (run.jobs, run.detections) == (Counter(jobs), detections)


def detected_images(workspace) -> set[str]:
    """The images in the summary but those that never can be detected."""
    return set(workspace.summary()) - NOT_DETECTED


def statuses(workspace) -> set[str]:
    """What the summary says of those."""
    return {workspace.summary()[name]["status"] for name in detected_images(workspace)}


def test_every_case_runs_only_what_it_needs(first_run, detected):
    assert_did(first_run.run, ALL, 4)
    assert detected_images(detected) == {"a.png", "wells/b.png"}
    a, b = detected.images / "a.png", detected.images / "wells/b.png"
    assert detected.run().idle

    detected.add_image("wells/b.png", 3)
    assert_did(detected.run(), ALL, 1)

    shutil.copy(a, detected.images / "copy of a.png")
    assert_did(detected.run(), WITHOUT_DETECTION)
    rows = detected.summary()
    assert rows["copy of a.png"]["image_id"] == rows["a.png"]["image_id"]

    b.rename(detected.images / "c.png")
    assert_did(detected.run(), WITHOUT_DETECTION)
    assert detected_images(detected) == {"a.png", "c.png", "copy of a.png"}

    (detected.images / "copy of a.png").unlink()
    assert_did(detected.run(), WITHOUT_DETECTION)
    assert detected_images(detected) == {"a.png", "c.png"}

    os.utime(a)
    assert_did(detected.run(), {"plan": 1})
    assert detected.run().idle

    detected.config["fluorescence"]["min_mean_intensity"] = 255
    assert_did(detected.run(), {"summary": 1})
    assert statuses(detected) == {"empty"}
    detected.config["fluorescence"]["min_mean_intensity"] = 0
    assert_did(detected.run(), {"summary": 1})

    detected.config["sam"]["stability_score_thresh"] = 0.1
    assert_did(detected.run(), ALL, 4)
    detected.config["sam"]["stability_score_thresh"] = 0.0
    assert_did(detected.run(), WITHOUT_DETECTION)
    assert detected.run().idle


@pytest.mark.parametrize(
    ("arguments", "forgetful"),
    [(("--rerun-triggers", "mtime"), False), ((), True)],
    ids=["mtime alone", ".snakemake lost"],
)
def test_cases_are_the_same_whatever_snakemake_goes_by(detected, arguments, forgetful):
    def run() -> Run:
        if forgetful:
            shutil.rmtree(detected.folder / ".snakemake")
        return detected.run(*arguments)

    shutil.copy(detected.images / "a.png", detected.images / "copy of a.png")
    (detected.images / "wells/b.png").rename(detected.images / "c.png")
    assert_did(run(), WITHOUT_DETECTION)
    assert detected_images(detected) == {"a.png", "c.png", "copy of a.png"}

    os.utime(detected.images / "a.png")
    assert_did(run(), {"plan": 1})

    detected.config["fluorescence"]["min_mean_intensity"] = 255
    assert_did(run(), {"summary": 1})
    assert statuses(detected) == {"empty"}

    detected.config["fluorescence"]["min_mean_intensity"] = 0
    detected.config["sam"]["stability_score_thresh"] = 0.1
    assert_did(run(), ALL, 4)

    detected.config["sam"]["stability_score_thresh"] = 0.0
    (detected.images / "copy of a.png").unlink()
    detected.add_image("c.png", 3)
    assert_did(run(), ALL, 1)  # the others are known from before
    assert detected_images(detected) == {"a.png", "c.png"}
    assert run().idle
