"""The work of the rule `detect`: chunks of a plan on one device, with results stored as they come.

torch is imported only after a device has been leased and CUDA_VISIBLE_DEVICES is set, and only in this
process: the workers do not need it.
"""

import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from samfleet.config.settings import SamSettings, Settings
from samfleet.detection.claims import Claims
from samfleet.detection.heartbeat import Heartbeat
from samfleet.detection.malloc import keep_freed_memory
from samfleet.detection.pipeline import (
    Generator,
    WorkerPool,
    find_masks,
    measure_images,
    read_images,
)
from samfleet.detection.recording import Recorder
from samfleet.detection.stopping import Stopped, StopSignals
from samfleet.detection.threads import (
    MAXIMUM_WORKERS,
    Supply,
    unusable_threads,
    wait_passively_in_a_crowd,
)
from samfleet.detection.unfinished import UnfinishedImages
from samfleet.detection.work import Work
from samfleet.detection.workers import Workers
from samfleet.devices.job_device import device_error, job_device, torch_device
from samfleet.devices.use import DeviceUse
from samfleet.devices.visible import Device
from samfleet.errors import PermanentError, UserError
from samfleet.faults import is_device_failure, is_out_of_device_memory
from samfleet.files import write_atomic
from samfleet.plan.collection import collection_root
from samfleet.plan.record import Plan, plan_of_shard
from samfleet.results import (
    beat_file,
    chunks_folder,
    done_file,
    failed_devices_folder,
    store_folder,
    store_settings_file,
)
from samfleet.sam.model_key import model_key, present_model_settings
from samfleet.versions import installed_versions
from samfleet.wording import counted

logger = logging.getLogger(__name__)


class PlanError(PermanentError):
    """The plan no longer fits the configuration; the message says what to do."""


class OutOfTimeError(UserError):
    """The time of the last job of a plan is over, and images are left; the message says how many."""


def load_generator(settings: SamSettings, device: Device, threads: int) -> Generator:
    """Load the model on a leased device.

    Raises:
        DeviceError: torch cannot use the device.
    """
    from samfleet.sam.generator import loading

    target = torch_device(device)
    keep_freed_memory()
    return loading.load_generator(settings, target, threads)


def detect_shard(
    settings: Settings,
    results: Path,
    *,
    shard_list: Path,
    done: Path,
    threads: int,
    ends: float | None = None,
    open_workers: Callable[[int, float], WorkerPool] = Workers,
    load_generator: Callable[[SamSettings, Device, int], Generator] = load_generator,
) -> None:
    """Detect chunks of a plan until none is left: those of a shard, then those that other jobs have not come to.

    Without a chunk that is left, no device is leased.

    Args:
        settings: the configuration.
        results: the folder of the results.
        shard_list: the list of the shard's images.
        done: the file to write when the shard has been carried out.
        threads: CPU threads that this job may use.
        ends: when the time of the job is over, by `time.time`; None if it has as much as it needs.
        open_workers: returns a pool of that many workers, a context manager, whose calls end after so
            many seconds.
        load_generator: gives a mask generator on a device with so many threads.

    Raises:
        TableError: the list, or the table of chunks, is damaged.
        PlanError: the model key differs from the plan's.
        DeviceError: the device fails, or there is none and the configuration needs one.
        OutOfTimeError: chunks are left, and neither time nor another job that would draw them.
        Stopped: on a signal, after writing the results so far.
    """
    shard, plan = shard_list.stem, plan_of_shard(shard_list)
    store, host = store_folder(results, plan.model_key), socket.gethostname()
    record: dict[str, object] = {"host": host}
    with Claims(chunks_folder(results, plan.id), shard) as claims:
        work = Work(results, plan, shard, claims, ends)
        if work.is_left():
            _explain_store(settings, results, store)
            recorder = Recorder(store, plan.id, shard, settings.shard.flush_seconds)
            failed = failed_devices_folder(results, plan.id, host)
            precision = settings.sam.precision
            beat = beat_file(results, plan.id, shard)
            unfinished = UnfinishedImages(recorder.store, settings.shard.flush_seconds)
            with (
                job_device(settings.device, settings.devices, failed, precision) as device,
                Heartbeat(beat, recorder, unfinished, device.name or "cpu", claims.job),
            ):
                use = _detect(
                    settings,
                    work,
                    device,
                    threads,
                    recorder,
                    unfinished,
                    open_workers,
                    load_generator,
                )
            record |= {
                "device": device.name,
                "detected": recorder.detected,
                "failed": recorder.failed,
                "seconds": round(use.total, 1),
                "seconds_writing": round(recorder.seconds_writing, 1),
                "versions": installed_versions(),
                "device_idle": None if use.idle is None else round(use.idle, 3),
            }
        else:
            logger.info("shard %s: nothing is left to detect: other jobs have it or had it", shard)
    record |= {"images": work.images, "chunks": work.chunks, "of_other_shards": work.of_others}
    write_atomic(done, json.dumps(record) + "\n")
    if work.out_of_time:
        _leave(results, plan, work, done)


