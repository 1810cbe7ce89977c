"""Whether the plan is out of date, and why. Standard library only, since the Snakefile imports this."""

from collections.abc import Iterator
from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.plan.collection import Collection
from samfleet.plan.manifest import read_manifest
from samfleet.plan.record import Plan, has_manifest, is_complete, read_plan
from samfleet.results import last_plan_file, manifest_file, plan_file, store_folder
from samfleet.stamps import latest_stamp
from samfleet.store.index import read_index, read_stored_images, segments_on_disk


def plan_stamp(
    settings: Settings, results: Path, collection: Collection, model_key: str
) -> tuple[int, list[str]]:
    """The number of the stamp that the plan needs, and why it is out of date, in words.

    It is the stamp that the plan was made for, or, if there are reasons, one that does not exist yet.
    """
    plan = read_plan(last_plan_file(results))
    reasons = _reasons(settings, results, plan, collection, model_key)
    if plan is None:
        return latest_stamp(results, "plan") + 1, reasons
    if reasons:
        return max(plan.stamp, latest_stamp(results, "plan")) + 1, reasons
    return plan.stamp, []


def _reasons(
    settings: Settings, results: Path, plan: Plan | None, collection: Collection, model_key: str
) -> list[str]:
    if plan is None:
        return ["there is no plan yet"]
    if read_plan(plan_file(results)) != plan:
        return ["the plan is missing or damaged"]
    reasons = []
    if not has_manifest(results, plan):
        reasons.append("manifest.tsv is not the one of the plan")
    if not is_complete(results, plan):
        reasons.append("the last plan was not finished")
    if plan.max_pixels < settings.image.max_pixels:
        reasons.append("image.max_pixels was raised")
    if settings.rehash:
        reasons.append("rehash is set")
    if (plan.source, plan.files) != (settings.images, collection.fingerprint()):
        reasons.append("the images changed")
    if plan.selection != settings.image.selection.digest:
        reasons.append("image.scenes, image.times or image.slices changed")
    if plan.model_key != model_key:
        return [*reasons, "the model or its settings changed"]
    folder = store_folder(results, model_key)
    index, segments = read_index(folder), segments_on_disk(folder)
    if index is None and not segments:
        reasons.append("nothing is stored for this model and its settings")
    elif index is None or index.segments != segments:
        reasons.append("results came into the store, or went, since it was last listed")
    failures = index is not None and (index.failed if settings.retry_failed else index.retryable)
    if not reasons and failures and any(_again(results, folder, settings.retry_failed)):
        return ["failed images are to be tried again"]
    return reasons


def _again(results: Path, folder: Path, retry_failed: bool) -> Iterator[bool]:
    """For every image of the collection, whether it failed and should be tried again."""
    stored = read_stored_images(folder)
    for row in read_manifest(manifest_file(results)):
        image = stored.get(row.image_id)
        yield image is not None and image.is_pending(retry_failed)
