# Needs the configuration and the images. Leaves the defaults in `config`, the number of GPUs, and the
# numbers of the stamps that each stage needs. The package does all the work.
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from samfleet.config.schema import complete_config, refuse_repeated_keys
from samfleet.config.settings import settings_of
from samfleet.devices.job_device import usable_devices
from samfleet.devices.visible import visible_devices
from samfleet.errors import UserError, explanation
from samfleet.evaluation.stamp import evaluation_stamp, labels_folder, marks_file, marks_stamp
from samfleet.exports.stamp import export_stamp, stage_of
from samfleet.files import must_be_writable
from samfleet.plan.collection import columns_digest, scan_collection
from samfleet.plan.commands import note_command
from samfleet.plan.mistakes import Retries
from samfleet.plan.outlook import division, outlook
from samfleet.plan.record import present_plan
from samfleet.plan.stamp import plan_stamp
from samfleet.plan.watching import ProgressLines
from samfleet.report.stamp import report_stamp
from samfleet.results import done_file, kept_plan_file, plan_file, stamp_file, store_folder
from samfleet.sam.model_key import configured_model_key
from samfleet.sam.weights import OFFICIAL_WEIGHTS
from samfleet.stamps import latest_stamp
from samfleet.store.index import segments_on_disk
from samfleet.summary.account import account
from samfleet.summary.stamp import summary_stamp, verification_stamp
from samfleet.wording import counted
from snakemake.logging import logger

# Snakemake puts the prefix of a module before the paths of rules; our own paths need it too
RESULTS = Path(workflow.modifier.path_modifier.replace_prefix("results/"))


@contextmanager
def plain_errors():
    """Print what is wrong and exit; Snakemake would add its own error and a traceback."""
    try:
        yield
    except Exception as error:
        words = explanation(error)
        if words is None:
            raise
        logger.error(f"samfleet: {words}")
        sys.exit(1)


# closing the terminal ends a run as SIGTERM does; under nohup it is ignored, and stays so
if (
    workflow.is_main_process
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
):
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


with plain_errors():
    for file in workflow.configfiles:
        refuse_repeated_keys(file)
    config.update(complete_config(config))
    SETTINGS = settings_of(config)


wildcard_constraints:
    plan=r"[\w-]+",
    shard=r"\d+",
    stage=r"plan|summary|evaluation|marks|report|verification|export-\w+",
    kind=r"\w+",
    number=r"\d+",


def objects_csv():
    """The table of objects as CSV, if it is asked for."""
    return {"csv": "results/objects.csv.gz"} if SETTINGS.tables.objects_csv else {}


def final_results():
    """The files that a run produces in the end."""
    tables = ["summary.csv", "objects.parquet", "filtering.csv", "ledger.csv", "run.json"]
    page = ["report.html"] if SETTINGS.report else []
    verified = ["logs/verified.txt"] if SETTINGS.on_error == "fail" else []
    tables += [Path(name).name for name in objects_csv().values()]
    exports = [f"exports/{kind}.csv" for kind in SETTINGS.exports]
    marks = ["evaluation_marks.csv"] if SETTINGS.evaluation.marks else []
    names = tables + page + verified + exports + marks
    return [f"results/{name}" for name in names] + label_scores()


def label_scores():
    """The tables of scores against label images, if they are asked for; the report shows them."""
    asked = ["evaluation.csv", "evaluation_total.csv"] if SETTINGS.evaluation.labels else []
    return [f"results/{name}" for name in asked]


@cache
def scanned_collection():
    """The image files, searched for once in a run."""
    image = SETTINGS.image
    return scan_collection(SETTINGS.images, image.suffixes, RESULTS, image.channel_pattern)


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


