"""A Slurm cluster that all tests of a session share."""

from collections.abc import Iterator

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
