"""`samfleet export`: files of the results for other programs, and images to look at."""

import argparse
import os
import sys
from pathlib import Path

from samfleet.cli.arguments import add_config, add_results, read_settings
from samfleet.errors import UserError
from samfleet.results import EXPORT_KINDS, objects_file, summary_file
from samfleet.wording import counted


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "write files of the objects for other programs"
    parser = commands.add_parser("export", help=text, description=f"{text.capitalize()}.")
    parser.add_argument(
        "kind",
        metavar="KIND",
        choices=EXPORT_KINDS,
        help=f"one of {', '.join(EXPORT_KINDS)}",
    )
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command take what an export of a given `kind` needs, and carry it out."""
    add_config(parser)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="where to write them: a new folder, or one of the same kind of files",
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        help="images, as the tables name them, or patterns such as 'well_A*'; default: all",
    )
    add_results(parser)
    parser.set_defaults(carry_out=write_files)


def write_files(arguments: argparse.Namespace) -> None:
    """Write the files of the images, and say which could not be exported.

    Raises:
        UserError: there are no tables yet, or they are of other settings, an image is not in them, the folder holds
            other files, or no image or not every detected image could be exported.
    """
    from samfleet.exports.job import export, listed_reasons

    settings, results = read_settings(arguments.config), arguments.results
    if not (objects_file(results).is_file() and summary_file(results).is_file()):
        raise UserError(
            f"{results}: there are no tables; `samfleet run {arguments.config}` makes them"
        )
    threads = os.cpu_count() or 1
    exported = export(
        settings, results, arguments.kind, arguments.folder, arguments.images, threads
    )
    kept = f" ({exported.unchanged} as before)" if exported.unchanged else ""
    count = counted(exported.written + exported.unchanged, "image")
    print(f"{count} in {arguments.folder}{kept}")
    if exported.removed:
        gone = counted(exported.removed, "file")
        print(f"removed {gone} of images that are no longer in the tables", file=sys.stderr)
    if exported.without_result:
        listed = listed_reasons(exported.without_result)
        print(f"not exported, since without a result:{listed}", file=sys.stderr)
    if exported.outdated:
        raise UserError(
            f"{counted(len(exported.outdated), 'image')} cannot be exported; `images: {settings.images}` must mean "
            f"the same files as when they were detected:{listed_reasons(exported.outdated)}"
        )
    if not exported.files:
        raise UserError(f"{results}: none of these images has a result")
