"""How well a job keeps its device at work."""

import contextlib
import time
from collections.abc import Iterator


class DeviceUse:
    """Measures for which part of the time a device has work, from now to the end of its last work.

    Attributes:
        busy: seconds within `working` blocks.
        total: seconds until the last of these blocks ended; 0 before the first has.
    """

    def __init__(self) -> None:
        self.busy = self.total = 0.0
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """A block in which the device works."""
        start = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            self.busy += end - start
            self.total = end - self._began

    @property
    def idle(self) -> float | None:
        """The share of the total in which the device had no work; None without any work."""
        return 1 - self.busy / self.total if self.total else None
