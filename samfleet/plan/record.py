"""The plan: its record, where its files lie and whether it has been carried out.

Standard library only: the Snakefile imports this.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard of a plan.

    Attributes:
        name: its number, four digits or more.
        images: number of pictures.
        seconds: expected seconds on one device.
    """

    name: str
    images: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be detected. Holds no modification time and no number of GPUs.

    Attributes:
        id: fresh for every plan that has something new to say.
        source: the configuration's `images`.
        model_key: the store's folder for its results.
        content: digest of all paths with their image ids.
        max_pixels: the limit that it was made under.
        images: number of picture files.
        pending: number of different pictures to detect.
        shards: largest first; none when nothing is pending.
    """

    id: str
    source: str
    model_key: str
    content: str
    max_pixels: int
    images: int
    pending: int
    shards: tuple[PlannedShard, ...]

    def to_json(self) -> str:
        """The text of plan.json."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_plan(path: str | Path) -> Plan | None:
    """The plan in a file, or None where there is none that can be read."""
    try:
        record = json.loads(Path(path).read_text())
        record["shards"] = tuple(PlannedShard(**shard) for shard in record["shards"])
        return Plan(**record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def plan_file(results: str | Path) -> Path:
    """The declared output of the rule `plan`."""
    return Path(results) / "plan" / "plan.json"


def last_plan_file(results: str | Path) -> Path:
    """A copy of plan.json that survives when Snakemake deletes it before the rule runs."""
    return Path(results) / "plan" / "last.json"


def kept_plan_file(results: str | Path, plan_id: str) -> Path:
    """A copy of the plan beside its shard lists, for the jobs that carry it out."""
    return Path(results) / "plan" / plan_id / "plan.json"


def plan_of_shard(shard_list: str | Path) -> Plan:
    """The plan that a shard list belongs to.

    Raises:
        FileNotFoundError: it has been removed; the message names it.
    """
    path = Path(shard_list).parent / "plan.json"
    plan = read_plan(path)
    if plan is None:
        raise FileNotFoundError(f"{path}: the plan of this shard is gone; run snakemake again")
    return plan


def shard_file(results: str | Path, plan_id: str, shard: str) -> Path:
    """The list of a shard's pictures."""
    return Path(results) / "plan" / plan_id / f"{shard}.tsv"


def done_file(results: str | Path, plan_id: str, shard: str) -> Path:
    """The record that a shard has been carried out."""
    return Path(results) / "plan" / plan_id / f"{shard}.done"


def store_folder(results: str | Path, model_key: str) -> Path:
    """The folder of the segments of one model key."""
    return Path(results) / "store" / model_key


def is_complete(results: str | Path, plan: Plan) -> bool:
    """Whether every shard's list is there and has been carried out."""
    return all(
        shard_file(results, plan.id, shard.name).exists()
        and done_file(results, plan.id, shard.name).exists()
        for shard in plan.shards
    )
