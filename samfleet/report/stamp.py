"""What the report depends on. Standard library only, since the Snakefile imports this."""

from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.digests import digest_of
from samfleet.results import (
    REPORT_VERSION,
    evaluation_record_file,
    evaluation_tables,
    report_file,
    report_record_file,
    summary_record_file,
    summary_tables,
)
from samfleet.stamps import Record, needed_stamp, read_record


def report_origin(settings: Settings, results: Path) -> str:
    """A digest of everything that the report is made from."""
    summary = read_record(summary_record_file(results), summary_tables(results))
    scores = shown_scores(settings, results)
    return digest_of(
        {
            "version": REPORT_VERSION,
            "images": settings.images,
            "summary": [summary.made_from, summary.tables] if summary else "",
            "scores": scores.tables if scores else "",
        }
    )


def shown_scores(settings: Settings, results: Path) -> Record | None:
    """The record of the scores that the page shows: none if the configuration asks for none."""
    if not settings.evaluation.labels:
        return None
    return read_record(evaluation_record_file(results), evaluation_tables(results))


def report_stamp(settings: Settings, results: Path) -> int:
    """The number of the stamp that the report needs: the one that it has, or the next one."""
    path, page = report_record_file(results), report_file(results)
    return needed_stamp(results, "report", path, [page], report_origin(settings, results))
