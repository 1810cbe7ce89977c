"""The record of a plan, and whether the plan has been carried out.

Standard library only, since the Snakefile imports this.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from samfleet.digests import digest_of, image_id_of_file
from samfleet.results import MANIFEST_COLUMNS, done_file, manifest_file, shard_file


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard of a plan.

    Attributes:
        name: its number, four digits or more.
        images: number of images.
        seconds: expected seconds on one device.
    """

    name: str
    images: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be detected, and what that was made from.

    Attributes:
        id: unique; a plan that changes nothing keeps the id of the last one.
        stamp: number of the stamp that it was made for.
        source: the configuration's `images`.
        files: digest of the paths, sizes, times and modes of all files.
        manifest: digest of manifest.tsv.
        descriptions: digest of descriptions.tsv.
        selection: digest of which images of a file are wanted.
        model_key: the key under which its results are stored.
        content: digest of all paths with their image ids.
        max_pixels: the configuration's `image.max_pixels` when it was made.
        images: number of image files.
        pending: number of different images to detect.
        shards: largest first; none when nothing is pending.
    """

    id: str
    stamp: int
    source: str
    files: str
    manifest: str
    descriptions: str
    selection: str
    model_key: str
    content: str
    max_pixels: int
    images: int
    pending: int
    shards: tuple[PlannedShard, ...]

    def to_json(self) -> str:
        """The text of plan.json, which ends with a digest of the rest."""
        record = asdict(self)
        return json.dumps(record | {"digest": digest_of(record)}, indent=1) + "\n"


def read_plan(path: str | Path) -> Plan | None:
    """The plan in a file, or None if there is none or it cannot be read."""
    try:
        record = json.loads(Path(path).read_text())
        if record.pop("digest") != digest_of(record):
            return None
        record["shards"] = tuple(PlannedShard(**shard) for shard in record["shards"])
        return Plan(**record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def present_plan(path: str | Path) -> Plan:
    """The plan in a file.

    Raises:
        FileNotFoundError: there is none, or it cannot be read; the message names the file.
    """
    plan = read_plan(path)
    if plan is None:
        raise FileNotFoundError(f"{path}: the plan is gone or damaged; run the workflow again")
    return plan


def plan_of_shard(shard_list: str | Path) -> Plan:
    """The plan that a shard list belongs to; raises FileNotFoundError if it has been removed."""
    return present_plan(Path(shard_list).parent / "plan.json")


def has_manifest(results: str | Path, plan: Plan) -> bool:
    """Whether manifest.tsv is the one that was written with the plan."""
    return any_has_manifest(results, [plan])


def any_has_manifest(results: str | Path, plans: Iterable[Plan]) -> bool:
    """Whether manifest.tsv is the one that was written with one of these plans, by this version."""
    header = "\t".join(MANIFEST_COLUMNS).encode() + b"\n"
    try:
        with manifest_file(results).open("rb") as file:
            if file.readline() != header:
                return False
        digest, _ = image_id_of_file(manifest_file(results))
    except OSError:
        return False
    return any(plan.manifest == digest for plan in plans)


def is_complete(results: str | Path, plan: Plan) -> bool:
    """Whether every shard's list exists and has been carried out."""
    return all(
        shard_file(results, plan.id, shard.name).exists()
        and done_file(results, plan.id, shard.name).exists()
        for shard in plan.shards
    )
