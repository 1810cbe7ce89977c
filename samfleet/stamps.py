"""Stamps and records: how Snakemake learns that a stage must run again, whatever the clocks say.

Every stage leaves a record of what its outputs were made from, and the Snakefile compares it with what they
should be made from now. If both agree, the stage's input is the stamp of the record. If they do not, it is a
stamp that nobody has made yet: Snakemake must make it first, and then runs the stage. So nothing is written
before Snakemake has locked its working directory. Standard library only, since the Snakefile imports this.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from samfleet.digests import digest_of, fingerprint_of_file
from samfleet.files import write_atomic
from samfleet.results import stamp_file

_STAMP = re.compile(r"\.(\d+)\.(stamp|log)$")


def latest_stamp(results: str | Path, stage: str) -> int:
    """The highest number of a stage's stamps, 0 if there is none."""
    folder = stamp_file(results, stage, 0).parent
    names = (path.name for path in folder.glob(f"{stage}.*.stamp"))
    return max((stamp_number(name) for name in names), default=0)


def stamp_number(name: str | Path) -> int:
    """The number in the name of a stamp or of its log; 0 if it has none."""
    found = _STAMP.search(str(name))
    return int(found[1]) if found else 0


def remove_older_stamps(results: str | Path, stage: str, number: int) -> None:
    """Remove the stamps of a stage that were made before this one, and the logs of making them."""
    for path in stamp_file(results, stage, 0).parent.glob(f"{stage}.*"):
        if 0 < stamp_number(path) < number:
            path.unlink(missing_ok=True)


def not_ahead_of_the_clock(files: Iterable[str | Path]) -> None:
    """Set the time of files that are dated in the future to now.

    Snakemake fails a job whose outputs are older than its inputs, even if they were made from them.
    """
    now = time.time()
    for path in files:
        if os.stat(path).st_mtime > now:
            os.utime(path, (now, now))


@dataclass(frozen=True, slots=True)
class Record:
    """What the tables of a stage were made from.

    Attributes:
        made_from: digest of everything that they depend on.
        stamp: number of the stage's stamp.
        tables: fingerprint of every table by name.
        settings: those of `made_from` that somebody else asks for, in words; empty if nobody does.
    """

    made_from: str
    stamp: int
    tables: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)


def write_record(
    path: Path,
    made_from: str,
    stamp: int,
    tables: Iterable[Path],
    settings: Mapping[str, object] | None = None,
) -> None:
    """Record what tables were made from; to be called when all of them are in place."""
    fingerprints = {table.name: fingerprint_of_file(table) for table in tables}
    record = asdict(Record(made_from, stamp, fingerprints, dict(settings or {})))
    write_atomic(path, json.dumps(record | {"digest": digest_of(record)}, indent=1) + "\n")


@contextlib.contextmanager
def recorded(
    results: Path,
    stage: str,
    path: Path,
    tables: Iterable[Path],
    made_from: str,
    settings: Mapping[str, object] | None = None,
) -> Iterator[None]:
    """A block that writes the tables of a stage: without a record while it lasts, with a new one at its end."""
    stamp = latest_stamp(results, stage)
    path.unlink(missing_ok=True)
    yield
    write_record(path, made_from, stamp, tables, settings)
    remove_older_stamps(results, stage, stamp)


def needed_stamp(
    results: Path, stage: str, path: Path, tables: Iterable[Path], made_from: str
) -> int:
    """The number of the stamp that a stage needs: that of its record if it agrees, else the next one."""
    record = read_record(path, tables)
    if record and record.made_from == made_from:
        return record.stamp
    return latest_stamp(results, stage) + 1


def read_record(path: Path, tables: Iterable[Path]) -> Record | None:
    """The record of tables; None if there is none, if it is damaged, or if a table is not as it says."""
    try:
        content = json.loads(path.read_text())
        if content.pop("digest") != digest_of(content):
            return None
        record = Record(**content)
        present = {table.name: fingerprint_of_file(table) for table in tables}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if record.tables == present else None
