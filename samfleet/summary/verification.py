"""The work of the rule `verify`: an error if any image failed, for `on_error: fail`."""

from pathlib import Path

from samfleet.cells import read_csv
from samfleet.errors import UserError
from samfleet.files import write_atomic
from samfleet.results import summary_file, verification_record_file, verified_file
from samfleet.stamps import latest_stamp, remove_older_stamps, write_record
from samfleet.statuses import Status
from samfleet.summary.stamp import verification_origin
from samfleet.wording import counted

_SHOWN = 20


class FailedImages(UserError):
    """Images failed; the message names them with their reasons."""


def verify_summary(results: Path) -> None:
    """Check that every image of the summary was detected, and write one line that says so.

    Raises:
        FailedImages: some were not.
    """
    summary, record = summary_file(results), verification_record_file(results)
    stamp = latest_stamp(results, "verification")
    record.unlink(missing_ok=True)
    rows = read_csv(summary)
    failed = [row for row in rows if row["status"] not in (Status.OK, Status.EMPTY)]
    if failed:
        lines = [f"{row['image']}: {row['status']}: {row['reason']}" for row in failed[:_SHOWN]]
        more = f"\n  and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise FailedImages(
            f"on_error: fail: {len(failed)} of {counted(len(rows), 'image')} failed; everything else is "
            f"done, see {summary}:\n  " + "\n  ".join(lines) + more
        )
    write_atomic(verified_file(results), f"{counted(len(rows), 'image')}, none failed\n")
    write_record(record, verification_origin(results), stamp, [verified_file(results)])
    remove_older_stamps(results, "verification", stamp)
