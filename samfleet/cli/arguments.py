"""Arguments that several commands take."""

import argparse
from pathlib import Path

from samfleet.config.schema import read_config
from samfleet.config.settings import Settings, settings_of
from samfleet.errors import UserError


def add_config(parser: argparse.ArgumentParser) -> None:
    """Let a command take a configuration, as `config`."""
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the configuration, YAML")


def add_results(parser: argparse.ArgumentParser) -> None:
    """Let a command take the folder of the results, as `results`."""
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: results")


def existing_config(path: Path) -> Path:
    """The path of a configuration that is there.

    Raises:
        UserError: it is not.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; `samfleet init FOLDER` writes a configuration")
    return path


def read_settings(path: Path) -> Settings:
    """The settings in a configuration's file.

    Raises:
        UserError: it is not there, or it is faulty.
    """
    return settings_of(read_config(existing_config(path)))