def stamp(stage, number):
    """The stamp that a stage needs. A job of its own has it made already; age does not matter."""
    if not workflow.is_main_process:
        return ancient(f"results/plan/{stage}.{latest_stamp(RESULTS, stage)}.stamp")
    with plain_errors():
        file = stamp_file(RESULTS, stage, number())
        if not file.exists() and not workflow.dryrun:
            must_be_writable(RESULTS)  # Snakemake would only call old tables write-protected
    if not file.exists():
        # without its metadata, Snakemake takes a missing input for one that is no longer needed
        workflow.dag.forcefiles.add(str(file))
    return ancient(f"results/plan/{file.name}")


def detects_here():
    """Whether detections run on this machine: this is no dry run, and no job is submitted."""
    plugin = workflow.executor_plugin
    return (
        plugin and plugin.common_settings.local_exec and not workflow.dryrun and not workflow.touch
    )


@cache
def number_of_plan_stamp():
    """The number of the stamp that the plan needs; says why, if it is a new one."""
    collection = scanned_collection()
    key = configured_model_key(SETTINGS, RESULTS)
    number, reasons = plan_stamp(SETTINGS, RESULTS, collection, key)
    if reasons:
        logger.info(f"samfleet: {outlook(collection, RESULTS, key, SETTINGS.retry_failed)}")
        logger.info(
            f"samfleet: planning for {counted(gpu_count(), 'device')}, since {' and '.join(reasons)}"
        )
        if detects_here() and not segments_on_disk(store_folder(RESULTS, key)):
            usable_devices(SETTINGS.device, SETTINGS.devices, SETTINGS.sam.precision)
    return number


@cache
def number_of_summary_stamp(plan):
    """The number of the stamp that the summary of a plan needs."""
    collection = scanned_collection()
    columns = columns_digest(collection.columns, collection.rows)
    return summary_stamp(SETTINGS, RESULTS, plan, columns)


@cache
def number_of_evaluation_stamp():
    """The number of the stamp that the evaluation needs."""
    return evaluation_stamp(SETTINGS.evaluation, RESULTS, SETTINGS.rehash)


def refuse_arrays(plan):
    """Refuse job arrays of detections that Snakemake's plugin for Slurm would wait for instead of submitting them.

    It submits an array only if all jobs that are ready may run at once (its issue 473, in version 2.8).
    """
    asked = getattr(workflow.executor_settings, "array_jobs", None) or ""
    if not {"detect", "all"} & set(asked.replace(";", ",").replace(" ", "").split(",")):
        return
    left = sum(not done_file(RESULTS, plan.id, shard.name).exists() for shard in plan.shards)
    if left > (at_once := min(gpu_count(), workflow.nodes or left)):
        raise UserError(
            f"--slurm-array-jobs: there are {left} detection jobs, of which {at_once} may be submitted at a time, "
            "and the plugin would wait for ever: leave it out, or allow all of them with --resources gpu and --jobs"
        )


@cache
def announce(plan):
    """Say how a plan that was just made will be carried out; its own log may lie on another machine."""
    if plan.shards and not any(
        done_file(RESULTS, plan.id, each.name).exists() for each in plan.shards
    ):
        logger.info(
            f"samfleet: {counted(plan.pending, 'image')} to detect, {division(plan, gpu_count())}"
        )


def summary_input(wildcards):
    """The summary's stamp and the record of every shard of the plan."""
    checkpoints.plan.get()
    plan = present_plan(plan_file(RESULTS))
    with plain_errors():
        refuse_arrays(plan)
    if workflow.is_main_process and not workflow.dryrun:
        announce(plan)
    return {
        "stamp": stamp("summary", partial(number_of_summary_stamp, plan)),
        "done": [f"results/plan/{plan.id}/{shard.name}.done" for shard in plan.shards],
    }


def evaluation_input(wildcards):
    """The evaluation's stamp, made only after the plan: what is made before does not force a job."""
    with plain_errors():
        labels_folder(
            SETTINGS.evaluation.labels
        )  # else it would be missed only when all is detected
    checkpoints.plan.get()
    return stamp("evaluation", number_of_evaluation_stamp)


@cache
def number_of_marks_stamp():
    """The number of the stamp that the scores against marks need."""
    return marks_stamp(SETTINGS.evaluation, RESULTS)


