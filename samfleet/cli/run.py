"""`samfleet run`: start Snakemake on the workflow that comes with this package."""

import argparse
import os
import sys

from samfleet.cli.arguments import add_config, existing_config
from samfleet.resources import ROOT


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "run",
        help="segment the images of a configuration",
        description="Start Snakemake on a configuration. Its exit status is Snakemake's.",
        usage="samfleet run [-h] [--gpus N] [--cores N] [--directory DIR] [-n] CONFIG [-- ...]",
        epilog="What follows `--` is handed on to Snakemake: `-- --workflow-profile slurm`.",
    )
    add_config(parser)
    parser.add_argument(
        "--gpus", metavar="N", type=_count, help="GPUs at a time; default: all here"
    )
    parser.add_argument("--cores", metavar="N", type=_count, help="default: all here")
    parser.add_argument(
        "--directory", metavar="DIR", help="where results/ is written; default: here"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would be done")
    parser.set_defaults(carry_out=run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    """Become Snakemake, so that signals reach it and its exit status is this command's.

    Raises:
        UserError: there is no such configuration.
    """
    existing_config(arguments.config)
    command = snakemake_command(arguments)
    sys.stdout.flush()
    os.execv(command[0], command)


def snakemake_command(arguments: argparse.Namespace) -> list[str]:
    """The command line of Snakemake, in the interpreter that runs this."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", str(arguments.config.absolute())]
    if arguments.gpus:
        command += ["--resources", f"gpu={arguments.gpus}"]
    if arguments.directory:
        command += ["--directory", arguments.directory]
    if arguments.dry_run:
        command += ["--dry-run"]
    # last, since --configfile and --resources would take the names of targets that follow
    return [*command, "--cores", str(arguments.cores or "all"), *arguments.snakemake_options]
