"""Logging of a job, set up once: everything goes to the rule's log and to stderr."""

import logging
import sys
from pathlib import Path

from samfleet.errors import UserError


def configure_logging(log: str | Path | None) -> None:
    """Send the package's messages, warnings and uncaught tracebacks to stderr and to `log`."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log, mode="a", encoding="utf-8"))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=handlers,
        force=True,
    )
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type, error: BaseException, traceback: object) -> None:
    trace = None if isinstance(error, UserError) else (kind, error, traceback)
    logging.getLogger("samfleet").critical("%s", error, exc_info=trace)
