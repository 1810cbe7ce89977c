"""Moves, interruptions and changes behind the workflow's back."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import Workspace, copy_tracked, table_bytes

pytestmark = pytest.mark.slow


def test_results_and_images_moved_elsewhere_are_not_detected_again(detected, tmp_path):
    moved = Workspace(tmp_path / "elsewhere")
    moved.config = detected.config
    for path in sorted(detected.folder.rglob("*"), reverse=True):
        target = moved.folder / path.relative_to(detected.folder)
        if path.is_file() and ".snakemake" not in path.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)  # copies no modification time
    (moved.images / "gone.png").symlink_to("nowhere")
    assert moved.run().detections == 0
    assert table_bytes(moved) == table_bytes(detected)
    assert moved.run().idle


def test_content_changed_under_the_same_stat_is_found_when_asked_to_rehash(detected):
    path = detected.images / "a.png"
    old = path.stat()
    seeds = iter(range(3, 100))
    while len(data := detected.add_image("a.png", next(seeds)).read_bytes()) > old.st_size:
        pass
    path.write_bytes(data.ljust(old.st_size, b"\0"))  # behind its end a PNG may hold anything
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert detected.run().idle
    detected.config["rehash"] = True
    assert detected.run().detections == 1
    assert detected.run().detections == 0


def test_a_partial_summary_says_what_is_pending_and_what_was_replaced_after_planning(detected):
    detected.add_image("c.png", 3)
    detected.run("--until", "plan")
    assert "use --partial" in detected.command_line("summary", fails=True)
    detected.command_line("summary", "--partial")
    rows = detected.summary()
    assert (rows["a.png"]["status"], rows["c.png"]["status"]) == ("ok", "pending")

    detected.add_image("c.png", 4)
    # the same plan goes on: a run of everything would see the new modification time
    (shard,) = (path for path in detected.results.glob("plan/*/*.tsv") if not done(path).exists())
    before = len(detected.ledger())
    assert detected.run("--", str(done(shard).relative_to(detected.folder))).jobs == {"detect": 1}
    assert {row["status"] for row in detected.ledger()[before:]} == {"ok", "changed"}
    detected.command_line("summary", "--partial")
    assert detected.summary()["c.png"]["status"] == "changed"
    after = detected.run()
    assert after.detections == 0  # what was read then is what is there now
    assert detected.summary()["c.png"]["status"] == "ok"


def done(shard: Path) -> Path:
    """The record that a shard is carried out."""
    return shard.with_suffix(".done")


@pytest.fixture
def read_only_clone(tmp_path):
    """A copy of what the repository tracks, without write permission and on a path with a space."""
    clone = copy_tracked(tmp_path / "read-only clone")
    folders = [clone, *(path for path in clone.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield clone
    for folder in folders:
        folder.chmod(stat.S_IRWXU)


def test_a_read_only_clone_serves_another_directory(workspace, read_only_clone):
    workspace.add_image("a.png", 1)
    before = sorted(path for path in read_only_clone.rglob("*"))
    workspace.snakefile = str(read_only_clone / "Snakefile")
    workspace.run()
    assert set(workspace.summary()) == {"a.png"}
    assert sorted(path for path in read_only_clone.rglob("*")) == before


def test_nothing_pending_starts_no_gpu_job_and_imports_no_heavy_library(detected):
    environment = detected.environment() | {"PYTHONPROFILEIMPORTTIME": "1"}

    def imported_by(command: list[str]) -> set[str]:
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        )
        assert "Nothing to be done" in process.stdout + process.stderr
        lines = [line for line in process.stderr.splitlines() if "|" in line]
        return {line.split("|")[-1].strip() for line in lines}

    empty = detected.folder / "Snakefile"
    empty.touch()
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(empty), "--cores", "1"]
    # what Snakemake's own plugins import, of which some clusters' import pandas, is not ours
    imported = imported_by(detected.command()) - imported_by(snakemake)
    assert "samfleet.plan.stamp" in imported
    assert not imported & {"torch", "pyarrow", "pandas", "cv2"}


def test_a_forced_run_does_the_jobs_again_and_detects_nothing(first_run, detected):
    before = detected.ledger()
    assert set(detected.run("--forceall").jobs) == {"plan", "detect", "summary"}
    tried_again = {row["status"] for row in detected.ledger() if row not in before}
    assert tried_again <= {"unreadable", "too_large"}
    assert table_bytes(detected) == table_bytes(first_run.workspace)
