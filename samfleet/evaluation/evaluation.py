"""Scores of the objects that were found, against label images.

A predicted object is right at a threshold if its intersection over union (IoU) with a labelled object
reaches the threshold; each object is matched at most once. This gives precision, recall and F1. The
average precision is that of the Data Science Bowl 2018 (Caicedo et al. 2019, Nature Methods 16, 1247):
TP / (TP + FP + FN), averaged over the IoU thresholds 0.50, 0.55, …, 0.95.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from samfleet.cells import read_csv, write_csv
from samfleet.config.settings import Settings
from samfleet.evaluation.labels import (
    LabelError,
    LabelFile,
    binary_remark,
    find_label_image,
    own_label_name,
    read_label_image,
)
from samfleet.evaluation.matching import Counts, match_objects, score
from samfleet.evaluation.stamp import labels_folder
from samfleet.images.formats.image import MAX_PIXELS
from samfleet.results import (
    EVALUATION_COLUMNS,
    EVALUATION_TOTAL_COLUMNS,
    evaluation_file,
    evaluation_total_file,
    objects_file,
    summary_file,
)
from samfleet.statuses import Status
from samfleet.wording import counted, first_lines

logger = logging.getLogger(__name__)


def evaluate(
    objects: pd.DataFrame,
    labels: Path,
    images: pd.DataFrame,
    *,
    sparse: bool = False,
    collection: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score a table of objects against a folder of label images.

    `samfleet.evaluation.labels.find_label_image` says where the label image of an image is. An image without a
    usable one keeps its row, which names the problem, and does not count in the total. Nor does an image whose
    label image is found for another content as well, unless it has the image's own name.

    Args:
        objects: One row for each kept object, with the columns image (relative path) and rle
            (``counts`` of a COCO run-length encoding).
        labels: Folder of label images: integers, 0 for background, one id for each object.
        images: One row for each image, with the columns image, image_id, width and height.
        sparse: Only some objects are labelled: see `score`.
        collection: One row for each image of the collection, also for those that failed, with the
            columns image and image_id, since images are no label images; by default `images`.

    Returns:
        One row for each image, with `EVALUATION_COLUMNS`; and one row for all of them: counts and
        scores pooled over all objects, and as ``mean_average_precision`` the mean over images.

    Raises:
        LabelError: there is no such folder, or no image has a usable label image in it.
    """
    if not labels.is_dir():
        raise LabelError(f"evaluation.labels: {labels} is not a folder; check the path")
    groups = dict(iter(objects.groupby("image", sort=False)["rle"]))
    everything = images if collection is None else collection
    known = everything.groupby("image_id")["image"].agg(list).to_dict()
    scored = [
        _scored_image(image, groups.get(image.image, ()), labels, known, sparse)
        for image in images.sort_values("image").itertuples()
    ]
    _drop_doubtful(scored)
    if scored and not any(image.counts for image in scored):
        raise LabelError(_nothing_usable(scored, labels))
    _warn(scored)
    rows = [image.row for image in scored]
    return pd.DataFrame(rows, columns=list(EVALUATION_COLUMNS)), _total(scored, sparse)


def write_evaluation(settings: Settings, results: Path) -> None:
    """Write evaluation.csv and evaluation_total.csv from the tables of the summary.

    Images that could not be detected are left out.

    Args:
        settings: the configuration.
        results: the folder of the results.

    Raises:
        LabelError: no image has a usable label image.
    """
    summary = pd.DataFrame(read_csv(summary_file(results)))
    objects = pd.read_parquet(objects_file(results), columns=["image", "rle"])
    images, total = evaluate(
        objects,
        labels_folder(settings.evaluation.labels),
        summary[summary["status"].isin((Status.OK, Status.EMPTY))],
        sparse=settings.evaluation.sparse,
        collection=summary[summary["image_id"] != ""],
    )
    for table, path in (
        (images, evaluation_file(results)),
        (total, evaluation_total_file(results)),
    ):
        write_csv(path, table, bom=settings.tables.bom, float_format="%.6g")
    (row,) = total.to_dict("records")
    if row["n_evaluated"]:
        logger.info(
            "%s: precision %.3f, recall %.3f, F1 %.3f at IoU 0.5",
            counted(int(row["n_evaluated"]), "image"),
            *(row[name] for name in ("precision_50", "recall_50", "f1_50")),
        )
    else:
        logger.warning("no image was detected, so there is nothing to evaluate")


