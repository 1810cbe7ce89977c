"""`samfleet store`: list what is stored, by model key."""

import argparse

from samfleet.cli.arguments import add_results
from samfleet.errors import UserError
from samfleet.wording import counted


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "list what is stored under which model and settings"
    parser = commands.add_parser("store", help=text, description=f"{text.capitalize()}.")
    add_results(parser)
    parser.set_defaults(carry_out=show)


def show(arguments: argparse.Namespace) -> None:
    """Print a block of lines for each folder of the store.

    Raises:
        UserError: there is no store.
    """
    from samfleet.store.listing import list_store

    held = list_store(arguments.results)
    if not held:
        raise UserError(f"{arguments.results}: nothing is stored there yet")
    for entry in held:
        images = counted(entry.images, "image")
        print(f"{entry.model_key}: {images} detected, {entry.failed} failed, {entry.size}")
        for name, value in entry.settings.items():
            print(f"  {name}: {value}")
