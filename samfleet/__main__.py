"""Commands beside the workflow: tables of an unfinished run, images with outlines."""

import argparse
import sys
from pathlib import Path

from samfleet.config.schema import read_config
from samfleet.config.settings import Settings, settings_of
from samfleet.errors import UserError
from samfleet.logs import configure_logging
from samfleet.plan.record import is_complete, read_plan
from samfleet.results import last_plan_file, store_folder


def main() -> int:
    """Parse the command line, run the command and return the exit status."""
    arguments = _parser().parse_args()
    configure_logging(None)
    try:
        arguments.run(settings_of(read_config(arguments.configfile)), arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="samfleet", description=__doc__)
    parser.add_argument("--configfile", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("results"))
    commands = parser.add_subparsers(required=True)
    summary = commands.add_parser(
        "summary", help="write the tables from what is stored, without running the workflow"
    )
    summary.add_argument(
        "--partial",
        action="store_true",
        help="also while shards of the plan are missing; their images get the status `pending`",
    )
    summary.set_defaults(run=_summary)
    overlays = commands.add_parser("overlays", help="write images with the objects' outlines")
    overlays.add_argument("folder", type=Path, help="where to write them")
    overlays.add_argument("images", nargs="*", help="as in the tables; all, if none is named")
    overlays.set_defaults(run=_overlays)
    return parser


def _summary(settings: Settings, arguments: argparse.Namespace) -> None:
    from samfleet.summary.tables import write_summary

    results = arguments.results
    plan = read_plan(last_plan_file(results))
    if plan is None:
        raise UserError(f"{results}: there is no plan; run snakemake first")
    if not arguments.partial and not is_complete(results, plan):
        raise UserError(
            f"{results}: the plan is not carried out to its end; run snakemake, or give --partial "
            "for the tables of what there is"
        )
    write_summary(settings, results, store_folder(results, plan.model_key))


def _overlays(settings: Settings, arguments: argparse.Namespace) -> None:
    from samfleet.exports.overlays import write_overlays

    count = write_overlays(settings, arguments.results, arguments.folder, arguments.images)
    print(f"{count} images in {arguments.folder}")


if __name__ == "__main__":
    sys.exit(main())
