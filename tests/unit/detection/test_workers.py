"""Workers: spawned processes that end with their parent; a crash costs one call alone."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from samfleet.detection.measurement import measure_found
from samfleet.detection.workers import WorkerCrash, Workers
from tests.builders import disc, found_masks

SET_BY_THE_PARENT = []
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.fixture(scope="module")
def workers():
    SET_BY_THE_PARENT.append("before the workers started")
    with Workers(1) as pool:
        yield pool


def process_and_cv2_threads() -> tuple[int, int]:
    import cv2

    return os.getpid(), cv2.getNumThreads()


def torch_is_loaded() -> bool:
    return "torch" in sys.modules


def inherited() -> list:
    return SET_BY_THE_PARENT


def signals_ignored() -> list[bool]:
    return [signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGTERM)]


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise LookupError("of the call")


def double(number: int) -> int:
    return 2 * number


def test_a_call_runs_in_another_process_that_leaves_the_other_cores_alone(workers):
    process, threads = workers.result(workers.submit(process_and_cv2_threads))
    assert process != os.getpid()
    assert threads == 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.skipif(os.cpu_count() == 1, reason="a BLAS makes no threads on one core")
def test_a_worker_has_no_threads_for_blas(monkeypatch):
    for name in BLAS_THREADS:
        monkeypatch.setenv(name, "4")
    with Workers(1) as pool:
        threads = pool.result(pool.submit(os.listdir, "/proc/self/task"))
    assert len(threads) == 2  # the main one, and the one that waits for the parent's end


def test_masks_are_measured_without_torch(workers):
    mask = disc(40, 50, 20, 25, 10)
    found = found_masks(mask, min_mask_region_area=10)
    pixels = np.full((40, 50, 1), 7, np.uint8)
    (image, (candidate,)), seconds = workers.result(
        workers.submit(measure_found, pixels, False, found, True)
    )
    assert (image["width"], candidate.area, seconds > 0) == (50, mask.sum(), True)
    assert not workers.result(workers.submit(torch_is_loaded))


def test_workers_are_spawned_and_inherit_nothing(workers):
    assert workers.result(workers.submit(inherited)) == []


def test_workers_leave_signals_to_their_parent(workers):
    assert workers.result(workers.submit(signals_ignored)) == [True, True]


def test_the_error_of_a_call_is_that_of_its_result(workers):
    with pytest.raises(LookupError, match="of the call"):
        workers.result(workers.submit(fail))


@pytest.mark.slow
def test_a_crash_costs_the_call_that_crashed_and_no_other(workers):
    tasks = [workers.submit(double, 1), workers.submit(crash), workers.submit(double, 2)]
    assert workers.result(tasks[0]) == 2
    with pytest.raises(WorkerCrash):
        workers.result(tasks[1])
    assert workers.result(tasks[2]) == 4
    assert workers.result(workers.submit(double, 3)) == 6
