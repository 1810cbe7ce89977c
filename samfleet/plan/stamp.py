"""Stamps: the inputs that tell Snakemake that the plan or the summary is out of date.

A stamp is a small JSON file that is rewritten only when what it stands for has changed, so that
every rerun trigger of Snakemake, modification times alone included, sees the same thing.
Standard library only: the Snakefile imports this.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.digests import digest_of
from samfleet.files import read_stamp, write_stamp
from samfleet.plan.collection import Collection
from samfleet.plan.manifest import read_manifest
from samfleet.plan.record import Plan, is_complete, read_plan
from samfleet.results import last_plan_file, manifest_file, plan_stamp_file, store_folder
from samfleet.store.index import read_index, read_stored_images, segments_on_disk


def refresh_plan_stamp(
    settings: Settings, results: Path, collection: Collection, model_key: str, gpus: int
) -> list[str]:
    """Rewrite the plan's stamp if the plan is out of date.

    Returns:
        Why the plan is out of date, in words; empty when it is not.
    """
    path = plan_stamp_file(results)
    wanted = {"images": collection.fingerprint(), "model_key": model_key}
    before = read_stamp(path)
    plan = read_plan(last_plan_file(results))
    reasons = _reasons(settings, results, plan, model_key)
    if before and any(before.get(key) != value for key, value in wanted.items()):
        changed = "the images changed" if before.get("images") != wanted["images"] else ""
        reasons.append(changed or "the model or its settings changed")
    if not reasons:
        return []
    content = wanted | {"gpus": gpus, "because": reasons, "after": plan.id if plan else ""}
    content["store"] = digest_of(segments_on_disk(store_folder(results, model_key)))
    if settings.rehash:
        content["asked"] = time.time_ns()
    write_stamp(path, content)
    return reasons


def _reasons(settings: Settings, results: Path, plan: Plan | None, model_key: str) -> list[str]:
    reasons = []
    if plan is None or not plan_stamp_file(results).exists():
        return ["there is no plan yet"]
    if not is_complete(results, plan):
        reasons.append("the last plan was not carried out to its end")
    if plan.max_pixels < settings.image.max_pixels:
        reasons.append("image.max_pixels was raised")
    if settings.rehash:
        reasons.append("rehash is set")
    folder = store_folder(results, model_key)
    index = read_index(folder)
    if index is None or index.segments != segments_on_disk(folder):
        reasons.append("the store is not as its index says")
    elif (index.retryable or (settings.retry_failed and index.failed)) and any(
        _pending_again(results, folder, settings.retry_failed)
    ):
        reasons.append("failed images are tried again")
    return reasons


def _pending_again(results: Path, folder: Path, retry_failed: bool) -> Iterator[bool]:
    """For every image that is still in the collection whether it failed and is tried again."""
    stored = read_stored_images(folder)
    for row in read_manifest(manifest_file(results)):
        image = stored.get(row.image_id)
        yield image is not None and image.is_pending(retry_failed)
