"""Workers: spawned processes that end with their parent; a crash costs one call alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from samfleet.detection import workers as workers_module
from samfleet.detection.measurement import measure_found
from samfleet.detection.workers import WorkerCrash, Workers, WorkerTimeout
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
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [signal.getsignal(n) == signal.SIG_IGN for n in numbers]


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
    assert workers.result(workers.submit(signals_ignored)) == [True, True, True]


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


def test_what_cannot_be_sent_is_the_error_of_its_call(workers):
    with pytest.raises(Exception, match="pickle"):
        workers.result(workers.submit(lambda: None))
    with pytest.raises(Exception, match="pickle"):
        workers.result(workers.submit(give_a_lambda))
    assert workers.result(workers.submit(double, 4)) == 8


def give_a_lambda():
    return lambda: None


def test_an_error_says_where_in_the_worker_it_was_raised(workers):
    with pytest.raises(LookupError) as raised:
        workers.result(workers.submit(fail))
    assert "in fail" in "".join(raised.value.__notes__)


@pytest.fixture
def started(monkeypatch):
    """Calls of other tests' workers are over; these begin with a process that is ready."""
    with Workers(1) as pool:
        process = pool.result(pool.submit(os.getpid))
        pool._timeout = 2.0
        yield pool, process


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_call_that_takes_too_long_costs_itself_and_its_process_alone(started):
    pool, process = started
    tasks = [pool.submit(time.sleep, 1000), pool.submit(double, 1)]
    with pytest.raises(WorkerTimeout, match="longer than 2 s"):
        pool.result(tasks[0])
    assert has_ended(process)
    assert pool.result(pool.submit(time.sleep, 2.5, times=300)) is None
    pool._timeout = 600
    assert pool.result(pool.submit(double, 2)) == 4


@pytest.mark.parametrize("size", [1, 2**22])
def test_a_stopped_worker_is_replaced(started, size):
    """Also when it has taken a part of the call only, since that is larger than its socket's buffer."""
    pool, process = started
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(WorkerTimeout):
        pool.result(pool.submit(len, bytes(size)))
    assert has_ended(process)
    pool._timeout = 600
    assert pool.result(pool.submit(double, 2)) == 4


def test_a_worker_that_cannot_be_killed_is_left_behind(started, monkeypatch):
    """The kernel kills no process that waits for a network file system that is gone."""
    pool, process = started
    monkeypatch.setattr(workers_module, "_PATIENCE", 0)
    monkeypatch.setattr(subprocess.Popen, "kill", lambda _: None)
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(WorkerTimeout):
            pool.result(pool.submit(double, 1))
        assert not has_ended(process)
        pool._timeout = 600
        assert pool.result(pool.submit(double, 2)) == 4
    finally:
        os.kill(process, signal.SIGKILL)


def test_workers_that_are_busy_at_the_end_are_killed(started):
    pool, process = started
    pool._timeout = 600
    task = pool.submit(time.sleep, 1000)
    while not task.seconds:
        time.sleep(0.01)
    pool.__exit__()
    with pytest.raises(WorkerCrash):
        pool.result(task)
    assert has_ended(process)
