"""What it means that results cannot be written."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from samfleet.errors import UserError


class RecordingError(UserError):
    """Results cannot be written; the message names the folder and says what to do."""


@contextlib.contextmanager
def writing_results(folder: Path) -> Iterator[None]:
    """A block that writes results to a folder of the store.

    Raises:
        RecordingError: the disk is full or cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise RecordingError(
            f"{folder}: cannot be written: {error}; earlier results are "
            "kept; make room or correct the permissions, then run again"
        ) from error
