"""`samfleet init`: look at a folder of images and write a configuration to start from."""

import argparse
import sys
from pathlib import Path

from samfleet.config.schema import complete_config
from samfleet.config.settings import settings_of
from samfleet.errors import UserError
from samfleet.plan.collection import scan_collection


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "look at a folder of images and write a configuration to start from"
    parser = commands.add_parser("init", help=text, description=f"{text.capitalize()}.")
    parser.add_argument("images", metavar="FOLDER", help="a folder of images, or a table of them")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("samfleet.yaml"),
        help="the configuration; default: samfleet.yaml",
    )
    parser.set_defaults(carry_out=write_configuration)


def write_configuration(arguments: argparse.Namespace) -> None:
    """Print a configuration and write it.

    Raises:
        UserError: there are no images, or the file exists already or cannot be written.
    """
    from samfleet.survey.sample import look_at
    from samfleet.survey.suggestion import suggest

    output = arguments.output
    if output.exists():
        raise UserError(
            f"{output}: already exists; name another file with --output, or move it away"
        )
    if not output.absolute().parent.is_dir():
        raise UserError(f"{output}: its folder does not exist; make it first")
    image = settings_of(complete_config({"images": arguments.images})).image
    collection = scan_collection(arguments.images, image.suffixes, "results", image.channel_pattern)
    if passed_over := collection.passed_over():
        print(passed_over, file=sys.stderr)
    text = suggest(arguments.images, look_at(collection, image.max_pixels))
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror}") from error
    print(text)
    print(f"Written to {output}. To see what a run would do: samfleet run {output} -n")
