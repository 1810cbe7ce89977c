"""Moves, interruptions and changes behind the workflow's back."""

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.workflow.conftest import CLONE, Workspace


def table_bytes(workspace) -> dict[str, bytes]:
    """The tables that must not depend on how the work was done."""
    names = ("summary.csv", "objects.parquet", "filtering.csv")
    return {name: (workspace.results / name).read_bytes() for name in names}


def test_tables_are_the_same_for_one_device_and_for_three(workspace, tmp_path):
    for number in range(3):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"min_seconds": 0}
    workspace.run()
    other = Workspace(tmp_path / "other")
    shutil.copytree(workspace.images, other.images, dirs_exist_ok=True)
    other.config = workspace.config | {"devices": ["gpu0", "gpu1", "gpu2"]}
    other.run("--resources", "gpu=3", cores=3)
    assert {row["device"] for row in other.ledger()} == {"gpu0", "gpu1", "gpu2"}
    assert table_bytes(other) == table_bytes(workspace)


def test_results_and_images_moved_elsewhere_are_not_detected_again(workspace, tmp_path):
    workspace.add_image("a.png", 1)
    workspace.run()
    before = table_bytes(workspace)
    moved = Workspace(tmp_path / "elsewhere")
    for path in sorted(workspace.folder.rglob("*"), reverse=True):
        target = moved.folder / path.relative_to(workspace.folder)
        if path.is_file() and ".snakemake" not in path.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)  # copies no modification time
    assert moved.run().detections == 0
    assert table_bytes(moved) == before
    assert moved.run().idle


def test_content_changed_under_the_same_stat_is_found_when_asked_to_rehash(workspace):
    path = workspace.add_image("a.png", 1)
    workspace.run()
    old = path.stat()
    data = bytearray(path.read_bytes())
    replacement = workspace.add_image("b.png", 2).read_bytes()
    size = max(len(data), len(replacement))
    (workspace.images / "b.png").unlink()
    path.write_bytes(data.ljust(size, b"\0"))  # bytes behind the end of a PNG change no pixel
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    workspace.run()
    path.write_bytes(replacement.ljust(size, b"\0"))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert workspace.run().idle
    workspace.config["rehash"] = True
    assert workspace.run().detections == 1
    assert workspace.run().detections == 0


def test_an_image_replaced_after_planning_is_stored_as_what_was_read(workspace):
    workspace.add_image("a.png", 1)
    workspace.run("--until", "plan")
    workspace.add_image("a.png", 2)
    # the same plan goes on: a run of its own would see the new modification time
    shard = next(workspace.results.glob("plan/*/0001.tsv"))
    detect_planned(workspace, shard)
    assert {row["status"] for row in workspace.ledger()} == {"ok", "changed"}
    workspace.command_line("summary", "--partial")
    assert workspace.summary()["a.png"]["status"] == "changed"
    after = workspace.run()
    assert after.detections == 0  # what was read then is what is there now
    assert workspace.summary()["a.png"]["status"] == "ok"


def detect_planned(workspace, shard: Path) -> None:
    """Carry out one shard, as the rule `detect` would."""
    code = (
        "import sys, yaml\n"
        "from pathlib import Path\n"
        "from samfleet.config.schema import read_config\n"
        "from samfleet.detection.job import detect_shard\n"
        "from samfleet.plan.manifest import collection_root\n"
        "from samfleet.plan.record import plan_of_shard, store_folder\n"
        "if __name__ == '__main__':\n"
        "    config, shard = read_config('config.yaml'), Path(sys.argv[1])\n"
        "    detect_shard(config, Path('results'), root=collection_root(config['images']),\n"
        "        shard_list=shard, done=shard.with_suffix('.done'), threads=1,\n"
        "        store=store_folder('results', plan_of_shard(shard).model_key))\n"
    )
    script = workspace.folder / "carry_out.py"
    script.write_text(code)
    subprocess.run(
        [sys.executable, script, shard],
        cwd=workspace.folder,
        env=workspace.environment() | {"PYTHONPATH": str(CLONE)},
        check=True,
    )


def test_an_interrupted_run_goes_on_with_what_is_left_on_other_gpus(workspace):
    images = 6
    for number in range(images):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"min_seconds": 0, "flush_seconds": 0}
    workspace.config["devices"] = [f"gpu{number}" for number in range(8)]
    snakemake = workspace.start("--resources", "gpu=2", cores=2)
    while not workspace.ledger() and snakemake.poll() is None:
        time.sleep(0.1)
    processes = [*snakemake.children(recursive=True), snakemake]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)
    finished = len({row["image_id"] for row in workspace.ledger()})
    assert 1 <= finished < images
    workspace.run("--unlock")
    resumed = workspace.run("--resources", "gpu=8", cores=8)
    assert resumed.detections == images - finished
    assert {row["status"] for row in workspace.summary().values()} == {"ok"}


@pytest.fixture
def read_only_clone(tmp_path):
    """A copy of what the repository tracks, without write permission and on a path with a space."""
    clone = tmp_path / "read-only clone"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (CLONE / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CLONE / name, clone / name)
    folders = [clone, *(path for path in clone.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield clone
    for folder in folders:
        folder.chmod(stat.S_IRWXU)


def test_a_read_only_clone_serves_another_directory(workspace, read_only_clone):
    workspace.add_image("a.png", 1)
    before = sorted(path for path in read_only_clone.rglob("*"))
    command = [
        str(read_only_clone / "Snakefile") if part == str(CLONE / "Snakefile") else part
        for part in workspace.command()
    ]
    subprocess.run(command, env=workspace.environment(), check=True, capture_output=True)
    assert set(workspace.summary()) == {"a.png"}
    assert sorted(path for path in read_only_clone.rglob("*")) == before


def test_nothing_pending_starts_no_gpu_job_and_imports_no_heavy_library(workspace):
    workspace.add_image("a.png", 1)
    workspace.run()
    environment = workspace.environment() | {"PYTHONPROFILEIMPORTTIME": "1"}

    def imported_by(command: list[str]) -> set[str]:
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        )
        assert "Nothing to be done" in process.stdout + process.stderr
        lines = [line for line in process.stderr.splitlines() if "|" in line]
        return {line.split("|")[-1].strip() for line in lines}

    empty = workspace.folder / "Snakefile"
    empty.touch()
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(empty), "--cores", "1"]
    # what Snakemake's own plugins import, of which some clusters' import pandas, is not ours
    imported = imported_by(workspace.command()) - imported_by(snakemake)
    assert "samfleet.plan.stamp" in imported
    assert not imported & {"torch", "pyarrow", "pandas", "cv2"}


def test_a_forced_run_does_the_jobs_again_and_detects_nothing(workspace):
    workspace.add_image("a.png", 1)
    workspace.run()
    before = table_bytes(workspace)
    forced = workspace.run("--forceall")
    assert set(forced.jobs) == {"plan", "detect", "summary"}
    assert forced.detections == 0
    assert table_bytes(workspace) == before
