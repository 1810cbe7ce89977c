"""Outside Slurm: the end of a job's time, SIGTERM to all of its processes and then SIGKILL; jobs that fail."""

import re
import subprocess
import time
from collections import Counter

import psutil
import pytest

from tests.cluster.test_profiles import cluster_command
from tests.workflow.conftest import Workspace

pytestmark = pytest.mark.slow

IMAGES = 6


@pytest.mark.parametrize(
    ("grace", "at_most_twice"), [(60, 0), (0, 1)], ids=["time to stop", "killed at once"]
)
def test_a_job_whose_time_is_over_goes_on_within_its_shard(tmp_path, pbs, grace, at_most_twice):
    workspace = Workspace(tmp_path / "work")
    for number in range(IMAGES):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"threads": 1, "flush_seconds": 0}
    workspace.config["sam"]["points_per_side"] = 8
    arguments = ["--resources", "gpu=1", "--seconds-between-status-checks", "1"]
    with workspace.output.open("w") as output:
        snakemake = psutil.Popen(
            cluster_command(workspace, "pbs", *arguments, "--latency-wait", "5"),
            env=workspace.environment() | pbs.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    workspace.started.append(snakemake)
    try:
        while not workspace.ledger():
            assert snakemake.poll() is None, workspace.output.read_text()
            time.sleep(0.05)
        (detect,) = [job for job, call in pbs.submitted().items() if "detect" in call]
        (pbs.jobs / f"{detect}.limit").write_text(str(grace))
        assert snakemake.wait(timeout=1800) == 0, workspace.output.read_text()
    finally:
        workspace.stop()
    assert (pbs.jobs / f"{detect}.status").read_text() == "271"

    assert len(workspace.summary()) == IMAGES
    assert {row["status"] for row in workspace.summary().values()} <= {"ok", "empty"}
    times = Counter(row["image_id"] for row in workspace.ledger())
    assert len(times) == IMAGES
    assert sum(times.values()) - IMAGES <= at_most_twice
    asked = [call for call in pbs.submitted().values() if "detect" in call]
    assert len(asked) == 2
    assert "walltime=00:30:00" in asked[0]
    assert "walltime=00:60:00" in asked[1]

    (first,) = workspace.results.glob("logs/detect/*.failed-1.log")
    (log,) = set(workspace.results.glob("logs/detect/*.log")) - {first}
    assert f"{IMAGES} images, {IMAGES} to detect" in first.read_text()
    if grace:
        assert "stopped by SIGTERM" in first.read_text()
    (left,) = re.findall(rf"{IMAGES} images, (\d+) to detect", log.read_text())
    assert 0 < int(left) < IMAGES


def test_a_job_that_always_fails_is_submitted_three_times_and_tries_once_each_time(tmp_path, pbs):
    """Within the same job another attempt would have no more time and memory."""
    workspace = Workspace(tmp_path / "work")
    workspace.add_image("a.png", 1)
    workspace.run("--until", "plan")
    (chunks,) = workspace.results.glob("plan/*/chunks/chunks.tsv")
    chunks.write_text("damaged\n")
    (shard,) = workspace.results.glob("plan/*/*.tsv")
    done = shard.with_suffix(".done").relative_to(workspace.folder)
    arguments = ["--resources", "gpu=1", "--seconds-between-status-checks", "1"]
    run = subprocess.run(
        cluster_command(workspace, "pbs", *arguments, "--latency-wait", "5", "--", str(done)),
        env=workspace.environment() | pbs.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert run.returncode != 0
    assert "chunks.tsv" in run.stdout
    assert len(pbs.submitted()) == 3
    assert len(list(workspace.results.glob("logs/detect/*.failed-*.log"))) == 3
