"""The end of a job's time outside Slurm: SIGTERM to all of its processes, then SIGKILL."""

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
