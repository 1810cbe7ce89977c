"""The work of the rule `verify`: an error when any image failed, for `on_error: fail`."""

import csv
from pathlib import Path

from samfleet.errors import UserError
from samfleet.statuses import Status

_SHOWN = 20


class FailedImages(UserError):
    """Images failed; the message names them with their reasons."""


def verify_summary(summary: str | Path) -> str:
    """Check that every image of a summary was detected.

    Returns:
        One line that says how many images were.

    Raises:
        FailedImages: some were not.
    """
    with open(summary, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    failed = [row for row in rows if row["status"] not in (Status.OK, Status.EMPTY)]
    if failed:
        lines = [f"{row['image']}: {row['status']}: {row['reason']}" for row in failed[:_SHOWN]]
        more = f"\n  and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise FailedImages(
            f"on_error: fail: {len(failed)} of {len(rows)} images failed; everything else is "
            f"done, see {summary}:\n  " + "\n  ".join(lines) + more
        )
    return f"{len(rows)} images, none failed"
