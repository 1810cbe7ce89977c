"""The index of the store, readable without Parquet: segments by name and size, images by status.

Standard library only, since the Snakefile imports this. `samfleet.store.segments` rebuilds its two files.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from samfleet.digests import digest_of, image_id_of_file
from samfleet.files import read_rows, write_atomic, write_rows
from samfleet.statuses import MAXIMUM_ATTEMPTS, Status

_HEADER = ("image_id", "status", "transient", "failed_in")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The best result that the store holds for an image.

    Attributes:
        status: `ok` (detected), `changed` or a failure.
        transient: whether trying again may help (out of memory, errors of input and output).
        failed_in: the names of the plans under which it failed, sorted; a plan counts once.
    """

    status: str
    transient: bool
    failed_in: tuple[str, ...] = ()

    def is_pending(self, retry_failed: bool) -> bool:
        """Whether the image is to be detected (again)."""
        if self.status == Status.OK:
            return False
        if self.status == Status.CHANGED or retry_failed:
            return True
        return self.transient and len(self.failed_in) < MAXIMUM_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Index:
    """The small part of the index, which is enough to see that there is nothing to do.

    Attributes:
        segments: size in bytes of every segment by name.
        retryable: number of images with a transient failure that will be tried again.
        failed: number of images whose best result is a failure.
    """

    segments: dict[str, int]
    retryable: int
    failed: int


def segments_on_disk(folder: str | Path) -> dict[str, int]:
    """Size in bytes of every segment in a store's folder by name, sorted by name."""
    found = {}
    for path in sorted(Path(folder).glob("*.parquet")):
        try:
            found[path.name] = path.stat().st_size
        except FileNotFoundError:  # a job has merged its flushes since then
            continue
    return found


def read_index(folder: str | Path) -> Index | None:
    """The index of a store's folder, or None if there is none or it cannot be read."""
    try:
        index = json.loads((Path(folder) / "index.json").read_text())
        images, _ = image_id_of_file(Path(folder) / "images.tsv")
        if index.pop("digest") != digest_of([index, images]):
            return None
        return Index(**index)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def forget_index(folder: str | Path) -> None:
    """Remove the index, so that the store is listed anew."""
    (Path(folder) / "index.json").unlink(missing_ok=True)


def read_stored_images(folder: str | Path) -> dict[str, StoredImage]:
    """Every image in the index, by image id; none if there is no valid index."""
    if read_index(folder) is None:
        return {}
    return {
        identity: StoredImage(status, transient == "1", tuple(filter(None, failed_in.split(","))))
        for identity, status, transient, failed_in in read_rows(
            Path(folder) / "images.tsv", _HEADER
        )
    }


def write_index(
    folder: str | Path, segments: dict[str, int], images: Iterable[tuple[str, StoredImage]]
) -> Index:
    """Write both files atomically; the small one is last, since it contains the digest of the other."""
    known = sorted(images, key=lambda image: image[0])
    failures = [image for _, image in known if image.status != Status.OK]
    index = Index(segments, sum(image.is_pending(False) for image in failures), len(failures))
    write_rows(
        Path(folder) / "images.tsv",
        _HEADER,
        ((identity, i.status, int(i.transient), ",".join(i.failed_in)) for identity, i in known),
    )
    content = asdict(index)
    content["digest"] = digest_of([content, image_id_of_file(Path(folder) / "images.tsv")[0]])
    write_atomic(Path(folder) / "index.json", json.dumps(content, indent=1) + "\n")
    return index
