"""What the summary's tables depend on. Standard library only, since the Snakefile imports this."""

from dataclasses import asdict
from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.digests import digest_of
from samfleet.plan.record import Plan
from samfleet.results import (
    TABLES_VERSION,
    store_folder,
    summary_record_file,
    summary_tables,
    verification_record_file,
    verified_file,
)
from samfleet.stamps import needed_stamp, read_record
from samfleet.store.index import segments_on_disk


def summary_origin(settings: Settings, results: Path, plan: Plan, columns: str) -> str:
    """A digest of everything that the tables are made from.

    Args:
        columns: digest of the user's further columns.
    """
    return digest_of(
        {
            "version": TABLES_VERSION,
            "plan": [plan.id, plan.source, plan.content, plan.model_key],
            "store": segments_on_disk(store_folder(results, plan.model_key)),
            "fluorescence": asdict(settings.fluorescence),
            "tables": asdict(settings.tables),
            "pixel_size_um": settings.image.pixel_size_um,
            "columns": columns,
        }
    )


def summary_stamp(settings: Settings, results: Path, plan: Plan, columns: str) -> int:
    """The number of the stamp that the summary needs: the one that it has, or the next one."""
    origin = summary_origin(settings, results, plan, columns)
    path, tables = summary_record_file(results), summary_tables(results)
    return needed_stamp(results, "summary", path, tables, origin)


def verification_origin(results: Path) -> str:
    """A digest of everything that the word that no image failed is made from."""
    record = read_record(summary_record_file(results), summary_tables(results))
    return digest_of(record.tables if record else {})


def verification_stamp(results: Path) -> int:
    """The number of the stamp that the verification needs: the one that it has, or the next one."""
    path, word = verification_record_file(results), verified_file(results)
    return needed_stamp(results, "verification", path, [word], verification_origin(results))
