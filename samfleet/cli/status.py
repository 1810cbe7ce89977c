"""`samfleet status`: how far the jobs of a run are, from wherever its results can be seen."""

import argparse
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from samfleet.cli.arguments import add_results
from samfleet.detection.claims import Taken, shard_of, taken
from samfleet.errors import UserError
from samfleet.files import TableError, read_rows
from samfleet.plan.progress import Job, Progress, duration, in_words, progress_of
from samfleet.plan.record import Plan, read_plan
from samfleet.plan.shards import CHUNKS_HEADER
from samfleet.results import chunks_file, chunks_folder, last_plan_file
from samfleet.wording import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

_EVERY_SECONDS = 2.0
_JOBS = 40  # that are listed at most
_NAMED_JOBS = 3  # at the chunks of a shard
_STATES = ("silent", "failed", "stopped", "detecting", "loading", "ended", "waiting", "done")
"""What is listed first: what somebody should look at."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "say how far the jobs of a run are"
    parser = commands.add_parser("status", help=text, description=f"{text.capitalize()}.")
    add_results(parser)
    parser.add_argument("--watch", action="store_true", help="go on until all of them are done")
    parser.set_defaults(carry_out=show)


def show(arguments: argparse.Namespace) -> None:
    """Print how far the last plan is, and each of its jobs.

    Raises:
        UserError: there is no plan.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not arguments.watch:
        console.print(_table(arguments.results, *_progress(arguments.results)))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                plan, progress = _progress(arguments.results)
                live.update(_table(arguments.results, plan, progress), refresh=True)
                if progress.is_done:
                    return
                time.sleep(_EVERY_SECONDS)
    except KeyboardInterrupt:
        return


def _progress(results: Path) -> tuple[Plan, Progress]:
    plan = read_plan(last_plan_file(results))
    if plan is None:
        raise UserError(f"{results}: there is no plan; `samfleet run CONFIG` makes one")
    return plan, progress_of(results, plan)


def _table(results: Path, plan: Plan, progress: Progress) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if not progress.jobs:
        return Text("nothing to detect: the last plan found a result for every image")
    table = Table(box=None)
    for name in ("shard", "job", "host", "device"):
        table.add_column(name, no_wrap=True)
    for name in ("images", "a second", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("its chunks")
    ranked = sorted(progress.jobs, key=lambda job: (*_STATES, job.state).index(job.state))
    at_work = progress.at_work
    for job in ranked[:_JOBS]:
        chunks = _chunks(results, plan, job.shard, at_work)
        table.add_row(*map(Text, (*_cells(job), chunks)))  # as text, in which brackets mean nothing
    more = len(ranked) - _JOBS
    bar = Table.grid(expand=True)
    bar.add_row(ProgressBar(total=max(1, progress.images), completed=progress.recorded))
    notes = [f"and {counted(more, 'more job')}"] if more > 0 else []
    if not progress.is_done:
        notes.append(
            "A job does the chunks of its shard, then those that other jobs have not come to."
        )
    return Group(Text(in_words(progress)), bar, table, *map(Text, notes))


def _chunks(results: Path, plan: Plan, shard: str, at_work: set[str]) -> str:
    """How far the chunks of a shard are, in words; nothing if that cannot be read."""
    count = _counts(chunks_file(results, plan.id)).get(shard)
    try:
        claimed = taken(chunks_folder(results, plan.id), shard)
    except OSError:  # of a network file system, now and then
        return ""
    return chunks_in_words(claimed, shard, count, at_work) if count else ""


def chunks_in_words(chunks: Taken, shard: str, count: int, at_work: set[str]) -> str:
    """How many of a shard's chunks are done, and who is at others: "5 of 12 done, 2 at work (1 by job 0003)".

    Args:
        chunks: those that were claimed.
        shard: the name of the shard.
        count: the number of its chunks.
        at_work: the jobs that seem to live; what others have claimed is free again.
    """
    shards = Counter(shard_of(job) for job in chunks.jobs if job in at_work)
    words = f"{chunks.done} of {count} done"
    if not shards:
        return words
    words += f", {shards.total()} at work"
    del shards[shard]
    if len(shards) > _NAMED_JOBS:
        return f"{words} ({shards.total()} by {len(shards)} other jobs)"
    others = ", ".join(f"{number} by job {name}" for name, number in sorted(shards.items()))
    return f"{words} ({others})" if others else words


@lru_cache(maxsize=1)
def _counts(table: Path) -> Counter[str]:
    """The number of chunks of every shard of a plan, whose table never changes."""
    try:
        return Counter(shard for shard, *_ in read_rows(table, CHUNKS_HEADER))
    except TableError:
        return Counter()


def _cells(job: Job) -> tuple[str, ...]:
    state = f"silent for {duration(job.silent)}" if job.state == "silent" else job.state
    if job.beat is None:
        return job.shard, state, "", "", str(job.recorded), "", ""
    rate = f"{job.rate:.3g}" if job.rate else ""
    beat = job.beat
    return job.shard, state, beat.host, beat.device, str(job.recorded), rate, str(beat.failed)
