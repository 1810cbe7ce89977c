"""Say how far a plan is while Snakemake runs: one line that is kept up on a terminal, and lines in a log.

Standard library only, since the Snakefile imports this.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from samfleet.plan.progress import Progress, in_words, progress_of
from samfleet.plan.record import read_plan
from samfleet.results import last_plan_file

_SCREEN_SECONDS, _LOG_SECONDS = 2.0, 10.0
_SELDOM = 0.05  # of the time so far, between two lines of a log
_AT_LEAST_EVERY = 600.0
_BAR = 20
_ERASE = "\r\x1b[2K"


class ProgressLines:
    """Says how far the plan of a folder of results is, until it is ended.

    Args:
        results: the folder of the results.
        say: writes a line to the log.
        screen: a terminal, on which a bar is kept up instead; None if there is none.
        handlers: of the log that writes to the terminal too; the bar makes way for their lines.
    """

    def __init__(
        self,
        results: Path,
        say: Callable[[str], None],
        screen: TextIO | None = None,
        handlers: Iterable[logging.Handler] = (),
    ):
        self._results, self._say, self._screen = results, say, screen
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._said = ""
        self._due = _LOG_SECONDS
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._handlers = list(handlers)
        self._is_shown = False

    def start(self) -> None:
        """Begin to watch."""
        for handler in self._handlers if self._screen else ():
            handler.addFilter(self._make_way)
        self._thread.start()

    def end(self) -> None:
        """Stop watching, and take the bar away."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._make_way()

    def _watch(self) -> None:
        while not self._ended.wait(_SCREEN_SECONDS if self._screen else _LOG_SECONDS):
            try:
                self.look()
            except OSError:  # of a network file system, now and then
                continue

    def look(self) -> None:
        """Say how far the plan is, if jobs are at work and it is time to."""
        plan = read_plan(last_plan_file(self._results))
        progress = progress_of(self._results, plan) if plan else None
        if progress is None or not any(
            progress.in_state(state) for state in ("loading", "detecting", "silent")
        ):
            return
        if self._screen:
            width = shutil.get_terminal_size().columns - 1
            # the cursor goes back, so that whatever is printed next begins a line
            self._screen.write(f"{_ERASE}{_bar(progress)} {in_words(progress)}"[: width + 5] + "\r")
            self._screen.flush()
            self._is_shown = True
            return
        passed, words = time.monotonic() - self._began, in_words(progress)
        if passed >= self._due and words != self._said:
            self._said = words
            self._due = passed + min(max(_LOG_SECONDS, _SELDOM * passed), _AT_LEAST_EVERY)
            self._say(f"samfleet: {words}")

    def _make_way(self, record: logging.LogRecord | None = None) -> bool:
        """Take the bar away before something is printed; as a filter of a log it lets everything pass."""
        if self._screen and self._is_shown:
            self._is_shown = False
            self._screen.write(_ERASE)
            self._screen.flush()
        return True


def _bar(progress: Progress) -> str:
    full = _BAR * progress.recorded // max(1, progress.images)
    return "━" * full + "─" * (_BAR - full)