def _leave(results: Path, plan: Plan, work: Work, done: Path) -> None:
    """Leave to other jobs what there was no time for.

    This job's record is there already, so that of two that end at the same time at least one knows of the other.

    Raises:
        OutOfTimeError: all others have ended, too.
    """
    left = counted(work.images_left(), "image")
    if all(done_file(results, plan.id, shard.name).exists() for shard in plan.shards):
        done.unlink()
        raise OutOfTimeError(
            f"the time of this job is over, {left} of the plan are left, and no other job is at work: this one has to "
            "be started again, and goes on there; with a larger shard.max_hours jobs ask for more time"
        )
    logger.info("the time of this job is over: %s are left to other jobs", left)


def _explain_store(settings: Settings, results: Path, store: Path) -> None:
    """Write next to a store's segments what its model key stands for.

    Raises:
        PlanError: the configuration now has another model key.
    """
    explained = present_model_settings(settings, results)
    if model_key(explained) != store.name:
        raise PlanError(
            "the configuration or the weights changed after planning; run the workflow again"
        )
    if not store_settings_file(store).exists():
        explained = {"model": settings.sam.model, **explained}
        write_atomic(store_settings_file(store), json.dumps(explained, indent=1) + "\n")


def _detect(
    settings: Settings,
    work: Work,
    device: Device,
    threads: int,
    recorder: Recorder,
    unfinished: UnfinishedImages,
    open_workers: Callable[[int, float], WorkerPool],
    load_generator: Callable[[SamSettings, Device, int], Generator],
) -> DeviceUse:
    signals = StopSignals()
    wait_passively_in_a_crowd()
    if unusable := unusable_threads(threads):
        logger.warning("%s", unusable)
    root = collection_root(settings.images)
    try:
        count = min(MAXIMUM_WORKERS, max(1, threads - 1))
        with open_workers(count, settings.image.timeout_seconds) as workers:
            use, supply = DeviceUse(), Supply(count)
            generator = None
            # in the end, look once more whether another job has given up chunks meanwhile
            while work.prepare():
                ahead = read_images(settings, root, work.next, workers)
                generator = generator or _load(settings.sam, device, threads, load_generator)
                behind = find_masks(settings, ahead, generator, device, use, workers, unfinished)
                for detection in measure_images(settings, behind, workers):
                    with signals.critical():
                        if detection is None:
                            recorder.flush_if_due()
                        else:
                            recorder.record(detection, device)
                            work.recorded(detection.planned)
                            supply.note(detection.ledger, use.busy)
                        if recorder.is_written:
                            work.written()
                with signals.critical():
                    recorder.flush()
                    work.written()
        with signals.critical():
            recorder.finish()
        if use.idle is not None:
            logger.info(
                "the device had work for %.1f s of %.1f s: %.1f %% idle",
                use.busy,
                use.total,
                100 * use.idle,
            )
        return use
    except Stopped as stopped:
        logger.warning("stopped by %s; what is finished is kept", stopped)
        raise
    finally:
        with signals.critical():  # a second signal must not interrupt this
            unfinished.flush()
            recorder.flush()
            work.written()


def _load(
    settings: SamSettings,
    device: Device,
    threads: int,
    load_generator: Callable[[SamSettings, Device, int], Generator],
) -> Generator:
    try:
        return load_generator(settings, device, threads)
    except Exception as error:
        if is_device_failure(error) or is_out_of_device_memory(error):
            raise device_error(device, error) from error
        raise
