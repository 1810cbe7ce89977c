"""Threads of torch: in a crowd they sleep while they wait, unless the user chose otherwise."""

import os
import subprocess
import sys

import pytest

from samfleet.detection.threads import wait_passively_in_a_crowd


@pytest.fixture(params=[0.9, 1.0])
def load(request, monkeypatch) -> float:
    """Processes that want a core, for each core."""
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "getloadavg", lambda: (request.param * cores, 0.0, 0.0))
    return request.param


@pytest.mark.parametrize("chosen", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "5"}])
def test_what_the_user_chose_stays(load, chosen):
    environment = dict(chosen)
    wait_passively_in_a_crowd(environment)
    assert environment == chosen


def test_only_a_crowd_makes_threads_sleep(load):
    environment: dict[str, str] = {}
    wait_passively_in_a_crowd(environment)
    assert environment == ({"OMP_WAIT_POLICY": "passive"} if load >= 1 else {})


def test_torchs_openmp_takes_the_choice_when_it_is_loaded_after_it():
    code = (
        "import os; os.getloadavg = lambda: (1000.0, 0.0, 0.0); import samfleet.detection.job as job; "
        "job.wait_passively_in_a_crowd(); import torch"
    )
    kept = {name: value for name, value in os.environ.items() if "OMP_" not in name}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in process.stderr
