"""`samfleet overlays`: images with the outlines of their objects, to look at."""

import argparse
from pathlib import Path

from samfleet.cli.arguments import add_config, add_results, read_settings
from samfleet.errors import UserError
from samfleet.results import objects_file


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "write images with the outlines of their objects"
    parser = commands.add_parser("overlays", help=text, description=f"{text.capitalize()}.")
    add_config(parser)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to write them")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*", help="named as in the tables; all, if none is named"
    )
    add_results(parser)
    parser.set_defaults(carry_out=draw)


def draw(arguments: argparse.Namespace) -> None:
    """Write a PNG for every image that is asked for.

    Raises:
        UserError: there are no tables yet, or an image is not in them.
    """
    from samfleet.exports.overlays import write_overlays

    settings, results = read_settings(arguments.config), arguments.results
    if not objects_file(results).is_file():
        raise UserError(
            f"{results}: there are no tables; `samfleet run {arguments.config}` makes them"
        )
    count = write_overlays(settings, results, arguments.folder, arguments.images)
    print(f"{count} images in {arguments.folder}")
