"""Scores of found objects against label images that somebody has drawn.

A predicted object is right at a threshold if its intersection over union (IoU) with a labelled
object reaches it, each object being used once. Precision, recall and F1 follow; the average
precision is that of the Data Science Bowl 2018 (Caicedo et al. 2019, Nature Methods 16, 1247):
TP / (TP + FP + FN), averaged over the IoU thresholds 0.50, 0.55, …, 0.95.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from samfleet.config.settings import EvaluationSettings
from samfleet.evaluation.labels import LabelError, find_label_image, read_label_image
from samfleet.evaluation.matching import Counts, match_objects, score
from samfleet.evaluation.stamp import labels_folder
from samfleet.files import atomic_path
from samfleet.results import (
    EVALUATION_COLUMNS,
    EVALUATION_TOTAL_COLUMNS,
    evaluation_file,
    evaluation_total_file,
    objects_file,
    summary_file,
)
from samfleet.statuses import Status

logger = logging.getLogger(__name__)


def evaluate(
    objects: pd.DataFrame,
    labels: Path,
    images: pd.DataFrame | None = None,
    *,
    sparse: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score a table of objects against a folder of label images.

    An image's label image has the same relative path, or the same with another suffix of
    `LABEL_SUFFIXES`. An image without a usable one keeps its row, with the problem in words, and
    is left out of the total.

    Args:
        objects: One row for each kept object, with the columns image (relative path), image_id,
            width, height and rle (``counts`` of a COCO run-length encoding).
        labels: Folder of label images: integers, 0 for background, one id an object.
        images: One row for each image, with the columns image and image_id, so that images
            without any object count; by default those of `objects`.
        sparse: Only some objects are labelled: see `score`.

    Returns:
        One row for each image, with `EVALUATION_COLUMNS`; and one row for all of them: counts and
        scores pooled over all objects, and as ``mean_average_precision`` the mean over images.
    """
    if not labels.is_dir():
        raise LabelError(f"evaluation.labels: {labels} is not a folder")
    listed = objects if images is None else images
    listed = listed[["image", "image_id"]].drop_duplicates("image").sort_values("image")
    groups = dict(iter(objects.groupby("image", sort=False)))
    rows, counted = [], []
    for name, image_id in listed.itertuples(index=False):
        row = {"image": name, "image_id": image_id, "problem": ""}
        try:
            counts = _image_counts(name, groups.get(name), labels)
            row |= _scored(counts, sparse)
            counted.append((counts, row["average_precision"]))
        except LabelError as error:
            row["problem"] = str(error)
        rows.append(row)
    return pd.DataFrame(rows, columns=list(EVALUATION_COLUMNS)), _total(rows, counted, sparse)


def write_evaluation(evaluation: EvaluationSettings, results: Path) -> None:
    """Write evaluation.csv and evaluation_total.csv from the tables of the summary.

    Images that could not be detected are left out.

    Args:
        evaluation: the section of the configuration.
        results: the folder of the results.
    """
    summary = pd.read_csv(summary_file(results), dtype=str, keep_default_na=False)
    columns = ["image", "image_id", "width", "height", "rle"]
    objects = pd.read_parquet(objects_file(results), columns=columns)
    detected = summary[summary["status"].isin((Status.OK, Status.EMPTY))]
    images, total = evaluate(
        objects, labels_folder(evaluation.labels), detected, sparse=evaluation.sparse
    )
    for table, path in (
        (images, evaluation_file(results)),
        (total, evaluation_total_file(results)),
    ):
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    missing = int((images["problem"] != "").sum())
    if missing:
        logger.warning("%d images have no usable label image: see evaluation.csv", missing)
    (row,) = total.to_dict("records")
    if row["n_evaluated"]:
        logger.info(
            "%d images: precision %.3f, recall %.3f, F1 %.3f at IoU 0.5",
            *(row[name] for name in ("n_evaluated", "precision_50", "recall_50", "f1_50")),
        )


def _image_counts(name: str, objects: pd.DataFrame | None, folder: Path) -> Counts:
    path = find_label_image(name, folder)
    if path is None:
        raise LabelError("no label image")
    labels = read_label_image(path)
    if objects is None:
        return Counts.of(match_objects(labels, ()))
    size = (int(objects["height"].iloc[0]), int(objects["width"].iloc[0]))
    if labels.shape != size:
        raise LabelError(
            f"{path.name} has {labels.shape[1]} × {labels.shape[0]} pixels, "
            f"the image {size[1]} × {size[0]}"
        )
    return Counts.of(match_objects(labels, ({"size": size, "counts": c} for c in objects["rle"])))


def _scored(counts: Counts, sparse: bool) -> dict[str, float]:
    numbers = {"n_labelled": counts.labelled, "n_objects": counts.predicted}
    return numbers | score(counts, sparse=sparse)


def _total(rows: Sequence[dict], counted: Sequence[tuple], sparse: bool) -> pd.DataFrame:
    total = {"n_images": len(rows), "n_evaluated": len(counted)}
    if counted:
        pooled = sum((c for c, _ in counted[1:]), counted[0][0])
        total |= _scored(pooled, sparse)
        total["mean_average_precision"] = float(np.mean([value for _, value in counted]))
    return pd.DataFrame([total], columns=list(EVALUATION_TOTAL_COLUMNS))
