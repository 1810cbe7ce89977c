"""Commands beside the workflow: `python -m samfleet summary --partial`."""

import argparse
import sys
from pathlib import Path

from samfleet.config import read_config
from samfleet.errors import UserError
from samfleet.logs import configure_logging
from samfleet.plan.record import is_complete, last_plan_file, read_plan, store_folder


def main() -> int:
    """Parse the command line, run the command and return the exit status."""
    parser = argparse.ArgumentParser(prog="samfleet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    summary = commands.add_parser(
        "summary", help="write the tables from what is stored, without running the workflow"
    )
    summary.add_argument(
        "--partial",
        action="store_true",
        help="also while shards of the plan are missing; their pictures get the status `pending`",
    )
    summary.add_argument("--configfile", type=Path, default=Path("config/config.yaml"))
    summary.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    configure_logging(None)
    try:
        return _summary(read_config(arguments.configfile), arguments.results, arguments.partial)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _summary(config: dict, results: Path, partial: bool) -> int:
    plan = read_plan(last_plan_file(results))
    if plan is None:
        print(f"{results}: there is no plan; run snakemake first", file=sys.stderr)
        return 2
    if not partial and not is_complete(results, plan):
        print(
            f"{results}: the plan is not carried out to its end; run snakemake, or give --partial "
            "for the tables of what there is",
            file=sys.stderr,
        )
        return 2
    from samfleet.summary.tables import write_summary

    write_summary(config, results, store_folder(results, plan.model_key))
    return 0


if __name__ == "__main__":
    sys.exit(main())
