"""Stamps: the inputs that tell Snakemake that the plan or the summary is out of date.

A stamp is a small JSON file that is rewritten only when what it stands for has changed, so that
every rerun trigger of Snakemake, modification times alone included, sees the same thing.
Standard library only: the Snakefile imports this.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from samfleet.files import escape_name, write_atomic
from samfleet.identity import digest_of, digest_of_rows
from samfleet.plan.manifest import Collection, ManifestError, labels_folder, read_manifest
from samfleet.plan.record import (
    Plan,
    is_complete,
    last_plan_file,
    plan_file,
    read_plan,
    store_folder,
)
from samfleet.store.index import read_index, read_stored_images, segments_on_disk

TABLES_VERSION = 2
"""Raise by hand when the code changes what the summary's tables hold."""


def plan_stamp_file(results: str | Path) -> Path:
    """The stamp of the plan."""
    return Path(results) / "plan" / "plan.stamp"


def summary_stamp_file(results: str | Path) -> Path:
    """The stamp of the summary."""
    return Path(results) / "plan" / "summary.stamp"


def read_stamp(path: str | Path) -> dict:
    """The content of a stamp; empty where there is none that can be read."""
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_stamp(path: Path, content: dict) -> None:
    if read_stamp(path) != content:
        write_atomic(path, json.dumps(content, indent=1) + "\n")


def refresh_plan_stamp(
    config: dict, results: Path, collection: Collection, model_key: str, gpus: int
) -> list[str]:
    """Rewrite the plan's stamp if the plan is out of date.

    Returns:
        Why the plan is out of date, in words; empty when it is not.
    """
    path = plan_stamp_file(results)
    wanted = {"images": collection.fingerprint(), "model_key": model_key}
    before = read_stamp(path)
    plan = read_plan(last_plan_file(results))
    reasons = _reasons(config, results, plan, model_key)
    if before and any(before.get(key) != value for key, value in wanted.items()):
        changed = "the images changed" if before.get("images") != wanted["images"] else ""
        reasons.append(changed or "the model or its settings changed")
    if not reasons:
        return []
    content = wanted | {"gpus": gpus, "because": reasons, "after": plan.id if plan else ""}
    content["store"] = digest_of(segments_on_disk(store_folder(results, model_key)))
    if config["rehash"]:
        content["asked"] = time.time_ns()
    _write_stamp(path, content)
    return reasons


def _reasons(config: dict, results: Path, plan: Plan | None, model_key: str) -> list[str]:
    reasons = []
    if plan is None or not plan_stamp_file(results).exists():
        return ["there is no plan yet"]
    if not is_complete(results, plan):
        reasons.append("the last plan was not carried out to its end")
    if plan.max_pixels < config["image"]["max_pixels"]:
        reasons.append("image.max_pixels was raised")
    if config["rehash"]:
        reasons.append("rehash is set")
    folder = store_folder(results, model_key)
    index = read_index(folder)
    if index is None or index.segments != segments_on_disk(folder):
        reasons.append("the store is not as its index says")
    elif (index.retryable or (config["retry_failed"] and index.failed)) and any(
        _pending_again(results, folder, config["retry_failed"])
    ):
        reasons.append("failed pictures are tried again")
    return reasons


def _pending_again(results: Path, folder: Path, retry_failed: bool) -> Iterator[bool]:
    """For every picture that is still in the collection whether it failed and is tried again."""
    stored = read_stored_images(folder)
    for row in read_manifest(results / "manifest.tsv"):
        image = stored.get(row.image_id)
        yield image is not None and image.is_pending(retry_failed)


def refresh_summary_stamp(config: dict, results: Path, collection: Collection) -> None:
    """Rewrite the summary's stamp if its filters, its columns or the plan's content changed."""
    content = {
        "version": TABLES_VERSION,
        "plan": digest_of(plan_file(results).read_text()),
        "fluorescence": config["fluorescence"],
        "columns": collection.columns_digest(),
    }
    _write_stamp(summary_stamp_file(results), content)


def evaluation_stamp_file(results: str | Path) -> Path:
    """The stamp of the evaluation."""
    return Path(results) / "plan" / "evaluation.stamp"


def refresh_evaluation_stamp(config: dict, results: Path) -> None:
    """Rewrite the evaluation's stamp if a label image or what is asked of them changed.

    Raises:
        ManifestError: `evaluation.labels` is no folder.
    """
    folder = labels_folder(config["evaluation"]["labels"])
    if not os.path.isdir(folder):
        raise ManifestError(f"evaluation.labels: {folder} is not a folder; check the path")
    files = sorted((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    labels = [
        (escape_name(str(path.relative_to(folder))), stat.st_size, stat.st_mtime_ns)
        for path, stat in files
    ]
    content = {"labels": digest_of_rows(labels), "sparse": config["evaluation"]["sparse"]}
    _write_stamp(evaluation_stamp_file(results), content)


@dataclass(frozen=True)
class Outlook:
    """What a run would do, from stats alone: nothing is hashed.

    Attributes:
        found, new, changed, moved, removed: numbers of picture files.
        to_detect: the most pictures that may have to be detected.
    """

    found: int
    new: int
    changed: int
    moved: int
    removed: int
    to_detect: int

    def __str__(self) -> str:
        return (
            f"{self.found} pictures found: {self.new} new, {self.changed} changed, "
            f"{self.moved} moved, {self.removed} removed; "
            f"{'up to ' if self.to_detect else ''}{self.to_detect} to detect"
        )


def outlook(config: dict, results: Path, collection: Collection, model_key: str) -> Outlook:
    """Compare the scan with the last manifest and the store's index."""
    known = {row.path: row for row in read_manifest(results / "manifest.tsv")}
    stored = read_stored_images(store_folder(results, model_key))
    scanned = {file.path: (file.size, file.mtime_ns) for file in collection.files}
    vanished = Counter(
        (row.size, row.mtime_ns) for path, row in known.items() if path not in scanned
    )
    removed = vanished.total()
    new = changed = moved = 0
    pending: set[str] = set()
    for path, stat in scanned.items():
        if path not in known:
            if vanished[stat] > 0:
                vanished[stat] -= 1
                moved += 1
            else:
                new += 1
        elif (known[path].size, known[path].mtime_ns) != stat:
            changed += 1
        else:
            identity = known[path].image_id
            image = stored.get(identity)
            if identity and (image is None or image.is_pending(config["retry_failed"])):
                pending.add(identity)
    to_detect = new + changed + len(pending)
    return Outlook(len(scanned), new, changed, moved, removed - moved, to_detect)
