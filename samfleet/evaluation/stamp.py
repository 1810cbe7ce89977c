"""The evaluation's stamp; standard library only: the Snakefile imports this."""

import os
from pathlib import Path

from samfleet.config.settings import EvaluationSettings
from samfleet.digests import digest_of_rows
from samfleet.errors import UserError
from samfleet.files import escape_name, write_stamp
from samfleet.resources import DEMO_FOLDER
from samfleet.results import evaluation_stamp_file


def labels_folder(labels: str) -> Path:
    """The folder that `evaluation.labels` names."""
    return DEMO_FOLDER / "labels" if labels == "demo" else Path(os.path.expanduser(labels))


def refresh_evaluation_stamp(evaluation: EvaluationSettings, results: Path) -> None:
    """Rewrite the evaluation's stamp if a label image or what is asked of them changed.

    Raises:
        UserError: `evaluation.labels` is no folder.
    """
    folder = labels_folder(evaluation.labels)
    if not os.path.isdir(folder):
        raise UserError(f"evaluation.labels: {folder} is not a folder; check the path")
    files = sorted((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    labels = [
        (escape_name(str(path.relative_to(folder))), stat.st_size, stat.st_mtime_ns)
        for path, stat in files
    ]
    content = {"labels": digest_of_rows(labels), "sparse": evaluation.sparse}
    write_stamp(evaluation_stamp_file(results), content)
