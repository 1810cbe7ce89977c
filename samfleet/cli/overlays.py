"""`samfleet overlays`: the same as `samfleet export overlays`."""

import argparse

from samfleet.cli.export import add_arguments


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "write images with the outlines of their objects; short for `export overlays`"
    parser = commands.add_parser("overlays", help=text, description=f"{text.capitalize()}.")
    add_arguments(parser)
    parser.set_defaults(kind="overlays")
