"""A short account of a run, for its end. Standard library only, since the Snakefile imports this."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from samfleet.cells import read_csv
from samfleet.files import read_object
from samfleet.plan.progress import duration, pace, progress_of
from samfleet.plan.record import read_plan
from samfleet.results import done_file, last_plan_file, report_file, summary_file
from samfleet.statuses import Status
from samfleet.wording import counted


def account(results: Path, began: float, succeeded: bool = True) -> Iterator[str]:
    """What a run has done, in a few lines; none if there are no tables.

    Args:
        results: the folder of the results.
        began: when the run began, by `time.time`.
        succeeded: whether it reached its end. The tables of an earlier run tell nothing of one that did not.
    """
    if not succeeded and not _is_since(summary_file(results), began):
        yield from _left(results)
        return
    try:
        rows = read_csv(summary_file(results))
    except (OSError, ValueError, csv.Error):
        return
    statuses = Counter(row.get("status", "") for row in rows)
    objects = sum(int(row.get("n_objects") or 0) for row in rows)
    parts = ", ".join(f"{number} {status}" for status, number in statuses.most_common())
    yield f"{counted(len(rows), 'image')} ({parts}), {counted(objects, 'object')}"
    yield from _detections(results, began)
    if report_file(results).is_file():
        yield f"{report_file(results)} shows it: open it in a browser"
    yield f"{summary_file(results)} has a row for each image, objects.parquet beside it one for each object"
    if failed := len(rows) - sum(statuses[status] for status in (Status.OK, Status.EMPTY)):
        yield f"{counted(failed, 'image')} without a result: the column `reason` says why"
    if not statuses[Status.OK] and rows:
        yield f"no image has an object: the end of {results / 'logs' / 'summary.log'} says what that may mean"


def _is_since(path: Path, began: float) -> bool:
    try:
        return path.stat().st_mtime >= began
    except OSError:
        return False


def _left(results: Path) -> Iterator[str]:
    """How far a run is that ended before its time, if it is known."""
    plan = read_plan(last_plan_file(results))
    progress = progress_of(results, plan) if plan else None
    if progress and not progress.is_done:
        kept = min(progress.images, sum(job.beat.written for job in progress.jobs if job.beat))
        yield (
            f"{kept} of {counted(progress.images, 'image')} are detected, and kept: "
            "run again for the others and for the tables"
        )


def _detections(results: Path, began: float) -> Iterator[str]:
    """How many images the jobs of this run detected, how fast, and how long their devices waited."""
    plan = read_plan(last_plan_file(results))
    images, is_whole = 0, True
    seconds: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    for shard in plan.shards if plan else ():
        path = done_file(results, plan.id, shard.name) if plan else Path()
        done = read_object(path)
        is_recent = bool(done) and _is_since(path, began)
        is_whole &= is_recent
        if not is_recent or not done.get("seconds"):
            continue
        images += done["detected"] + done["failed"]
        device = f"{done['host']} {done['device'] or 'cpu'}"
        seconds[device] += done["seconds"]
        idle[device] += done["seconds"] * (done["device_idle"] or 0)
    if plan and images:
        longest = max(seconds.values())
        share = idle.total() / seconds.total()
        # jobs that are stopped leave results and no record
        others = plan.pending - images if is_whole else 0
        more = (
            f"; {counted(others, 'image')} more by jobs that were stopped or failed"
            if others > 0
            else ""
        )
        yield (
            f"{counted(images, 'image')} detected on {counted(len(seconds), 'device')} in {duration(longest)}, "
            f"{pace(images / longest)}; devices were idle for {share:.0%} of the time{more}"
        )
