"""The ledger: for every detection, where it ran and how long its stages took."""

import csv
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from samfleet.cells import encoding, guarded
from samfleet.files import atomic_path, writing
from samfleet.results import LEDGER_COLUMNS, ledger_file

logger = logging.getLogger(__name__)


def append_rows(path: Path, rows: Iterable[dict]) -> None:
    """Append rows to a job's ledger and flush them to the disk."""
    with writing(path):
        _append(path, rows)


def _append(path: Path, rows: Iterable[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, LEDGER_COLUMNS)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())


def _is_whole(row: dict) -> bool:
    return None not in row and None not in row.values() and row.keys() >= {"when", "image_id"}


def job_rows(results: Path, prefix: str = "") -> list[dict]:
    """The rows of the ledgers of all jobs whose names begin with `prefix`."""
    rows: list[dict] = []
    for path in sorted((results / "ledger").glob(f"{prefix}*.csv")):
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            try:
                # the last line is incomplete if the job was killed while it wrote
                rows.extend(row for row in csv.DictReader(file) if _is_whole(row))
            except csv.Error as error:
                logger.warning("%s: %s; the rest of this file is ignored", path, error)
    return rows


def collect_ledger(results: Path, *, bom: bool = False) -> int:
    """Write results/ledger.csv from the ledgers of all jobs, sorted by time.

    Args:
        bom: whether it begins with a byte order mark.

    Returns:
        The number of detections.
    """
    rows = job_rows(results)
    rows.sort(key=lambda row: (row["when"], row["image_id"]))
    with (
        atomic_path(ledger_file(results)) as temporary,
        temporary.open("w", newline="", encoding=encoding(bom)) as file,
    ):
        writer = csv.DictWriter(file, LEDGER_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(
            {name: guarded(row.get(name, "")) for name in LEDGER_COLUMNS} for row in rows
        )
    return len(rows)
