"""The work of the rule `verify`: an error if any image failed, for `on_error: fail`."""

from pathlib import Path

from samfleet.cells import read_csv
from samfleet.errors import UserError
from samfleet.files import write_atomic
from samfleet.results import summary_file, verification_record_file, verified_file
from samfleet.stamps import recorded
from samfleet.statuses import Status
from samfleet.summary.stamp import verification_origin
from samfleet.wording import counted, first_lines


class FailedImages(UserError):
    """Images failed; the message names them with their reasons."""


def verify_summary(results: Path) -> None:
    """Check that every image of the summary was detected, and write one line that says so.

    Raises:
        FailedImages: some were not.
    """
    summary = summary_file(results)
    rows = read_csv(summary)
    failed = [row for row in rows if row["status"] not in (Status.OK, Status.EMPTY)]
    if failed:
        lines = [f"{row['image']}: {row['status']}: {row['reason']}" for row in failed]
        raise FailedImages(
            f"on_error: fail: {len(failed)} of {counted(len(rows), 'image')} failed; everything else is "
            f"done, see {summary}:{first_lines(lines)}"
        )
    path, word = verification_record_file(results), verified_file(results)
    with recorded(results, "verification", path, [word], verification_origin(results)):
        write_atomic(word, f"{counted(len(rows), 'image')}, none failed\n")
