"""Measure how busy a job keeps its device."""

import contextlib
import time
from collections.abc import Iterator


class DeviceUse:
    """Measures how much of the time a device has work, from now until its last work ends.

    Attributes:
        busy: seconds spent in `working` blocks.
        total: seconds until the last of these blocks ended; 0 before the first has ended.
    """

    def __init__(self) -> None:
        self.busy = self.total = 0.0
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Count a block as work of the device."""
        start = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            self.busy += end - start
            self.total = end - self._began

    @property
    def idle(self) -> float | None:
        """The fraction of the total in which the device had no work; None before any work."""
        return 1 - self.busy / self.total if self.total else None
