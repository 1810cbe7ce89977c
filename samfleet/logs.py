"""Logging of a process: everything goes to stderr and to the log of the rule."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from samfleet.errors import explanation


def configure_logging(log: str | Path | None) -> None:
    """Send the package's messages, warnings and uncaught tracebacks to stderr and to `log`."""
    sys.excepthook = _log_uncaught
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(log, mode="a", encoding="utf-8"))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=handlers,
        force=True,
    )
    logging.captureWarnings(True)


class _LogFile(logging.FileHandler):
    """A log on a disk that may be full: then stderr has the message, and needs no traceback beside it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing of a file that cannot be written."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


@contextlib.contextmanager
def kept_if_it_fails(log: str | Path) -> Iterator[None]:
    """Keep the log of a block that fails or is killed, which Snakemake would remove before it retries.

    The log gets a second name (a hard link), which ends in ``.failed-1.log`` at the first attempt and
    is removed when the block succeeds. On file systems without hard links, nothing is kept.
    """
    link = _linked(Path(log))
    yield
    if link is not None:
        link.unlink(missing_ok=True)


def _linked(log: Path) -> Path | None:
    attempt = 1
    while True:
        link = log.with_name(f"{log.stem}.failed-{attempt}{log.suffix}")
        try:
            os.link(log, link)
            return link
        except FileExistsError:
            attempt += 1
        except OSError:
            return None


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    words = explanation(error)
    trace = (kind, error, traceback) if words is None else None
    logging.getLogger("samfleet").critical("%s", words or error, exc_info=trace)
