"""Processes that read and measure images while another one drives the device.

Each is started anew with exec, never forked: a forked process would keep the device's lease after its
parent's death. Each ends with its parent. If an image crashes its process or takes too long, that process
alone is replaced, and only that image fails.
"""

import contextlib
import json
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from samfleet.detection.malloc import keep_freed_memory

# A BLAS reads one of these when it is loaded, which is before our code runs in a worker.
_BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATIENCE = 5
"""Seconds after which a process that was killed is left to the kernel."""
_KEPT_BYTES = 1 << 27
"""Of freed memory in each worker: what an image of 2048² takes, so that the next one need not ask the system for it."""
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from samfleet.detection.workers import serve
serve(int(sys.argv[1]))
"""


class WorkerCrash(Exception):
    """A task crashed the process that ran it, twice."""


class WorkerTimeout(Exception):
    """A task took longer than it may, and its process was killed."""


@dataclass(slots=True)
class Task:
    """A call in a worker.

    Attributes:
        future: its result.
        started: when a worker began with it, by `time.monotonic`; None while it waits for one.
        limit: seconds that it may take.
    """

    future: Future = field(default_factory=Future)
    started: float | None = None
    limit: float = threading.TIMEOUT_MAX

    @property
    def seconds(self) -> float:
        """How long it has been worked on."""
        return 0.0 if self.started is None else time.monotonic() - self.started


class Workers:
    """A pool of worker processes, to be used as a context manager.

    Each worker has one thread, since there is a process for each core. A thread of this process waits for
    each, so that workers go on while this process is busy.

    Args:
        count: number of processes.
        timeout: seconds that a call may take.
    """

    def __init__(self, count: int, timeout: float = threading.TIMEOUT_MAX):
        self.count = count
        self._timeout = min(timeout, threading.TIMEOUT_MAX)
        self._threads = ThreadPoolExecutor(count)
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._all: set[_Process] = set()
        self._closed = False

    def submit(self, function: Callable, *arguments: object, times: float = 1) -> Task:
        """Start calling an importable function, which may take so many times as long as others."""
        task = Task(limit=min(times * self._timeout, threading.TIMEOUT_MAX))
        task.future = self._threads.submit(self._carry_out, task, function, arguments)
        return task

    def result(self, task: Task) -> Any:
        """Wait for the result of a call.

        Raises:
            WorkerCrash: the call crashed its process, and another one, too.
            WorkerTimeout: the call took too long.
        """
        return task.future.result()

    def _carry_out(self, task: Task, function: Callable, arguments: tuple) -> object:
        for take in (self._take, self._start):
            process = take()
            task.started = time.monotonic()
            try:
                succeeded, outcome = process.call((function, arguments), task.limit)
            except (EOFError, OSError):
                self._remove(process)
                if task.seconds >= task.limit:
                    raise WorkerTimeout(f"it took longer than {task.limit:g} s") from None
            except (
                Exception
            ):  # there is no memory for the result, say, of which a part was received
                self._remove(process)
                raise
            else:
                self._idle.put(process)
                if succeeded:
                    return outcome
                raise outcome
        raise WorkerCrash("the process that worked on it crashed")

    def _take(self) -> "_Process":
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._start()

    def _start(self) -> "_Process":
        if self._closed:
            raise WorkerCrash("the job has ended")
        process = _Process()
        self._all.add(process)
        if self._closed:
            process.kill()
        return process

    def _remove(self, process: "_Process") -> None:
        process.kill()
        process.close()
        self._all.discard(process)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._all):
            process.kill()
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


class _Process:
    """A worker process as this one sees it."""

    def __init__(self) -> None:
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(its.fileno()), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                env=os.environ | dict.fromkeys(_BLAS_THREADS, "1"),
            )
        self._socket = ours
        self._connection = Connection(os.dup(ours.fileno()))

    def call(self, call: tuple[Callable, tuple], timeout: float) -> tuple[bool, Any]:
        """Whether a call succeeded, and its result or its error.

        Raises:
            EOFError, OSError: the process ended, or was killed because the call took too long.
        """
        deadline = threading.Timer(timeout, self.kill)
        deadline.daemon = True
        deadline.start()
        try:
            self._connection.send(call)
            return self._connection.recv()
        finally:
            deadline.cancel()

    def kill(self) -> None:
        """End the process; a call in another thread ends even if the process cannot be killed.

        The kernel kills no process that waits for a network file system that is gone.
        """
        self._process.kill()
        with contextlib.suppress(OSError):  # its end may be closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give back what a killed process holds in this one."""
        self._connection.close()
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)


def serve(descriptor: int) -> None:
    """The work of a worker process: call what comes through a socket, and send back what it gives."""
    # the parent decides when to stop, even if a signal reaches the whole process group
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)
    keep_freed_memory(_KEPT_BYTES)
    connection = Connection(descriptor)
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, calls), daemon=True).start()
    while True:
        connection.send_bytes(_outcome(calls.get()))


def _receive(connection: Connection, calls: "queue.SimpleQueue[bytes]") -> None:
    """Pass calls on until the parent ends, and end with it, whatever is being done."""
    while True:
        try:
            calls.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _outcome(call: bytes) -> bytes:
    """What a call gives, as `_Process.call` returns it; an error carries its traceback as a note."""
    try:
        function, arguments = pickle.loads(call)
        return pickle.dumps((True, function(*arguments)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        try:
            return pickle.dumps((False, error))
        except Exception:
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
