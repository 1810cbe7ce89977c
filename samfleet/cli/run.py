"""`samfleet run`: start Snakemake with the workflow that comes with this package."""

import argparse
import os
import re
import sys
import tempfile

from samfleet.cli.arguments import add_config, existing_config
from samfleet.config.schema import read_yaml
from samfleet.errors import UserError
from samfleet.resources import ROOT

_ELSEWHERE = {"--executor", "-e", "--profile", "--workflow-profile"}
"""Options of Snakemake after which jobs may run elsewhere, where the cores of this machine mean nothing."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "run",
        help="segment the images of a configuration",
        description="Run the workflow with Snakemake. The exit status is Snakemake's.",
        usage="samfleet run [-h] [--gpus N] [--cores N] [--directory DIR] [-n] CONFIG [-- ...]",
        epilog="Options after `--` are for Snakemake, for example `-- --workflow-profile slurm`.",
    )
    add_config(parser)
    parser.add_argument(
        "--gpus", metavar="N", type=_count, help="GPUs to use at a time; default: all visible ones"
    )
    parser.add_argument("--cores", metavar="N", type=_count, help="CPU cores; default: all")
    parser.add_argument(
        "--directory",
        metavar="DIR",
        help="where results/ is written; default: the current directory",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would be done")
    parser.set_defaults(carry_out=run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    """Replace this process by Snakemake, so that signals and the exit status are Snakemake's.

    Raises:
        UserError: the configuration does not exist, or it is not YAML, or an option for Snakemake names
            a key with a dot.
    """
    read_yaml(existing_config(arguments.config))  # Snakemake's own error would not name the file
    _refuse_dotted_keys(arguments.snakemake_options)
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:  # with which Snakemake would end in a traceback
        raise UserError(f"{error.strerror}: make room there, or set TMPDIR to a folder") from error
    command = snakemake_command(arguments)
    sys.stdout.flush()
    os.execv(command[0], command)


def _refuse_dotted_keys(options: list[str]) -> None:
    """Explain what Snakemake would only call invalid: it knows keys of the top level."""
    for option in options:
        if dotted := re.match(r"(?:--config=|-C)?(\w+)\.(\w+)=(.*)", option):
            section, key, value = dotted.groups()
            raise UserError(
                f"{option}: for a key inside a section write --config '{section}={{{key}: {value}}}'"
            )


def snakemake_command(arguments: argparse.Namespace) -> list[str]:
    """The command line of Snakemake, in the interpreter that runs this."""
    options = arguments.snakemake_options
    command = [sys.executable, "-m", "snakemake", f"--snakefile={ROOT / 'Snakefile'}"]
    # with an equals sign, since these would take targets that follow as further values
    command += [f"--configfile={arguments.config.absolute()}"]
    if arguments.gpus:
        command += [f"--resources=gpu={arguments.gpus}"]
    if arguments.directory:
        command += [f"--directory={arguments.directory}"]
    if arguments.dry_run:
        command += ["--dry-run"]
    if arguments.cores or not any(option.split("=")[0] in _ELSEWHERE for option in options):
        command += [f"--cores={arguments.cores or 'all'}"]
    return [*command, *options]
