"""`samfleet methods`: a paragraph for a methods section."""

import argparse

from samfleet.cli.arguments import add_results
from samfleet.errors import UserError
from samfleet.files import read_object
from samfleet.results import run_file


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "write a paragraph for a methods section"
    parser = commands.add_parser("methods", help=text, description=f"{text.capitalize()}.")
    add_results(parser)
    parser.set_defaults(carry_out=show)


def show(arguments: argparse.Namespace) -> None:
    """Print what was done, in a paragraph.

    Raises:
        UserError: there is no run.json, or it is not complete.
    """
    from samfleet.summary.provenance import methods

    path = run_file(arguments.results)
    record = read_object(path)
    try:
        if "weights" not in record["model"]:
            raise UserError(f"{path}: no image has been detected yet; run the workflow")
        print(methods(record))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: there is no such account of a run, or it is damaged; run the workflow again"
        ) from error
