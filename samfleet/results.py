"""What lies in the folder of results: the place of every file and the columns of every table.

Standard library only.
"""

from pathlib import Path

TABLES_VERSION = 2
"""Raise by hand when the code changes what the summary's tables hold (held by a golden table)."""

RESERVED_COLUMNS = (
    "image",
    "image_id",
    "status",
    "reason",
    "width",
    "height",
    "n_candidates",
    "n_objects",
    "object_area",
    "area_fraction",
    "mean_intensity",
    "integrated_intensity",
    "background",
)
"""Columns of results/summary.csv, in order; the user's own follow."""


def plan_file(results: str | Path) -> Path:
    """The declared output of the rule `plan`."""
    return Path(results) / "plan" / "plan.json"


def last_plan_file(results: str | Path) -> Path:
    """A copy of plan.json that survives when Snakemake deletes it before the rule runs."""
    return Path(results) / "plan" / "last.json"


def kept_plan_file(results: str | Path, plan_id: str) -> Path:
    """A copy of the plan beside its shard lists, for the jobs that carry it out."""
    return Path(results) / "plan" / plan_id / "plan.json"


def shard_file(results: str | Path, plan_id: str, shard: str) -> Path:
    """The list of a shard's images."""
    return Path(results) / "plan" / plan_id / f"{shard}.tsv"


def done_file(results: str | Path, plan_id: str, shard: str) -> Path:
    """The record that a shard has been carried out."""
    return Path(results) / "plan" / plan_id / f"{shard}.done"


def store_folder(results: str | Path, model_key: str) -> Path:
    """The folder of the segments of one model key."""
    return Path(results) / "store" / model_key


def plan_stamp_file(results: str | Path) -> Path:
    """The stamp of the plan."""
    return Path(results) / "plan" / "plan.stamp"


def summary_stamp_file(results: str | Path) -> Path:
    """The stamp of the summary."""
    return Path(results) / "plan" / "summary.stamp"


def evaluation_stamp_file(results: str | Path) -> Path:
    """The stamp of the evaluation."""
    return Path(results) / "plan" / "evaluation.stamp"


def job_ledger(results: Path, name: str) -> Path:
    """The ledger of one job, to which nobody else writes."""
    return results / "ledger" / f"{name}.csv"
