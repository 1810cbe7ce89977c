# Needs the configuration and the images. Leaves `config` completed, the number of GPUs, and the
# stamps by which Snakemake sees what is out of date; all work is the package's.
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from samfleet.config.schema import complete_config
from samfleet.config.settings import settings_of
from samfleet.devices.visible import visible_devices
from samfleet.errors import UserError
from samfleet.evaluation.stamp import refresh_evaluation_stamp
from samfleet.plan.collection import scan_collection
from samfleet.plan.outlook import outlook
from samfleet.plan.record import plan_of_shard, read_plan
from samfleet.plan.stamp import refresh_plan_stamp
from samfleet.results import plan_file, shard_file
from samfleet.sam.model_key import configured_model_key
from samfleet.sam.weights import OFFICIAL_WEIGHTS
from samfleet.summary.stamp import refresh_summary_stamp
from snakemake.logging import logger

# Snakemake puts a module's prefix before every path of a rule; here it is put before ours
RESULTS = Path(workflow.modifier.path_modifier.replace_prefix("results/"))


@contextmanager
def plain_errors():
    """Say what is wrong and end; Snakemake would wrap it into its own error and a traceback."""
    try:
        yield
    except UserError as error:
        logger.error(f"samfleet: {error}")
        sys.exit(1)


with plain_errors():
    config.update(complete_config(config))
    SETTINGS = settings_of(config)


wildcard_constraints:
    plan=r"[\w-]+",
    shard=r"\d+",


def final_results():
    """The files that a run ends with."""
    tables = ["summary.csv", "objects.parquet", "filtering.csv", "ledger.csv"]
    scores = ["evaluation.csv", "evaluation_total.csv"] if SETTINGS.evaluation.labels else []
    verified = ["logs/verified.txt"] if SETTINGS.on_error == "fail" else []
    return [f"results/{name}" for name in tables + scores + verified]


@cache
def scanned_collection():
    """The images, looked for once in a run."""
    return scan_collection(SETTINGS.images, SETTINGS.image.suffixes, RESULTS)


def gpu_count():
    """How many GPUs this run may use at a time."""
    given = workflow.global_resources.get("gpu").value
    if given is not None:
        return max(1, int(given))
    if workflow.nodes is not None:
        return max(1, int(workflow.nodes))
    return max(1, len(visible_devices(SETTINGS.devices)))


# a forgotten --resources gpu=N must not start a job for every shard at once
if workflow.is_main_process and workflow.global_resources.get("gpu").value is None:
    workflow.register_resource("gpu", gpu_count())


@cache
def plan_stamp():
    """The input of the plan: newer than it when images, model or store ask for another plan."""
    if workflow.is_main_process:
        with plain_errors():
            collection = scanned_collection()
            key = configured_model_key(SETTINGS, RESULTS)
            reasons = refresh_plan_stamp(SETTINGS, RESULTS, collection, key, gpu_count())
            if reasons:
                logger.info(f"samfleet: {outlook(collection, RESULTS, key, SETTINGS.retry_failed)}")
                logger.info(f"samfleet: planning, since {' and '.join(reasons)}")
    return "results/plan/plan.stamp"


def summary_input(wildcards):
    """The summary's stamp and the record of every shard of the plan."""
    checkpoints.plan.get()
    if workflow.is_main_process:
        refresh_summary_stamp(SETTINGS.fluorescence, RESULTS, scanned_collection())
    plan = read_plan(plan_file(RESULTS))
    return {
        "stamp": "results/plan/summary.stamp",
        "done": [f"results/plan/{plan.id}/{shard.name}.done" for shard in plan.shards],
    }


@cache
def evaluation_stamp():
    """The input of the evaluation that is newer than it when label images changed."""
    if workflow.is_main_process:
        with plain_errors():
            refresh_evaluation_stamp(SETTINGS.evaluation, RESULTS)
    return "results/plan/evaluation.stamp"


def detect_input(wildcards):
    """A shard's list and, where the official weights are asked for, the word that they are there."""
    files = {"shard": ancient("results/plan/{plan}/{shard}.tsv")}
    if SETTINGS.sam.model in OFFICIAL_WEIGHTS and not SETTINGS.sam.checkpoint:
        files["weights"] = ancient("results/plan/{plan}/weights.txt")
    return files


def detect_threads(wildcards):
    """CPU threads of a detection: an equal share of the cores here, the configured number elsewhere."""
    if workflow.nodes is None and workflow.is_main_process:
        return max(1, workflow.cores // gpu_count())
    return SETTINGS.shard.threads


def shard_priority(wildcards):
    """Largest shards first, and shards are numbered from the largest."""
    return 1_000_000 - int(wildcards.shard)


def shard_runtime(wildcards, attempt):
    """Minutes for a shard's expected seconds with a margin, more at every attempt."""
    plan = plan_of_shard(shard_file(RESULTS, wildcards.plan, wildcards.shard))
    seconds = {shard.name: shard.seconds for shard in plan.shards}[wildcards.shard]
    return int(30 + 3 * seconds / 60) * attempt


def detect_memory(wildcards, attempt):
    """MB of memory for a detection, more at every attempt."""
    return SETTINGS.shard.mem_mb * attempt


onstart:
    if workflow.nodes is None and workflow.cores < gpu_count():
        logger.warning(
            f"samfleet: {gpu_count()} GPUs but only {workflow.cores} cores: a job needs one at least, so "
            f"{gpu_count() - workflow.cores} GPUs stay idle; use --cores {gpu_count()} or more"
        )
