"""What the evaluation depends on. Standard library only, since the Snakefile imports this."""

import os
from pathlib import Path

from samfleet.config.settings import EvaluationSettings
from samfleet.digests import digest_of, digest_of_rows
from samfleet.errors import UserError
from samfleet.files import escape_name
from samfleet.resources import DEMO_FOLDER
from samfleet.results import (
    EVALUATION_VERSION,
    evaluation_record_file,
    evaluation_tables,
    summary_record_file,
    summary_tables,
)
from samfleet.stamps import latest_stamp, read_record


def labels_folder(labels: str) -> Path:
    """The folder that `evaluation.labels` stands for."""
    return DEMO_FOLDER / "labels" if labels == "demo" else Path(os.path.expanduser(labels))


def evaluation_origin(evaluation: EvaluationSettings, results: Path) -> str:
    """A digest of everything that the scores are made from.

    Raises:
        UserError: `evaluation.labels` is not a folder.
    """
    folder = labels_folder(evaluation.labels)
    if not os.path.isdir(folder):
        raise UserError(f"evaluation.labels: {folder} is not a folder; check the path")
    files = sorted((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    labels = [
        (escape_name(str(path.relative_to(folder))), stat.st_size, stat.st_mtime_ns)
        for path, stat in files
    ]
    summary = read_record(summary_record_file(results), summary_tables(results))
    return digest_of(
        {
            "version": EVALUATION_VERSION,
            "summary": summary.made_from if summary else "",
            "folder": str(folder),
            "labels": digest_of_rows(labels),
            "sparse": evaluation.sparse,
        }
    )


def evaluation_stamp(evaluation: EvaluationSettings, results: Path) -> int:
    """The number of the stamp that the evaluation needs: the one that it has, or the next one.

    Raises:
        UserError: `evaluation.labels` is not a folder.
    """
    origin = evaluation_origin(evaluation, results)
    record = read_record(evaluation_record_file(results), evaluation_tables(results))
    if record and record.made_from == origin:
        return record.stamp
    return latest_stamp(results, "evaluation") + 1
