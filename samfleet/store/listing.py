"""What a store holds, and what each of its model keys stands for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from samfleet.results import store_root, store_settings_file
from samfleet.statuses import Status
from samfleet.store.index import read_index, read_stored_images, segments_on_disk
from samfleet.store.segments import stored_images


@dataclass(frozen=True)
class Held:
    """What is stored under one model key.

    Attributes:
        model_key: the name of the folder.
        images: number of images that were detected.
        failed: number of images whose best result is a failure.
        bytes: size of the segments.
        settings: what the key stands for, by names such as "sam.points_per_side"; empty for results
            of a version that did not record it.
    """

    model_key: str
    images: int
    failed: int
    bytes: int
    settings: dict[str, object]

    @property
    def size(self) -> str:
        """The size of the segments as text."""
        return f"{self.bytes / 1e6:.1f} MB"


def list_store(results: Path) -> list[Held]:
    """What is stored under each model key, sorted by key."""
    folders = sorted(path for path in store_root(results).glob("*") if path.is_dir())
    return [_held(folder) for folder in folders]


def _held(folder: Path) -> Held:
    index, segments = read_index(folder), segments_on_disk(folder)
    known = index is not None and index.segments == segments
    # an interrupted run leaves segments that no index knows yet
    images = read_stored_images(folder) if known else stored_images(folder)
    detected = sum(image.status == Status.OK for image in images.values())
    try:
        settings = dict(_flat(json.loads(store_settings_file(folder).read_text())))
    except (OSError, ValueError, AttributeError, RecursionError):
        settings = {}
    size = sum(segments.values())
    return Held(folder.name, detected, len(images) - detected, size, settings)


def _flat(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
