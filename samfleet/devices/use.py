"""Measure how busy a job keeps its device."""

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol


class Clocked(Protocol):
    """What drives a device.

    Attributes:
        device_seconds: for how long the device has had work so far, by its own clock; None for a CPU, which
            works while this process does.
    """

    device_seconds: float | None


class DeviceUse:
    """Measures how much of the time a device has work, from now until its last work ends.

    Attributes:
        busy: seconds for which the device had work in `working` blocks.
        total: seconds until the last of these blocks ended; 0 before the first has ended.
    """

    def __init__(self) -> None:
        self.busy = self.total = 0.0
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def working(self, driver: Clocked) -> Iterator[None]:
        """Count a block as work of the device; of a GPU only as far as it had something to do."""
        start, before = time.perf_counter(), driver.device_seconds
        try:
            yield
        finally:
            end = time.perf_counter()
            after = driver.device_seconds
            self.busy += end - start if before is None or after is None else after - before
            self.total = end - self._began

    @property
    def idle(self) -> float | None:
        """The fraction of the total in which the device had no work; None before any work."""
        return 1 - self.busy / self.total if self.total else None
