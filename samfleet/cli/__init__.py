"""The command `samfleet`: one module for each thing that it does.

What is heavy (torch, pandas, OpenCV) is imported inside the command that needs it.
"""

import argparse
import sys

from samfleet.cli import init, overlays, run, store, summary
from samfleet.errors import UserError
from samfleet.logs import configure_logging

_COMMANDS = (init, run, summary, overlays, store)


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command line and return the exit status: 0, or 2 for what the user can put right.

    Args:
        arguments: the command line without the program's name; by default that of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    end = given.index("--") if "--" in given else len(given)
    parser = _parser()
    parsed = parser.parse_args(given[:end], argparse.Namespace(snakemake_options=given[end + 1 :]))
    if parsed.snakemake_options and parsed.carry_out is not run.run:
        parser.error("only `samfleet run` hands on what follows `--`")
    configure_logging(None)
    try:
        parsed.carry_out(parsed)
    except UserError as error:
        print(f"samfleet: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="samfleet", description="Segment Anything over a whole image collection."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser
