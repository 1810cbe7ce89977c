# Needs the configuration and the images. Leaves the defaults in `config`, the number of GPUs, and the
# stamps that tell Snakemake what is out of date. The package does all the work.
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
from samfleet.plan.record import plan_of_shard, present_plan
from samfleet.plan.stamp import refresh_plan_stamp
from samfleet.results import plan_file, shard_file
from samfleet.sam.model_key import configured_model_key
from samfleet.sam.weights import OFFICIAL_WEIGHTS
from samfleet.summary.stamp import refresh_summary_stamp
from samfleet.wording import counted
from snakemake.logging import logger

# Snakemake puts the prefix of a module before the paths of rules; our own paths need it too
RESULTS = Path(workflow.modifier.path_modifier.replace_prefix("results/"))


@contextmanager
def plain_errors():
    """Print what is wrong and exit; Snakemake would add its own error and a traceback."""
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
    """The files that a run produces in the end."""
    tables = ["summary.csv", "objects.parquet", "filtering.csv", "ledger.csv"]
    scores = ["evaluation.csv", "evaluation_total.csv"] if SETTINGS.evaluation.labels else []
    verified = ["logs/verified.txt"] if SETTINGS.on_error == "fail" else []
    return [f"results/{name}" for name in tables + scores + verified]


@cache
def scanned_collection():
    """The image files, searched for once in a run."""
    return scan_collection(SETTINGS.images, SETTINGS.image.suffixes, RESULTS)


def gpu_count():
    """How many GPUs this run may use at a time."""
    given = workflow.global_resources.get("gpu").value
    if given is not None:
        return max(1, int(given))
    if workflow.nodes is not None:
        return max(1, int(workflow.nodes))
    return max(1, len(visible_devices(SETTINGS.devices)))


# without this, a forgotten --resources gpu=N would start the jobs of all shards at once
if workflow.is_main_process and workflow.global_resources.get("gpu").value is None:
    workflow.register_resource("gpu", gpu_count())


@cache
def plan_stamp():
    """The stamp of the plan: newer than the plan if images, model or store require another one."""
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
    plan = present_plan(plan_file(RESULTS))
    return {
        "stamp": "results/plan/summary.stamp",
        "done": [f"results/plan/{plan.id}/{shard.name}.done" for shard in plan.shards],
    }


@cache
def evaluation_stamp():
    """The stamp of the evaluation: newer than its tables if label images have changed."""
    if workflow.is_main_process:
        with plain_errors():
            refresh_evaluation_stamp(SETTINGS.evaluation, RESULTS)
    return "results/plan/evaluation.stamp"


def detect_input(wildcards):
    """A shard's list and, if it needs official weights, the file that says that they are there."""
    files = {"shard": ancient("results/plan/{plan}/{shard}.tsv")}
    if SETTINGS.sam.model in OFFICIAL_WEIGHTS and not SETTINGS.sam.checkpoint:
        files["weights"] = ancient("results/plan/{plan}/weights.txt")
    return files


def detect_threads(wildcards):
    """CPU threads of a detection: an equal share of this machine's cores, or what is configured."""
    if workflow.nodes is None and workflow.is_main_process:
        return max(1, workflow.cores // gpu_count())
    return SETTINGS.shard.threads


def shard_priority(wildcards):
    """The largest shards come first; shards are numbered from the largest to the smallest."""
    return 1_000_000 - int(wildcards.shard)


def shard_runtime(wildcards, attempt):
    """Minutes for a shard: its expected time with a margin, and more at every attempt."""
    plan = plan_of_shard(shard_file(RESULTS, wildcards.plan, wildcards.shard))
    seconds = {shard.name: shard.seconds for shard in plan.shards}[wildcards.shard]
    return int(30 + 3 * seconds / 60) * attempt


def detect_memory(wildcards, attempt):
    """MB of memory for a detection, more at every attempt."""
    return SETTINGS.shard.mem_mb * attempt


onstart:
    if workflow.nodes is None and workflow.cores < gpu_count():
        logger.warning(
            f"samfleet: {gpu_count()} GPUs but only {counted(workflow.cores, 'core')}: each job needs at least "
            f"one, so {counted(gpu_count() - workflow.cores, 'GPU')} will be idle; use --cores {gpu_count()} or more"
        )
