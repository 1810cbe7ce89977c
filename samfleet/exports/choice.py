"""Which images are exported, and whether the tables are those of the configuration."""

import difflib
import fnmatch
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from samfleet.cells import unguarded
from samfleet.config.settings import Settings
from samfleet.errors import UserError
from samfleet.files import read_object
from samfleet.opened.tables import TableImage
from samfleet.results import (
    store_folder,
    store_settings_file,
    summary_record_file,
    summary_tables,
)
from samfleet.sam.model_key import configured_model_key, differing_settings
from samfleet.sam.weights import CheckpointError
from samfleet.stamps import read_record

logger = logging.getLogger(__name__)


def check_settings(settings: Settings, results: Path) -> None:
    """Objects of other settings, found on another page perhaps, are not this configuration's.

    Raises:
        UserError: the tables were made under other settings, which it names.
    """
    record = read_record(summary_record_file(results), summary_tables(results))
    if record is None or not record.settings:
        logger.warning(
            "%s: nothing says under which settings these tables were made; unless you know, run the workflow again",
            results,
        )
        return
    check_made_under(settings, results, record.settings)


def check_made_under(settings: Settings, results: Path, made_under: Mapping[str, Any]) -> None:
    """As `check_settings`, with what the record of the summary says of its settings.

    Raises:
        UserError: the tables were made under other settings, which it names.
    """
    known, wanted = made_under["fluorescence"], asdict(settings.fluorescence)
    other = [f"fluorescence.{name}" for name in wanted if known.get(name) != wanted[name]]
    other += _other_model(settings, results, made_under["model_key"])
    if other:
        raise UserError(
            f"{results}: the objects are those of another {' and '.join(sorted({*other}))}; run the workflow first, "
            "or set back what was changed"
        )


def _other_model(settings: Settings, results: Path, key: str) -> list[str]:
    """The settings that keep the results of this model key from being the configuration's."""
    explained = read_object(store_settings_file(store_folder(results, key)))
    other = differing_settings(settings, explained) if explained else []
    try:
        same = configured_model_key(settings, results) == key
    except CheckpointError:  # only detecting needs the weights
        same = not other
    keys = {
        entry.name: f"{section}.{entry.name}"
        for section in ("image", "fluorescence")
        for entry in fields(getattr(settings, section))
    }
    return [] if same else [keys.get(name, name) for name in other] or ["sam.checkpoint"]


def matching(images: Iterable[TableImage], patterns: Iterable[str], table: Path) -> set[str]:
    """The names of the images that patterns mean; of all if there are no patterns.

    Args:
        images: all images.
        patterns: names of images, or of files, which mean all images of the file; or shell patterns of names.
        table: the table that they are in, for the message.

    Raises:
        UserError: a pattern fits no image; it may name one that is similar.
    """
    files: dict[str, set[str]] = {}
    for image in images:
        files.setdefault(image.file, set()).add(image.name)
    known = {name for names in files.values() for name in names}
    patterns, chosen, unknown = list(patterns), set[str](), []
    for pattern in patterns:
        spellings = {pattern, unguarded(pattern), os.path.normpath(pattern)}
        of_files = {name for spelling in spellings for name in files.get(spelling, ())}
        if found := known & spellings or of_files or set(fnmatch.filter(known, pattern)):
            chosen |= found
        else:
            close = difflib.get_close_matches(pattern, known, 1)
            unknown.append(pattern + (f" (did you mean {close[0]}?)" if close else ""))
    if unknown:
        raise UserError(f"{table} has no image {', nor '.join(unknown)}")
    return chosen if patterns else known
