"""What a run would do, estimated in advance. Standard library only: the Snakefile imports this."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from samfleet.plan.collection import Collection
from samfleet.plan.manifest import ManifestRow, read_manifest
from samfleet.plan.record import Plan, has_manifest, read_plan
from samfleet.results import last_plan_file, manifest_file, store_folder
from samfleet.store.index import read_stored_images
from samfleet.wording import counted, lasting


@dataclass(frozen=True)
class Outlook:
    """What a run would do, estimated from names, sizes and times: no file is opened.

    Attributes:
        found, new, changed, moved, removed: numbers of image files.
        images: how many images known files hold, where some hold several; 0 if none does.
        to_detect: the largest number of images that may need to be detected, if new files hold one each.
    """

    found: int
    new: int
    changed: int
    moved: int
    removed: int
    images: int
    to_detect: int

    def __str__(self) -> str:
        holding = f" in {counted(self.found, 'file')}" if self.images else ""
        unknown = self.new + self.changed
        each = "; what new files hold is not known yet" if self.images and unknown else ""
        return (
            f"{counted(self.images or self.found, 'image')}{holding} found: {self.new} new, {self.changed} changed, "
            f"{self.moved} moved, {self.removed} removed; "
            f"{'up to ' if self.to_detect else ''}{self.to_detect} to detect{each}"
        )


def division(plan: Plan, devices: int) -> str:
    """By how many jobs the images of a plan are to be detected, in words, and why not by one for each device.

    Args:
        plan: a plan with jobs.
        devices: how many may be used at a time.
    """
    jobs = len(plan.shards)
    at_a_time = min(devices, jobs)
    words = f"by {counted(jobs, 'job')} on {counted(at_a_time, 'device')}"
    if jobs > devices:
        words += " (more jobs than devices, since shard.max_hours limits how long one lasts)"
    elif jobs < min(devices, plan.pending):
        words += (
            f" of {devices} (more jobs would hardly outlast their own start: shard.min_seconds)"
        )
    seconds = sum(shard.seconds for shard in plan.shards) / at_a_time
    return f"{words}, expected to take about {lasting(max(1, seconds))}"


def outlook(collection: Collection, results: Path, model_key: str, retry_failed: bool) -> Outlook:
    """Compare the scan with the last manifest and the store's index."""
    plan = read_plan(last_plan_file(results))
    whole = plan is not None and has_manifest(results, plan)
    known: dict[str, ManifestRow] = {}
    further: dict[str, list[ManifestRow]] = {}  # of files that hold several images
    for row in read_manifest(manifest_file(results)) if whole else ():
        if row.path in known:
            further.setdefault(row.path, []).append(row)
        else:
            known[row.path] = row
    stored = read_stored_images(store_folder(results, model_key))
    scanned = {file.path: file for file in collection.files}
    vanished = Counter(
        (row.size, row.mtime_ns) for path, row in known.items() if path not in scanned
    )
    removed = vanished.total()
    new = changed = moved = images = 0
    several = False
    pending: set[str] = set()
    for path, file in scanned.items():
        first = known.get(path)
        if first is None:
            images += 1
            stat = file.size, file.mtime_ns
            if vanished[stat] > 0:
                vanished[stat] -= 1
                moved += 1
            else:
                new += 1
            continue
        rows = (first, *further.get(path, ()))
        images += len(rows)
        several = several or len(rows) > 1 or any(first.cells)
        if first.size != file.size or first.mtime_ns != file.mtime_ns:
            changed += 1
        else:
            for row in rows:
                image = stored.get(row.image_id)
                if row.image_id and (image is None or image.is_pending(retry_failed)):
                    pending.add(row.image_id)
    to_detect = new + changed + len(pending)
    return Outlook(
        len(scanned), new, changed, moved, removed - moved, images if several else 0, to_detect
    )