def marks_input(wildcards):
    """The stamp of the scores against marks, made only after the plan, as the evaluation's."""
    with plain_errors():
        marks_file(SETTINGS.evaluation.marks)
    checkpoints.plan.get()
    return stamp("marks", number_of_marks_stamp)


@cache
def number_of_report_stamp():
    """The number of the stamp that the report needs."""
    return report_stamp(SETTINGS, RESULTS)


def report_input(wildcards):
    """The report's stamp, made only after the plan, as the evaluation's."""
    checkpoints.plan.get()
    return stamp("report", number_of_report_stamp)


@cache
def number_of_verification_stamp():
    """The number of the stamp that the word that no image failed needs."""
    return verification_stamp(RESULTS)


def verification_input(wildcards):
    """The verification's stamp, made only after the plan, as the evaluation's."""
    checkpoints.plan.get()
    return stamp("verification", number_of_verification_stamp)


@cache
def number_of_export_stamp(kind):
    """The number of the stamp that an export needs."""
    return export_stamp(SETTINGS, RESULTS, kind)


def export_input(wildcards):
    """The export's stamp, made only after the plan, as the evaluation's."""
    checkpoints.plan.get()
    return stamp(stage_of(wildcards.kind), partial(number_of_export_stamp, wildcards.kind))


def detect_input():
    """A shard's list and, if it needs official weights, the file that says that they are there.

    Like the number of threads it is no function of wildcards, which Snakemake would call for each of many jobs.
    """
    files = {"shard": ancient("results/plan/{plan}/{shard}.tsv")}
    if SETTINGS.sam.model in OFFICIAL_WEIGHTS and not SETTINGS.sam.checkpoint:
        files["weights"] = ancient("results/plan/{plan}/weights.txt")
    return files


def detect_threads():
    """CPU threads of a detection: an equal share of this machine's cores, or what is configured."""
    if workflow.nodes is None and workflow.is_main_process:
        return max(1, workflow.cores // gpu_count())
    return SETTINGS.shard.threads


def detect_retries():
    """How often a detection is tried again: by this process, which asks for more memory and time each time.

    Snakemake also runs in the job itself, where it would try again with what has not sufficed.
    """
    return Retries(2 if workflow.is_main_process else 0, RESULTS)


@cache
def expected_seconds(plan):
    """The expected seconds of every shard of a plan by its name; read once, however many there are."""
    planned = present_plan(kept_plan_file(RESULTS, plan))
    return {shard.name: shard.seconds for shard in planned.shards}


def shard_runtime(wildcards, attempt):
    """Minutes for a job: its shard's time with a margin, more at every attempt, and never too many."""
    seconds = expected_seconds(wildcards.plan)[wildcards.shard]
    return int(min((30 + 3 * seconds / 60) * attempt, 60 * SETTINGS.shard.max_hours))


def detect_memory(wildcards, attempt):
    """MB of memory for a detection, more at every attempt."""
    return SETTINGS.shard.mem_mb * attempt


PROGRESS = ProgressLines(
    RESULTS,
    logger.info,
    screen=sys.stderr if sys.stderr.isatty() else None,
    handlers=logger.handlers if workflow.is_main_process else (),
)
BEGAN = time.time()


def close_run(succeeded):
    """Say no more how far the run is, but what it has done."""
    PROGRESS.end()
    for line in account(RESULTS, BEGAN, succeeded):
        logger.info(f"samfleet: {line}")


onsuccess:
    close_run(succeeded=True)


onerror:
    close_run(succeeded=False)


onstart:
    note_command(RESULTS, ["snakemake", *sys.argv[1:]])
    PROGRESS.start()
    if workflow.nodes is None and workflow.cores < gpu_count():
        logger.warning(
            f"samfleet: {gpu_count()} GPUs but only {counted(workflow.cores, 'core')}: each job needs at least "
            f"one, so {counted(gpu_count() - workflow.cores, 'GPU')} will be idle; use --cores {gpu_count()} or more"
        )