@dataclass
class _ScoredImage:
    """An image with its row, and what it was compared with.

    Attributes:
        row: its row of evaluation.csv.
        label: its label image, if there is one.
        counts: what its scores are made of; None if it could not be scored.
    """

    row: dict
    label: LabelFile | None = None
    counts: Counts | None = None


def _scored_image(
    image: Any, objects: Iterable[str], folder: Path, known: dict[str, list[str]], sparse: bool
) -> _ScoredImage:
    """Compare an image's objects, as `counts` of run-length encodings, with its label image."""
    scored = _ScoredImage({"image": image.image, "image_id": image.image_id, "problem": ""})
    width, height = int(image.width), int(image.height)
    try:
        scored.label = find_label_image(image.image, folder, known)
        path = scored.label.path
        labels = read_label_image(path, max(MAX_PIXELS, height * width))
        if labels.shape != (height, width):
            raise LabelError(
                f"{path.name} has {labels.shape[1]} × {labels.shape[0]} pixels, "
                f"the image {width} × {height}"
            )
        masks = ({"size": (height, width), "counts": counts} for counts in objects)
        scored.counts = Counts.of(match_objects(labels, masks))
        remark = binary_remark(labels)
        scored.row |= _scores(scored.counts, sparse)
        scored.row["problem"] = f"{path.name} {remark}" if remark else ""
    except LabelError as error:
        scored.row["problem"] = str(error)
    return scored


def _drop_doubtful(scored: list[_ScoredImage]) -> None:
    """Take the scores from images whose label image is found for another content as well."""
    users: dict[Path, list[_ScoredImage]] = {}
    for image in scored:
        if image.label:
            users.setdefault(image.label.path, []).append(image)
    for path, images in users.items():
        if len({image.row["image_id"] for image in images}) == 1:
            continue
        for image in images:
            if image.label and not image.label.same_name:
                other = next(o for o in images if o.row["image_id"] != image.row["image_id"])
                image.counts = None
                image.row = {name: image.row[name] for name in ("image", "image_id")}
                image.row["problem"] = (
                    f"{path.name} is found for {other.row['image']} as well: give this image a label image of "
                    f"its own, {own_label_name(image.row['image'])}"
                )


def _nothing_usable(scored: list[_ScoredImage], labels: Path) -> str:
    problems = [f"{image.row['image']}: {image.row['problem']}" for image in scored]
    return (
        f"evaluation.labels: no image has a usable label image in {labels}, where it would have the image's "
        f"relative path and end in .png, .tif or .tiff:{first_lines(problems)}"
    )


def _warn(scored: list[_ScoredImage]) -> None:
    """Say aloud which label images are missing, and which are not what they should be."""
    for number, words in (
        (
            sum(image.counts is None for image in scored),
            "without a usable label image: see the column `problem` of evaluation.csv",
        ),
        (
            sum(bool(image.counts and image.row["problem"]) for image in scored),
            "scored against what looks like a binary mask or an interpolated one, in which objects have no numbers "
            "of their own: see the column `problem` of evaluation.csv",
        ),
        (
            sum(bool(image.label and image.label.is_image) for image in scored),
            "whose label image was segmented as an image of the collection, too: keep label images in a folder "
            "of their own",
        ),
    ):
        if number:
            logger.warning("%s %s", counted(number, "image"), words)


def _scores(counts: Counts, sparse: bool) -> dict[str, float]:
    numbers: dict[str, float] = {"n_labelled": counts.labelled, "n_objects": counts.predicted}
    return numbers | score(counts, sparse=sparse)


def _total(scored: Sequence[_ScoredImage], sparse: bool) -> pd.DataFrame:
    counts = [image.counts for image in scored if image.counts]
    total: dict[str, float] = {"n_images": len(scored), "n_evaluated": len(counts)}
    if counts:
        total |= _scores(sum(counts[1:], counts[0]), sparse)
        precisions = [image.row["average_precision"] for image in scored if image.counts]
        total["mean_average_precision"] = float(np.mean(precisions))
    return pd.DataFrame([total], columns=list(EVALUATION_TOTAL_COLUMNS))
