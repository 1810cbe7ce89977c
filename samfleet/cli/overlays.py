"""`samfleet overlays`: images with the outlines of their objects, to look at."""

import argparse
import sys
from pathlib import Path

from samfleet.cli.arguments import add_config, add_results, read_settings
from samfleet.errors import UserError
from samfleet.results import objects_file, summary_file
from samfleet.wording import counted, first_lines


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "write images with the outlines of their objects"
    parser = commands.add_parser("overlays", help=text, description=f"{text.capitalize()}.")
    add_config(parser)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="where to write them: a new folder, or one of overlays",
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        help="images, as the tables name them, or patterns such as 'well_A*'; default: all",
    )
    add_results(parser)
    parser.set_defaults(carry_out=draw)


def draw(arguments: argparse.Namespace) -> None:
    """Write a PNG for each of the images, and say which could not be drawn.

    Raises:
        UserError: there are no tables yet, or they are of other settings, an image is not in them, the folder is not for overlays, or no image
            or not every detected image could be drawn.
    """
    from samfleet.exports.overlays import write_overlays

    settings, results = read_settings(arguments.config), arguments.results
    if not (objects_file(results).is_file() and summary_file(results).is_file()):
        raise UserError(
            f"{results}: there are no tables; `samfleet run {arguments.config}` makes them"
        )
    overlays = write_overlays(settings, results, arguments.folder, arguments.images)
    print(f"{counted(overlays.written, 'image')} in {arguments.folder}")
    if overlays.removed:
        gone = counted(overlays.removed, "overlay")
        print(f"removed {gone} of images that are no longer in the tables", file=sys.stderr)
    if overlays.without_result:
        listed = _listed(overlays.without_result)
        print(f"not drawn, since without a result:{listed}", file=sys.stderr)
    if overlays.outdated:
        raise UserError(
            f"{counted(len(overlays.outdated), 'image')} cannot be drawn; `images: {settings.images}` must mean the "
            f"same files as when they were detected:{_listed(overlays.outdated)}"
        )
    if not overlays.written:
        raise UserError(f"{results}: none of these images has a result")


def _listed(reasons: dict[str, str]) -> str:
    return first_lines([f"{image}: {reason}" for image, reason in reasons.items()])
