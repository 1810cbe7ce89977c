"""Scores of the objects that were kept, against marks: clicks in a report that say which candidates are right.

Marks name candidates of the store, so they hold for one model and its parameters, and for any filters.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from samfleet.cells import read_csv, write_csv
from samfleet.config.settings import Settings
from samfleet.errors import UserError
from samfleet.evaluation.stamp import marks_file, marks_origin
from samfleet.results import (
    MARKS_COLUMNS,
    marks_record_file,
    marks_table_file,
    objects_file,
    summary_file,
    summary_record_file,
    summary_tables,
)
from samfleet.stamps import read_record, recorded
from samfleet.wording import counted

logger = logging.getLogger(__name__)

Candidate = tuple[str, int]
"""An image id, and the number of a candidate in that image."""


@dataclass(frozen=True)
class Marks:
    """What somebody has said of candidates.

    Attributes:
        model_key: of the store that has the candidates.
        right: for each marked candidate whether it is right.
    """

    model_key: str
    right: dict[Candidate, bool]


def read_marks(path: Path) -> Marks:
    """The marks in a file that a report has saved; of two marks of one candidate the later one counts.

    Raises:
        UserError: it is not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["samfleet_marks"] != 1:
            raise ValueError("of an unknown version")
        right = {}
        for mark in content["marks"]:
            identity, number, value = mark["image_id"], mark["candidate"], mark["right"]
            if type(identity) is not str or type(number) is not int or type(value) is not bool:
                raise TypeError("a mark is not as it should be")
            right[identity, number] = value
        return Marks(str(content["model_key"]), right)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"evaluation.marks: {path} is not a file of marks that a report has saved ({error})"
        ) from error


def score_marks(
    marks: Marks, kept: Iterable[Candidate], images: Iterable[str]
) -> dict[str, float | None]:
    """How many of the marked candidates became objects.

    Precision is the share of the right ones among the marked that were kept, recall the share of the kept ones among
    those marked right; a share of nothing is None.

    Args:
        marks: the marks.
        kept: the objects.
        images: ids of all images; marks of others count as unknown alone.
    """
    known, objects = set(images), set(kept)
    here = {mark: right for mark, right in marks.right.items() if mark[0] in known}
    right = {mark for mark, is_right in here.items() if is_right}
    wrong = here.keys() - right
    right_kept, wrong_kept = len(right & objects), len(wrong & objects)
    row = {
        "n_right": len(right),
        "n_wrong": len(wrong),
        "right_kept": right_kept,
        "wrong_kept": wrong_kept,
        "precision": _share(right_kept, right_kept + wrong_kept),
        "recall": _share(right_kept, len(right)),
        "f1": _share(2 * right_kept, right_kept + wrong_kept + len(right)),
        "n_unknown": len(marks.right) - len(here),
    }
    return {name: row[name] for name in MARKS_COLUMNS}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def evaluate_marks(settings: Settings, results: Path) -> None:
    """Write evaluation_marks.csv, and record what it was made from.

    Raises:
        UserError: the marks cannot be read, or are of candidates that another model or other parameters found.
    """
    path = marks_file(settings.evaluation.marks)
    marks = read_marks(path)
    record = read_record(summary_record_file(results), summary_tables(results))
    key = record.settings.get("model_key") if record else None
    if marks.model_key != key:
        raise UserError(
            f"evaluation.marks: {path} is of candidates under the model key {marks.model_key}, and these results are "
            f"under {key}: another model or other parameters; mark in the report of these results"
        )
    origin = marks_origin(settings.evaluation, results)
    table = marks_table_file(results)
    with recorded(results, "marks", marks_record_file(results), [table], origin):
        objects = pd.read_parquet(objects_file(results), columns=["image_id", "candidate"])
        kept = zip(objects["image_id"], objects["candidate"].tolist(), strict=True)
        images = (row["image_id"] for row in read_csv(summary_file(results)))
        row = score_marks(marks, kept, images)
        write_csv(table, pd.DataFrame([row]), bom=settings.tables.bom, float_format="%.6g")
    if row["n_unknown"]:
        logger.warning(
            "%s: %s of images that are not in the tables",
            path,
            counted(int(row["n_unknown"]), "mark"),
        )
    logger.info(
        "%s: %d of %d right ones are kept, %d of %d wrong ones",
        path,
        *(row[name] for name in ("right_kept", "n_right", "wrong_kept", "n_wrong")),
    )
