"""Stop on a signal without losing finished results."""

import contextlib
import signal
from collections.abc import Iterator


class Stopped(BaseException):
    """The process was asked to stop. Not an Exception, so that error handlers do not catch it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """Turns SIGTERM, SIGINT, SIGHUP and SIGUSR1 into `Stopped`, but never inside a `critical` block.

    Schedulers announce the end of the walltime with SIGTERM or, if asked to, with SIGUSR1. SIGHUP comes when
    a terminal is closed; under `nohup`, which has it ignored, it stays so.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._critical = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _: object) -> None:
        self._asked = number
        if not self._critical:
            raise Stopped(number)

    @contextlib.contextmanager
    def critical(self) -> Iterator[None]:
        """A block that is completed before the process stops."""
        self._critical = True
        try:
            yield
        finally:
            self._critical = False
        if self._asked:
            raise Stopped(self._asked)
