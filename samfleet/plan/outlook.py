"""What a run would do, estimated in advance. Standard library only: the Snakefile imports this."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from samfleet.plan.collection import Collection
from samfleet.plan.manifest import read_manifest
from samfleet.plan.record import has_manifest, read_plan
from samfleet.results import last_plan_file, manifest_file, store_folder
from samfleet.store.index import read_stored_images
from samfleet.wording import counted


@dataclass(frozen=True)
class Outlook:
    """What a run would do, estimated from names, sizes and times: no file is hashed.

    Attributes:
        found, new, changed, moved, removed: numbers of image files.
        to_detect: the largest number of images that may need to be detected.
    """

    found: int
    new: int
    changed: int
    moved: int
    removed: int
    to_detect: int

    def __str__(self) -> str:
        return (
            f"{counted(self.found, 'image')} found: {self.new} new, {self.changed} changed, "
            f"{self.moved} moved, {self.removed} removed; "
            f"{'up to ' if self.to_detect else ''}{self.to_detect} to detect"
        )


def outlook(collection: Collection, results: Path, model_key: str, retry_failed: bool) -> Outlook:
    """Compare the scan with the last manifest and the store's index."""
    plan = read_plan(last_plan_file(results))
    whole = plan is not None and has_manifest(results, plan)
    known = {row.path: row for row in read_manifest(manifest_file(results))} if whole else {}
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
            if identity and (image is None or image.is_pending(retry_failed)):
                pending.add(identity)
    to_detect = new + changed + len(pending)
    return Outlook(len(scanned), new, changed, moved, removed - moved, to_detect)
