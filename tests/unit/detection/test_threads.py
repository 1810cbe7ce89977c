"""Threads of torch: they sleep while they wait, unless the user chose otherwise."""

import os
import subprocess
import sys

import pytest

from samfleet.detection.threads import wait_passively


@pytest.mark.parametrize("chosen", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "5"}])
def test_what_the_user_chose_stays(chosen):
    environment = dict(chosen)
    wait_passively(environment)
    assert environment == chosen


def test_torchs_openmp_takes_the_choice_when_it_is_loaded_after_it():
    code = "import samfleet.detection.job as job; job.wait_passively(); import torch"
    kept = {name: value for name, value in os.environ.items() if "OMP_" not in name}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in process.stderr
