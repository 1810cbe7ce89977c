"""A Slurm cluster that all tests of a session share, and commands that stand in for those of PBS."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.testbed import TestBed, unavailable


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """Two nodes with four pretended GPUs each."""
    reason = "Snakemake's executor plugin slurm is not installed: make test-cluster installs it"
    pytest.importorskip("snakemake_executor_plugin_slurm", reason=reason)
    if reason := unavailable():
        pytest.skip(reason)
    bed = TestBed(tmp_path_factory.mktemp("slurm") / "state", nodes=2, gpus=4)
    yield bed
    bed.stop()


@dataclass(frozen=True)
class StandIn:
    """PBS that is only its commands, which run jobs on this machine.

    Attributes:
        jobs: the folder in which they keep what they know of jobs.
        environment: what makes Snakemake find them.
    """

    jobs: Path
    environment: dict[str, str]

    def submitted(self) -> dict[str, list[str]]:
        """What each job was submitted with, by its id, in order."""
        files = sorted(self.jobs.glob("*.json"), key=lambda path: int(path.name.split(".")[0]))
        return {file.stem: json.loads(file.read_text()) for file in files}


@pytest.fixture
def pbs(tmp_path: Path) -> StandIn:
    """qsub and qstat in a folder of their own."""
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    tools, jobs = tmp_path / "bin", tmp_path / "jobs"
    tools.mkdir()
    jobs.mkdir()
    for name in ("qsub", "qstat"):
        (tools / name).symlink_to(Path(__file__).with_name("pbs_standin.py"))
    return StandIn(jobs, {"PBS_STANDIN": str(jobs), "PATH": f"{tools}:{os.environ['PATH']}"})
