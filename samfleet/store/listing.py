"""What a store holds, told by the files that explain it; standard library only."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from samfleet.results import store_root, store_settings_file
from samfleet.statuses import Status
from samfleet.store.index import read_stored_images, segments_on_disk


@dataclass(frozen=True)
class Held:
    """What lies under one model key.

    Attributes:
        model_key: the name of the folder.
        images: number of images that were detected.
        failed: number of images whose best result is a failure.
        bytes: size of the segments.
        settings: what the key stands for, as "sam.points_per_side"; empty for results of a version
            that did not write it down.
    """

    model_key: str
    images: int
    failed: int
    bytes: int
    settings: dict[str, object]

    @property
    def size(self) -> str:
        """The size of the segments in words."""
        return f"{self.bytes / 1e6:.1f} MB"


def list_store(results: Path) -> list[Held]:
    """Every model key that the results hold something for, sorted."""
    folders = sorted(path for path in store_root(results).glob("*") if path.is_dir())
    return [_held(folder) for folder in folders]


def _held(folder: Path) -> Held:
    statuses = [image.status for image in read_stored_images(folder).values()]
    detected = sum(status == Status.OK for status in statuses)
    size = sum(segments_on_disk(folder).values())
    try:
        settings = dict(_flat(json.loads(store_settings_file(folder).read_text())))
    except (OSError, ValueError, AttributeError, RecursionError):
        settings = {}
    return Held(folder.name, detected, len(statuses) - detected, size, settings)


def _flat(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
