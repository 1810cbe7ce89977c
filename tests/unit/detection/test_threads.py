"""Threads: torch's sleep in a crowd unless the user chose otherwise, and a job with too few says so."""

import os
import subprocess
import sys

import pytest

from samfleet.detection.threads import Supply, unusable_threads, wait_passively_in_a_crowd


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


def noted(workers: int, images: int, worked: float, device: float) -> Supply:
    """After so many images, of which each took a worker and the device so many seconds."""
    supply = Supply(workers)
    for number in range(1, images + 1):
        ledger = {"seconds_reading": worked / 4, "seconds_measuring": worked * 3 / 4}
        supply.note(ledger, number * device)
    return supply


def test_a_job_with_too_few_threads_says_once_how_many_it_needs(caplog):
    noted(workers=3, images=200, worked=2.0, device=0.25)
    (words,) = caplog.messages
    # 3 workers at 2 s each, and a device that takes a quarter of a second: 8 workers, and the process itself
    assert "3 worker processes can read and measure 1.5 images a second" in words
    assert "the device finds the masks of 4, so that it waits. Give the job 9 threads" in words


@pytest.mark.parametrize(
    ("workers", "advice"),
    [
        (15, "too few CPU threads: 15 worker processes can"),
        (15, "Give the job 17 threads: shard.threads on a cluster"),
        (16, "so that it waits. A job has no more of them, however many CPU threads it is given"),
    ],
)
def test_no_more_threads_are_advised_than_a_job_makes_use_of(caplog, workers, advice):
    noted(workers, images=200, worked=10.0, device=0.25)  # 40 would be needed
    (words,) = caplog.messages
    assert advice in words
    assert ("Give the job" in words) == (workers < 16)


@pytest.mark.parametrize(
    ("workers", "images", "worked", "device"),
    [(3, 200, 0.75, 0.25), (3, 200, 0.8, 0.25), (1, 200, 0.1, 0.25), (3, 20, 2.0, 0.25)],
    ids=["just enough", "nearly enough", "plenty", "too early to tell"],
)
def test_a_job_with_enough_threads_says_nothing(caplog, workers, images, worked, device):
    noted(workers, images, worked, device)
    assert caplog.messages == []


def test_images_that_could_not_be_read_neither_need_workers_nor_a_device(caplog):
    supply = Supply(2)
    for _ in range(100):
        supply.note({}, 0.0)
    assert caplog.messages == []


def test_threads_that_a_job_may_not_use_are_named(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert unusable_threads(4) == (
        "the job was given 4 CPU threads and may use 1 CPU: let it use as many, or give it fewer threads "
        "(shard.threads on a cluster, elsewhere --cores)"
    )
    assert unusable_threads(1) == ""
