"""The work of the rule `verify`: an error if any image failed, for `on_error: fail`."""

from pathlib import Path

from samfleet.cells import read_csv
from samfleet.errors import UserError
from samfleet.statuses import Status
from samfleet.wording import counted

_SHOWN = 20


class FailedImages(UserError):
    """Images failed; the message names them with their reasons."""


def verify_summary(summary: str | Path) -> str:
    """Check that every image of a summary was detected.

    Returns:
        One line that says how many images there are.

    Raises:
        FailedImages: some were not.
    """
    rows = read_csv(summary)
    failed = [row for row in rows if row["status"] not in (Status.OK, Status.EMPTY)]
    if failed:
        lines = [f"{row['image']}: {row['status']}: {row['reason']}" for row in failed[:_SHOWN]]
        more = f"\n  and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise FailedImages(
            f"on_error: fail: {len(failed)} of {counted(len(rows), 'image')} failed; everything else is "
            f"done, see {summary}:\n  " + "\n  ".join(lines) + more
        )
    return f"{counted(len(rows), 'image')}, none failed"
