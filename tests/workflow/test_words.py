"""Real runs that end in words: what is wrong and what to do, once, and without a traceback."""

import os
import subprocess
import sys

import pytest
import torch

from samfleet.resources import TINY_WEIGHTS
from tests.builders import weights_stub
from tests.workflow.conftest import CLONE, Workspace

pytestmark = pytest.mark.slow


def refused(workspace: Workspace, *words: str) -> None:
    """A run that starts no job, says this, and shows no traceback."""
    run = workspace.run(fails=True)
    for part in words:
        assert part in run.output
    assert "Traceback" not in run.output
    assert not run.jobs
    assert not (workspace.results / "plan" / "plan.json").exists()


def test_permanent_mistakes_are_refused_before_the_plan(workspace):
    workspace.add_image("a.png", 1)
    weights = workspace.folder / "weights.pth"
    weights.write_bytes(weights_stub(768))
    workspace.config["sam"]["checkpoint"] = "weights.pth"
    refused(workspace, "weights.pth looks like vit_b", "set sam.model to vit_b")
    weights.write_text("<html>Please log in</html>")
    refused(workspace, "weights.pth is neither a PyTorch weights file nor a safetensors file")
    del workspace.config["sam"]["checkpoint"]
    workspace.config["sam"]["precision"] = "bf16"
    refused(workspace, "sam.precision: bf16 needs a GPU", "set sam.precision: fast")
    assert "up to 1 to detect" in workspace.run("-n").output  # which may be on another machine


def test_scores_without_label_images_are_refused_before_anything_runs(workspace):
    workspace.add_image("a.png", 1)
    run = workspace.run("--", "results/evaluation.csv", fails=True)
    assert (
        "samfleet: evaluation.labels is not set; scores need a folder of label images" in run.output
    )
    assert not run.jobs
    assert "Traceback" not in run.output


def test_a_permanent_mistake_that_only_a_job_can_find_is_tried_once(workspace):
    workspace.add_image("a.png", 1)
    state = torch.load(TINY_WEIGHTS, weights_only=True)["model_state"]
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, workspace.folder / "weights.pth")
    workspace.config["sam"]["checkpoint"] = "weights.pth"
    run = workspace.run(fails=True)
    assert run.jobs == {"plan": 1, "detect": 1}
    assert "Trying to restart" not in run.output
    (log,) = workspace.results.glob("logs/detect/*-0001.log")
    assert "1 missing (mask_decoder.iou_token.weight)" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_section_that_stands_twice_is_refused_by_snakemake_too(workspace):
    workspace.add_image("a.png", 1)
    command = workspace.command()
    with (workspace.folder / "config.yaml").open("a") as file:
        file.write("sam:\n  model: tiny\n")
    run = subprocess.run(command, env=workspace.environment(), capture_output=True, text=True)
    assert run.returncode != 0
    assert "config.yaml: `sam` stands in line" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_section_on_the_command_line_is_merged_and_its_numbers_are_read(workspace):
    workspace.add_image("a.png", 1)
    workspace.config["sam"]["points_per_side"] = 4
    workspace.run("--config", "sam={points_per_side: 2, skip_background: false}")
    (stored,) = workspace.results.glob("store/*/settings.json")
    assert '"points_per_side": 2' in stored.read_text()
    assert '"model": "tiny"' in stored.read_text()


def test_images_on_the_command_line_alone_get_the_defaults_and_not_the_demos_settings(workspace):
    workspace.add_image("a.png", 1)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CLONE / "Snakefile")]
    command += ["--directory", str(workspace.folder), "--cores", "1", "-n"]

    def is_the_demo(*arguments: str) -> bool:
        process = subprocess.run(
            [*command, *arguments], env=workspace.environment(), capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        return "evaluate" in process.stdout + process.stderr  # it has labels

    assert is_the_demo("--config", "rehash=True")
    assert not is_the_demo("--config", f"images={workspace.images}")


def test_a_table_of_a_spreadsheet_runs_and_a_missing_file_costs_its_own_row(workspace):
    workspace.add_image("a.png", 1)
    table = "sep=;\r\nimage;well;dose;\r\na.png;A1;0,5;\r\ngone.png;A2;1,5;\r\n;;;\r\n"
    (workspace.images / "plate.csv").write_bytes(table.encode("utf-16"))
    workspace.config["images"] = "images/plate.csv"
    workspace.run()
    rows = workspace.summary()
    assert rows["a.png"]["status"] == "ok"
    assert (rows["a.png"]["well"], rows["a.png"]["dose"]) == ("A1", "0,5")
    gone = rows["gone.png"]
    assert (gone["status"], gone["well"]) == ("unreadable", "A2")
    assert gone["reason"] == "cannot be read: No such file or directory"
    assert workspace.run().idle


def test_a_relative_path_is_looked_for_in_the_working_directory_and_that_is_said(workspace):
    workspace.add_image("a.png", 1)
    (workspace.folder / "elsewhere").mkdir()
    run = subprocess.run(
        [*workspace.command()[:-2], "--cores", "1", "--directory", workspace.folder / "elsewhere"],
        env=workspace.environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    where = os.path.join(workspace.folder, "elsewhere")
    assert f"images is neither a folder nor a table (looked for in {where})" in run.stderr
    workspace.config["images"] = "."
    workspace.run()
    assert set(workspace.summary()) == {"images/a.png"}
    assert workspace.run().idle
