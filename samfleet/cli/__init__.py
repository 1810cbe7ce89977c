"""The command `samfleet`: a module for each subcommand.

Heavy libraries (torch, pandas, OpenCV) are imported inside the functions that need them.
"""

import argparse
import sys

from samfleet.cli import export, init, methods, overlays, report, run, status, store, summary
from samfleet.cli.arguments import check_results
from samfleet.errors import explanation
from samfleet.logs import configure_logging
from samfleet.versions import samfleet_version

_COMMANDS = (init, run, status, summary, report, export, overlays, methods, store)


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command line and return the exit status: 0, or 2 after an error that has an `explanation`.

    Args:
        arguments: the command line without the program's name; by default that of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    end = given.index("--") if "--" in given else len(given)
    parser = _parser()
    parsed = parser.parse_args(given[:end], argparse.Namespace(snakemake_options=given[end + 1 :]))
    if parsed.snakemake_options and parsed.carry_out is not run.run:
        parser.error("only `samfleet run` takes options after `--`")
    configure_logging(None)
    try:
        check_results(parsed)
        parsed.carry_out(parsed)
    except Exception as error:
        words = explanation(error)
        if words is None:
            raise
        print(f"samfleet: {words}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="samfleet", description="Segment Anything over a whole image collection."
    )
    version = samfleet_version() or "(a clone that is not installed)"
    parser.add_argument("--version", action="version", version=f"samfleet {version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser
