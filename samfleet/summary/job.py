"""The work of the rule `summary` and of `samfleet summary`: the tables of a plan, and their record."""

from dataclasses import asdict
from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.errors import UserError
from samfleet.files import exclusive, read_object
from samfleet.plan.collection import collection_columns, columns_digest
from samfleet.plan.manifest import read_manifest
from samfleet.plan.record import Plan, has_manifest, is_complete
from samfleet.results import (
    EXPORT_KINDS,
    evaluation_record_file,
    evaluation_tables,
    export_record_file,
    manifest_file,
    marks_record_file,
    marks_table_file,
    report_file,
    report_record_file,
    scale_file,
    store_folder,
    summary_lock_file,
    summary_record_file,
    summary_tables,
    verification_record_file,
    verified_file,
)
from samfleet.stamps import recorded
from samfleet.store.index import forget_index, read_stored_images
from samfleet.store.segments import rebuild_index
from samfleet.summary.provenance import write_provenance
from samfleet.summary.stamp import summary_origin
from samfleet.summary.tables import Counts, write_summary
from samfleet.wording import counted


class MissingResults(UserError):
    """The store lacks results of a plan that was carried out; the message says what to do."""


class ManifestMismatch(UserError):
    """The manifest is not the one of the plan; the message says what to do."""


def summarize_plan(
    settings: Settings, results: Path, plan: Plan, *, partial: bool = False
) -> Counts:
    """Write the tables of a plan and the record of what they were made from.

    What was derived from the tables before (scores, the report, the word that nothing failed) is removed.

    Args:
        settings: the configuration.
        results: the folder of the results.
        plan: the plan.
        partial: whether images without a result may be `pending` in the tables.

    Raises:
        MissingResults: images have no result, and `partial` is false. The tables stay as they are.
        ManifestMismatch: manifest.tsv was changed or deleted since the plan was made.
        SegmentError: a segment is damaged; it has been set aside.
    """
    if not has_manifest(results, plan):
        raise ManifestMismatch(
            f"{manifest_file(results)} is not the one of the last plan; run the workflow again, "
            "which makes it anew"
        )
    store = store_folder(results, plan.model_key)
    rebuild_index(store)
    if not partial:
        _refuse_missing(results, plan, store)
    columns = columns_digest(*collection_columns(settings.images))
    made_under = {"model_key": plan.model_key, "fluorescence": asdict(settings.fluorescence)}
    path, tables = summary_record_file(results), summary_tables(results)
    with exclusive(summary_lock_file(results)):
        origin = summary_origin(settings, results, plan, columns)
        derived = (
            *evaluation_tables(results),
            evaluation_record_file(results),
            marks_table_file(results),
            marks_record_file(results),
            report_file(results),
            report_record_file(results),
            verified_file(results),
            verification_record_file(results),
            *(export_record_file(results, kind) for kind in EXPORT_KINDS),
        )
        with recorded(results, "summary", path, tables, origin, made_under):
            for each in derived:
                each.unlink(missing_ok=True)
            counts = write_summary(settings, results, store)
            whites = read_object(scale_file(results))
            write_provenance(settings, results, plan, counts, whites)
            return counts


def _refuse_missing(results: Path, plan: Plan, store: Path) -> None:
    stored = read_stored_images(store)
    listed = {row.image_id for row in read_manifest(manifest_file(results)) if row.image_id}
    if missing := len(listed - stored.keys()):
        if is_complete(
            results, plan
        ):  # as its jobs say; without an index, the next run plans again
            forget_index(store)
        verb = "has" if missing == 1 else "have"
        raise MissingResults(
            f"{counted(missing, 'image')} of the last plan {verb} no result in {store}, whose files are gone or "
            "damaged; run the workflow again, which detects what is missing"
        )
