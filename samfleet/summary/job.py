"""The work of the rule `summary` and of `samfleet summary`: the tables of a plan, and their record."""

from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.errors import UserError
from samfleet.files import exclusive
from samfleet.plan.collection import collection_columns, columns_digest
from samfleet.plan.record import Plan, has_manifest
from samfleet.results import (
    evaluation_record_file,
    evaluation_tables,
    manifest_file,
    store_folder,
    summary_lock_file,
    summary_record_file,
    summary_tables,
    verified_file,
)
from samfleet.stamps import latest_stamp, remove_older_stamps, write_record
from samfleet.store.segments import rebuild_index
from samfleet.summary.stamp import summary_origin
from samfleet.summary.tables import Counts, write_summary


class ManifestMismatch(UserError):
    """The manifest is not the one of the plan; the message says what to do."""


def summarize_plan(settings: Settings, results: Path, plan: Plan) -> Counts:
    """Write the tables of a plan and the record of what they were made from.

    What was derived from the tables before (scores, the word that nothing failed) is removed.

    Raises:
        ManifestMismatch: manifest.tsv was changed or deleted since the plan was made.
        SegmentError: a segment is damaged; it has been set aside.
    """
    if not has_manifest(results, plan):
        raise ManifestMismatch(
            f"{manifest_file(results)} is not the one of the last plan; run the workflow again, "
            "which makes it anew"
        )
    store, record = store_folder(results, plan.model_key), summary_record_file(results)
    stamp = latest_stamp(results, "summary")
    with exclusive(summary_lock_file(results)):
        derived = (
            *evaluation_tables(results),
            evaluation_record_file(results),
            verified_file(results),
        )
        for path in (record, *derived):
            path.unlink(missing_ok=True)
        rebuild_index(store)
        columns = columns_digest(*collection_columns(settings.images))
        origin = summary_origin(settings, results, plan, columns)
        counts = write_summary(settings, results, store)
        write_record(record, origin, stamp, summary_tables(results))
    remove_older_stamps(results, "summary", stamp)
    return counts
