"""Workers: spawned processes that end with their parent; a crash costs one call alone."""

import os
import signal

import pytest

from samfleet.detection.workers import WorkerCrash, Workers

SET_BY_THE_PARENT = []


@pytest.fixture(scope="module")
def workers():
    SET_BY_THE_PARENT.append("before the workers started")
    with Workers(1) as pool:
        yield pool


def process_and_cv2_threads() -> tuple[int, int]:
    import cv2

    return os.getpid(), cv2.getNumThreads()


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


def test_workers_are_spawned_and_inherit_nothing(workers):
    assert workers.result(workers.submit(inherited)) == []


def test_workers_leave_signals_to_their_parent(workers):
    assert workers.result(workers.submit(signals_ignored)) == [True, True]


def test_the_error_of_a_call_is_that_of_its_result(workers):
    with pytest.raises(LookupError, match="of the call"):
        workers.result(workers.submit(fail))


def test_a_crash_costs_the_call_that_crashed_and_no_other(workers):
    tasks = [workers.submit(double, 1), workers.submit(crash), workers.submit(double, 2)]
    assert workers.result(tasks[0]) == 2
    with pytest.raises(WorkerCrash):
        workers.result(tasks[1])
    assert workers.result(tasks[2]) == 4
    assert workers.result(workers.submit(double, 3)) == 6
