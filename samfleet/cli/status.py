"""`samfleet status`: how far the jobs of a run are, from wherever its results can be seen."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from samfleet.cli.arguments import add_results
from samfleet.errors import UserError
from samfleet.plan.progress import Job, Progress, duration, in_words, progress_of
from samfleet.plan.record import read_plan
from samfleet.results import last_plan_file

if TYPE_CHECKING:
    from rich.console import RenderableType

_EVERY_SECONDS = 2.0
_JOBS = 40  # that are listed at most
_STATES = ("silent", "failed", "detecting", "loading", "ended", "waiting", "done")
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
        console.print(_table(_progress(arguments.results)))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                progress = _progress(arguments.results)
                live.update(_table(progress), refresh=True)
                if progress.is_done:
                    return
                time.sleep(_EVERY_SECONDS)
    except KeyboardInterrupt:
        return


def _progress(results: Path) -> Progress:
    plan = read_plan(last_plan_file(results))
    if plan is None:
        raise UserError(f"{results}: there is no plan; `samfleet run CONFIG` makes one")
    return progress_of(results, plan)


def _table(progress: Progress) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if not progress.jobs:
        return Text("nothing to detect: the last plan found a result for every image")
    table = Table(box=None)
    for name in ("shard", "job", "host", "device"):
        table.add_column(name)
    for name in ("images", "a second", "failed"):
        table.add_column(name, justify="right")
    ranked = sorted(progress.jobs, key=lambda job: _STATES.index(job.state))
    for job in ranked[:_JOBS]:
        table.add_row(*map(Text, _cells(job)))  # as text, in which brackets mean nothing
    more = len(ranked) - _JOBS
    bar = Table.grid(expand=True)
    bar.add_row(ProgressBar(total=max(1, progress.images), completed=progress.recorded))
    hidden = [Text(f"and {more} more jobs")] if more > 0 else []
    return Group(Text(in_words(progress)), bar, table, *hidden)


def _cells(job: Job) -> tuple[str, ...]:
    state = f"silent for {duration(job.silent)}" if job.state == "silent" else job.state
    if job.beat is None:
        return job.shard, state, "", "", str(job.recorded), "", ""
    rate = f"{job.rate:.3g}" if job.rate else ""
    beat = job.beat
    return job.shard, state, beat.host, beat.device, str(job.recorded), rate, str(beat.failed)
