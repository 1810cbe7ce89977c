"""Processes that read and measure images while another one drives the device.

They are spawned, never forked: a forked process would keep the device's lease after its parent's death.
Each ends with its parent. If an image crashes its decoder, only that image fails.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

# A BLAS reads one of these when it is loaded, which is before our code runs in a worker.
_BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerCrash(Exception):
    """A task crashed the process that ran it, twice."""


@dataclass(frozen=True, slots=True)
class Task:
    """A call in a worker."""

    function: Callable
    arguments: tuple
    future: Future


class Workers:
    """A pool of worker processes, to be used as a context manager.

    Each worker has one thread, since there is a process for each core. Workers inherit the environment
    variables for that from this process, where torch's threads must be set with its own function.

    Args:
        count: number of processes.
    """

    def __init__(self, count: int):
        self.count = count
        os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
        self._pool = _start_pool(count)

    def submit(self, function: Callable, *arguments: object) -> Task:
        """Start calling an importable function."""
        try:
            future = self._pool.submit(function, *arguments)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = _start_pool(self.count)
            future = self._pool.submit(function, *arguments)
        return Task(function, arguments, future)

    def result(self, task: Task) -> object:
        """Wait for the result of a call.

        A crash breaks the whole pool, so that innocent calls fail with it. Each of them is therefore
        repeated alone, in a process of its own.

        Raises:
            WorkerCrash: this call crashed that process, too.
        """
        try:
            return task.future.result()
        except BrokenProcessPool:
            with _start_pool(1) as alone:
                try:
                    return alone.submit(task.function, *task.arguments).result()
                except BrokenProcessPool as error:
                    raise WorkerCrash("the process that worked on it crashed") from error

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _start_pool(count: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_prepare_worker)


def _prepare_worker() -> None:
    import cv2

    cv2.setNumThreads(1)
    # the parent decides when to stop, even if a signal reaches the whole process group
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
