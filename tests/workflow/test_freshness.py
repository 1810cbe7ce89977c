"""A run ends with tables of what it was asked for, whatever clocks, other commands and accidents did."""

import copy
import os
import shutil
import time
from pathlib import Path

import pytest

from samfleet.results import manifest_file, plan_file
from tests.workflow.conftest import Workspace, table_bytes

pytestmark = pytest.mark.slow

NOTHING_IS_BRIGHT = {"min_area": 1, "min_mean_intensity": 255}


def objects(workspace: Workspace) -> int:
    return sum(int(row["n_objects"] or 0) for row in workspace.summary().values())


def date_ahead(results: Path) -> None:
    """Date everything two hours ahead of the clock."""
    for path in results.rglob("*"):
        os.utime(path, (time.time() + 7200,) * 2)


def test_a_dry_run_beside_a_run_hides_nothing(detected):
    """The dry run looks at another configuration while the first run is about to end."""
    before = sorted((detected.results / "plan").iterdir())
    detected.config["fluorescence"] = NOTHING_IS_BRIGHT
    assert "rule summary" in detected.run("-n").output
    assert sorted((detected.results / "plan").iterdir()) == before
    for table in table_bytes(detected):
        os.utime(detected.results / table)
    assert detected.run().jobs == {"summary": 1}
    assert objects(detected) == 0
    assert detected.run().idle


def test_files_that_are_dated_ahead_of_the_clock_heal(detected):
    detected.config["evaluation"] = {"labels": "labels"}
    detected.run()
    date_ahead(detected.results)
    assert detected.run().idle
    detected.config["fluorescence"] = NOTHING_IS_BRIGHT
    run = detected.run()
    assert (run.jobs, objects(detected)) == ({"summary": 1}, 0)
    assert "rule evaluate" in run.output
    date_ahead(detected.results)
    detected.add_image("new.png", 7)
    assert detected.run().jobs == {"plan": 1, "detect": 1, "summary": 1}
    assert detected.summary()["new.png"]["status"] == "empty"
    assert detected.run().idle


@pytest.mark.parametrize("forgetful", [False, True])
def test_another_commands_tables_are_not_taken_for_ours(detected, first_run, forgetful):
    ours = detected.config
    detected.config = copy.deepcopy(ours)
    detected.config["fluorescence"] = NOTHING_IS_BRIGHT
    detected.run("-n")  # writes the configuration
    detected.command_line("summary")
    assert objects(detected) == 0
    detected.config = ours
    if forgetful:
        shutil.rmtree(detected.folder / ".snakemake")
    assert detected.run().jobs == {"summary": 1}
    assert table_bytes(detected) == table_bytes(first_run.workspace)


def test_a_lost_or_cut_manifest_and_a_damaged_plan_are_made_anew(detected, first_run):
    whole = manifest_file(detected.results).read_bytes()
    manifest_file(detected.results).unlink()
    run = detected.run()
    assert (run.jobs, run.detections) == ({"plan": 1}, 0)
    assert manifest_file(detected.results).read_bytes() == whole

    manifest_file(detected.results).write_bytes(whole[: whole.index(b"wells")])
    detected.config["fluorescence"] = NOTHING_IS_BRIGHT
    assert detected.run().jobs == {"plan": 1, "summary": 1}
    assert len(detected.summary()) == len(first_run.workspace.summary())

    for damage in (b"[]", b"", whole):
        plan_file(detected.results).write_bytes(damage)
        assert detected.run().jobs == {"plan": 1}
    assert detected.run().idle


def test_scores_of_other_tables_do_not_stay(detected):
    assert (detected.results / "evaluation.csv").exists()
    detected.config["fluorescence"] = NOTHING_IS_BRIGHT
    detected.run()
    assert not (detected.results / "evaluation.csv").exists()
    assert not (detected.results / "evaluation_total.csv").exists()
