"""Arguments that several commands take."""

import argparse
from pathlib import Path

from samfleet.config.schema import read_config
from samfleet.config.settings import Settings, settings_of
from samfleet.errors import UserError


def add_config(parser: argparse.ArgumentParser) -> None:
    """Let a command take a configuration, as `config`."""
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the configuration, YAML")


_RESULTS = Path("results")


def add_results(parser: argparse.ArgumentParser) -> None:
    """Let a command take the folder of the results, as `results`."""
    parser.add_argument("--results", type=Path, default=_RESULTS, help="default: results")


def check_results(arguments: argparse.Namespace) -> None:
    """Check that a folder of results that was named is there.

    Raises:
        UserError: it is not.
    """
    results = getattr(arguments, "results", _RESULTS)
    if results != _RESULTS and not results.is_dir():
        raise UserError(f"--results {results}: no such folder; name the one that a run has written")


def existing_config(path: Path) -> Path:
    """The path of a configuration, after checking that it exists.

    Raises:
        UserError: the file does not exist.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a configuration file in it")
    if not path.exists():
        raise UserError(f"{path}: no such file; `samfleet init FOLDER` writes a configuration")
    return path


def read_settings(path: Path) -> Settings:
    """The settings in a configuration file.

    Raises:
        UserError: the file does not exist, or its content is not valid.
    """
    return settings_of(read_config(existing_config(path)))
