"""`samfleet summary`: write the tables from what is stored, without running the workflow."""

import argparse
import contextlib
import logging
import sys
from pathlib import Path

from samfleet.cli.arguments import add_config, add_results, read_settings
from samfleet.config.settings import Settings
from samfleet.errors import UserError
from samfleet.files import read_object
from samfleet.plan.collection import scan_collection
from samfleet.plan.commands import note_command
from samfleet.plan.record import Plan, is_complete, read_plan
from samfleet.results import last_plan_file, store_folder, store_settings_file
from samfleet.sam.model_key import differing_settings

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "write the tables from what is stored, without running the workflow"
    parser = commands.add_parser("summary", help=text, description=f"{text.capitalize()}.")
    add_config(parser)
    add_results(parser)
    parser.add_argument(
        "--partial",
        action="store_true",
        help="write them even if shards are missing; images without a result get the status `pending`",
    )
    parser.set_defaults(carry_out=summarize)


def summarize(arguments: argparse.Namespace) -> None:
    """Write the tables of the last plan.

    Raises:
        UserError: there is no plan, or it is not finished and `--partial` is not given, or it was made
            under settings that find other candidates.
    """
    from samfleet.summary.job import summarize_plan

    settings, results = read_settings(arguments.config), arguments.results
    plan = read_plan(last_plan_file(results))
    if plan is None:
        raise UserError(f"{results}: there is no plan; `samfleet run {arguments.config}` makes one")
    if not arguments.partial and not is_complete(results, plan):
        raise UserError(
            f"{results}: the last plan is not finished; `samfleet run {arguments.config}` goes on "
            "with it, or use --partial to write the tables of what there is"
        )
    store = store_folder(results, plan.model_key)
    explained = read_object(store_settings_file(store))  # written by the first detection
    if other := explained and differing_settings(settings, explained):
        raise UserError(
            f"{results}: the last plan was made with another {' and '.join(other)}, which changes what is "
            f"detected; `samfleet run {arguments.config}` does so"
        )
    _compare_images(settings, results, plan)
    note_command(results, ["samfleet", *sys.argv[1:]])
    summarize_plan(settings, results, plan, partial=arguments.partial)


def _compare_images(settings: Settings, results: Path, plan: Plan) -> None:
    """Refuse another collection than that of the plan, and say if the collection has changed since.

    Raises:
        UserError: it is another one.
    """
    if plan.source != settings.images:
        raise UserError(
            f"{results}: the last plan is of images: {plan.source}, not of {settings.images}; run the workflow "
            "with this configuration first"
        )
    with contextlib.suppress(UserError):  # the images may be elsewhere by now
        image = settings.image
        collection = scan_collection(
            settings.images, image.suffixes, results, image.channel_pattern
        )
        if collection.fingerprint() != plan.files:
            logger.warning(
                "the images have changed since the last plan; these tables are of what it listed. The workflow "
                "plans again"
            )
