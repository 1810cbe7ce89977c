"""A Slurm cluster that all tests of a session share."""

from collections.abc import Iterator

import pytest

from tests.cluster.testbed import TestBed, unavailable


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """Two nodes with four pretended GPUs each."""
    if reason := unavailable():
        pytest.skip(reason)
    bed = TestBed(tmp_path_factory.mktemp("slurm") / "state", nodes=2, gpus=4)
    yield bed
    bed.stop()
