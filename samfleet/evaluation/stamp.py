"""What the evaluation depends on. Standard library only, since the Snakefile imports this."""

import os
from collections.abc import Iterator
from pathlib import Path

from samfleet.config.settings import EvaluationSettings
from samfleet.digests import digest_of, digest_of_rows, fingerprint_of_file
from samfleet.errors import UserError
from samfleet.files import escape_name
from samfleet.resources import DEMO_FOLDER
from samfleet.results import (
    EVALUATION_VERSION,
    evaluation_record_file,
    evaluation_tables,
    marks_record_file,
    marks_table_file,
    summary_record_file,
    summary_tables,
)
from samfleet.stamps import latest_stamp, needed_stamp, read_record
from samfleet.wording import looked_for


def labels_folder(labels: str) -> Path:
    """The folder that `evaluation.labels` stands for.

    Raises:
        UserError: it is not set, or is not a folder.
    """
    if not labels:
        raise UserError("evaluation.labels is not set; scores need a folder of label images")
    folder = DEMO_FOLDER / "labels" if labels == "demo" else Path(os.path.expanduser(labels))
    if not os.path.isdir(folder):
        raise UserError(f"evaluation.labels: {folder} is not a folder; check the path")
    return folder


def _labels_on_disk(folder: Path) -> Iterator[tuple]:
    """What tells whether a file may have changed, for all files in a folder, also behind links to folders."""
    root, visited = os.path.realpath(folder), set()
    for inside, folders, files in os.walk(folder, followlinks=True):
        found = os.stat(inside)
        path, leads_to = (
            os.path.relpath(inside, folder),
            os.path.relpath(os.path.realpath(inside), root),
        )
        # where a link leads is told at every place, what is there only once: links can form a loop
        yield escape_name(path), escape_name(leads_to), found.st_mode & 0o777
        if (found.st_dev, found.st_ino) in visited:
            folders.clear()
            continue
        visited.add((found.st_dev, found.st_ino))
        folders.sort()
        for name in sorted(files):
            if os.path.isfile(file := os.path.join(inside, name)):
                stat = os.stat(file)
                yield escape_name(name), stat.st_size, stat.st_mtime_ns, stat.st_mode & 0o777


def evaluation_origin(evaluation: EvaluationSettings, results: Path) -> str:
    """A digest of everything that the scores are made from.

    Raises:
        UserError: `evaluation.labels` is not set, or is not a folder.
    """
    folder = labels_folder(evaluation.labels)
    summary = read_record(summary_record_file(results), summary_tables(results))
    return digest_of(
        {
            "version": EVALUATION_VERSION,
            "summary": summary.made_from if summary else "",
            "folder": str(folder),
            "labels": digest_of_rows(_labels_on_disk(folder)),
            "sparse": evaluation.sparse,
        }
    )


def evaluation_stamp(evaluation: EvaluationSettings, results: Path, rehash: bool = False) -> int:
    """The number of the stamp that the evaluation needs: the one that it has, or the next one.

    Args:
        evaluation: which labels there are, and how they are compared.
        results: the folder of the results.
        rehash: whether files are read again whose size and time are as before; then it is always the next one.

    Raises:
        UserError: `evaluation.labels` is not set, or is not a folder.
    """
    origin = evaluation_origin(evaluation, results)
    if rehash:
        return latest_stamp(results, "evaluation") + 1
    path, tables = evaluation_record_file(results), evaluation_tables(results)
    return needed_stamp(results, "evaluation", path, tables, origin)


def marks_file(marks: str) -> Path:
    """The file that `evaluation.marks` names.

    Raises:
        UserError: it is no file.
    """
    path = Path(os.path.expanduser(marks))
    if not path.is_file():
        raise UserError(
            f"evaluation.marks: there is no file {path}{looked_for(path)}; a report saves one"
        )
    return path


def marks_origin(evaluation: EvaluationSettings, results: Path) -> str:
    """A digest of everything that the scores against marks are made from.

    Raises:
        UserError: `evaluation.marks` is no file.
    """
    summary = read_record(summary_record_file(results), summary_tables(results))
    return digest_of(
        {
            "version": EVALUATION_VERSION,
            "summary": summary.made_from if summary else "",
            "marks": fingerprint_of_file(marks_file(evaluation.marks)),
        }
    )


def marks_stamp(evaluation: EvaluationSettings, results: Path) -> int:
    """The number of the stamp that the scores against marks need: the one that they have, or the next one."""
    path, table = marks_record_file(results), marks_table_file(results)
    return needed_stamp(results, "marks", path, [table], marks_origin(evaluation, results))
