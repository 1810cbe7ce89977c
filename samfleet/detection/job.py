"""The work of the rule `detect`: one shard on one device, results into the store as they come.

The stages are generators over the shard's images, joined by bounded queues: worker processes
read ahead, and make records of masks and measure them behind, while this process drives the device
and writes. torch is imported only after a device has been leased and CUDA_VISIBLE_DEVICES is set,
and in this process alone.
"""

import itertools
import json
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from samfleet.detection.malloc import keep_freed_memory
from samfleet.detection.measurement import measure_found
from samfleet.detection.recording import Recorder
from samfleet.detection.stopping import Stopped, StopSignals
from samfleet.detection.workers import Task, WorkerCrash, Workers
from samfleet.devices.lease import lease_device, lease_folder
from samfleet.devices.use import DeviceUse
from samfleet.devices.visible import Device, gpu_exists, visible_devices
from samfleet.errors import UserError
from samfleet.files import TableError, escape_name, write_atomic
from samfleet.images.formats import ImageError
from samfleet.images.reading import Failure, ReadImage, path_of, read_image
from samfleet.plan.record import plan_of_shard
from samfleet.plan.shards import ShardImage, read_shard
from samfleet.sam.masks.records import FoundMasks
from samfleet.sam.model_key import present_model_key
from samfleet.sam.weights import configured_weights
from samfleet.statuses import CHANGED, ERROR, OK, OUT_OF_MEMORY, UNREADABLE, UNSUPPORTED
from samfleet.store.segments import image_rows, reason_text, stored_images

if TYPE_CHECKING:
    from samfleet.sam.generator import MaskGenerator

logger = logging.getLogger(__name__)

_CPU = Device("", "")
# Measuring a hundred masks of a megapixel takes a second, in which a fast GPU finds those of many.
_MAXIMUM_WORKERS = 16
_SPARE = 2  # images that queue beside those that the workers are at


class PlanError(UserError):
    """The plan no longer fits; the message says what to do."""


class DeviceError(UserError):
    """A device cannot be used; the message names it and says what to do."""


@dataclass
class Detection:
    """An image on its way through the stages.

    Attributes:
        planned: what the shard asks for.
        read: what came of reading it, or the failure of any stage.
        found: the masks that SAM found.
        measured: columns of the image and of its candidates, as in `samfleet.store.segments`.
        ledger: the ledger's columns that this image fills.
    """

    planned: ShardImage
    read: ReadImage | Failure
    found: FoundMasks | None = None
    measured: tuple[dict, list[dict]] = ({}, ())
    ledger: dict[str, object] = field(default_factory=dict)


def detect_shard(
    config: dict,
    results: Path,
    *,
    root: Path,
    shard_list: Path,
    done: Path,
    store: Path,
    threads: int,
) -> None:
    """Detect every image of a shard that the store does not hold yet.

    Args:
        config: the completed configuration.
        results: the folder of the results.
        root: the folder that the images' paths are relative to.
        shard_list: the list of the shard's images, in a folder named after the plan.
        done: the record to write when the shard is carried out.
        store: the store's folder of the model key.
        threads: CPU threads that this job may use.

    Raises:
        TableError: the list is damaged.
        PlanError: the model key is no longer the plan's.
        DeviceError: the device fails, or `device: cuda` has none.
        Stopped: on a signal, after the results so far were written.
    """
    images = list(read_shard(shard_list))
    planned = {shard.name: shard.images for shard in plan_of_shard(shard_list).shards}
    if len(images) != planned.get(shard_list.stem):
        raise TableError(shard_list, f"{len(images)} of {planned.get(shard_list.stem)} images")
    known = stored_images(store)
    pending = [i for i in images if i.image_id not in known or known[i.image_id].status != OK]
    logger.info("%s: %d images, %d to detect", shard_list, len(images), len(pending))
    record: dict[str, object] = {"images": len(images), "host": socket.gethostname()}
    if pending:
        if present_model_key(config, results) != store.name:
            raise PlanError(
                "the configuration or the weights changed after planning; run snakemake again"
            )
        plan, shard = shard_list.parent.name, shard_list.stem
        with _lease(config, shard_list.parent) as device:
            recorder = Recorder(results, store, plan, shard, config["shard"]["flush_seconds"])
            use = _detect(config, root, pending, device, threads, recorder, shard_list.parent)
        record |= {"device": device.name, "detected": recorder.detected, "failed": recorder.failed}
        record |= {
            "seconds": round(use.total, 1),
            "device_idle": None if use.idle is None else round(use.idle, 3),
        }
    write_atomic(done, json.dumps(record) + "\n")


def _lease(config: dict, plan_folder: Path) -> AbstractContextManager[Device]:
    """A lease of a visible device that has not failed in this plan; the CPU needs none."""
    devices = [] if config["device"] == "cpu" else visible_devices(config["devices"])
    if not devices and config["device"] == "cuda":
        raise DeviceError(
            f"device: cuda is set, but {socket.gethostname()} shows no GPU "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'is not set')}); "
            "ask the scheduler for one, or set device: cpu"
        )
    if devices and config["device"] == "auto" and not config["devices"] and not gpu_exists():
        devices = []  # CUDA_VISIBLE_DEVICES names what is not there
    if not devices:
        if config["device"] == "auto":
            logger.warning("no GPU is visible: running on the CPU")
        return nullcontext(_CPU)
    failed = _failed_devices(plan_folder)
    return lease_device(
        devices, lease_folder(), lambda: {unquote(path.name) for path in failed.glob("*")}
    )


def _failed_devices(plan_folder: Path) -> Path:
    """The folder of this host with an empty file for each device that failed in the plan.

    Files are named as the lock, since every job may know its own device as 0.
    """
    return plan_folder / "failed_devices" / socket.gethostname()


def _detect(
    config: dict,
    root: Path,
    pending: list[ShardImage],
    device: Device,
    threads: int,
    recorder: Recorder,
    plan_folder: Path,
) -> DeviceUse:
    os.environ["CUDA_VISIBLE_DEVICES"] = device.name
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order that nvidia-smi numbers in
    signals = StopSignals()
    recorded: set[str] = set()
    try:
        with Workers(min(_MAXIMUM_WORKERS, max(1, threads - 1))) as workers:
            window = workers.count + _SPARE
            ahead = _read(config, root, pending, workers, window)
            generator = _load_generator(config, device, threads)
            use = DeviceUse()
            behind = _find_masks(ahead, generator, device, use)
            for detection in _measure(behind, workers, window):
                with signals.critical():
                    _record(detection, recorder, recorded, device)
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
    except DeviceError:
        write_atomic(_failed_devices(plan_folder) / quote(device.lock, safe=""), "")
        raise
    except Stopped as stopped:
        logger.warning("stopped by %s; what is finished is kept", stopped)
        raise
    finally:
        with signals.critical():  # a second signal must not cut off what the first one left
            recorder.flush()


def _read(
    config: dict, root: Path, pending: Iterable[ShardImage], workers: Workers, window: int
) -> Iterator[Detection]:
    """Read images in workers, `window` of them ahead; the first ones from now on."""

    def start(planned: ShardImage) -> tuple[ShardImage, Task]:
        path = path_of(root, planned.path)
        return planned, workers.submit(read_image, path, config["image"], config["display"])

    waiting = iter(pending)
    tasks = deque(map(start, itertools.islice(waiting, window)))
    return _finish_reading(tasks, map(start, waiting), workers)


def _finish_reading(
    tasks: deque[tuple[ShardImage, Task]],
    later: Iterator[tuple[ShardImage, Task]],
    workers: Workers,
) -> Iterator[Detection]:
    while tasks:
        planned, task = tasks.popleft()
        tasks.extend(itertools.islice(later, 1))
        start = time.perf_counter()
        try:
            read = workers.result(task)
        except WorkerCrash as crash:
            read = Failure(UNREADABLE, f"{crash}", True, planned.image_id)
        except Exception as error:
            logger.exception("%s", escape_name(planned.path))
            read = Failure(ERROR, f"{type(error).__name__}: {error}", True, planned.image_id)
        waited = time.perf_counter() - start
        ledger = {"seconds_reading": round(read.seconds, 4), "seconds_waiting": round(waited, 4)}
        yield Detection(planned, read, ledger=ledger)


def _load_generator(config: dict, device: Device, threads: int) -> "MaskGenerator":
    import torch

    from samfleet.sam.generator import MaskGenerator
    from samfleet.sam.model import load_model

    target = "cpu"
    if device is not _CPU and not device.pretended:
        if not torch.cuda.is_available():
            raise DeviceError(
                f"device {device.name} on {socket.gethostname()} cannot be used by torch "
                f"{torch.__version__}; compare its CUDA version with the driver's"
            )
        target = "cuda"
    else:
        keep_freed_memory()
        if config["sam"]["precision"] == "exact":
            # Among other numbers of threads a product is split where its last bits change.
            threads = 1 << (threads.bit_length() - 1)
    torch.set_num_threads(threads)
    sam = config["sam"]
    try:
        model = load_model(sam["model"], configured_weights(config), target)
    except Exception as error:
        if _is_device_failure(error) or isinstance(error, torch.cuda.OutOfMemoryError):
            raise _device_error(device, error) from error
        raise
    named = {"model", "checkpoint", "cache_folder", "precision", "points_per_batch"}
    parameters = {key: value for key, value in sam.items() if key not in named}
    return MaskGenerator(
        model, sam["precision"], points_per_batch=sam["points_per_batch"], **parameters
    )


def _find_masks(
    detections: Iterable[Detection], generator: "MaskGenerator", device: Device, use: DeviceUse
) -> Iterator[Detection]:
    """Run SAM on each image that was read."""
    import torch

    for detection in detections:
        if isinstance(detection.read, ReadImage):
            try:
                with use.working():
                    detection.found = _find(generator, detection)
                seconds = generator.seconds
                for stage in ("encoding", "decoding", "postprocessing"):
                    detection.ledger[f"seconds_{stage}"] = round(seconds.get(stage, 0.0), 4)
            except ImageError as error:
                failure = Failure(error.status, error.reason, False, detection.read.image_id)
                detection.read = failure
            except (torch.cuda.OutOfMemoryError, MemoryError):
                reason = "out of memory even with one prompt at a time"
                detection.read = Failure(OUT_OF_MEMORY, reason, True, detection.read.image_id)
            except Exception as error:
                if _is_device_failure(error):
                    raise _device_error(device, error) from error
                logger.exception("%s", escape_name(detection.planned.path))
                reason = f"{type(error).__name__}: {error}"
                detection.read = Failure(ERROR, reason, True, detection.read.image_id)
        yield detection


def _find(generator: "MaskGenerator", detection: Detection) -> FoundMasks:
    """The masks of an image; out of memory, with half as many prompts at a time, down to one.

    Raises:
        ImageError: "unsupported", SAM cannot be shown an image of this size.
    """
    import torch

    from samfleet.detection.frames import why_not_shown

    if reason := why_not_shown(
        *detection.read.rgb.shape[:2],
        generator.sam.image_encoder.img_size,
        generator.crop_n_layers,
        generator.crop_overlap_ratio,
    ):
        raise ImageError(UNSUPPORTED, reason)
    points_per_batch = generator.points_per_batch
    while True:
        detection.ledger["points_per_batch"] = points_per_batch
        try:
            return generator.find(detection.read.rgb, points_per_batch=points_per_batch)
        except torch.cuda.OutOfMemoryError:
            if points_per_batch == 1:
                raise
        # only here, behind the handler, has the traceback let go of the tensors
        torch.cuda.empty_cache()
        points_per_batch //= 2
        logger.warning(
            "%s: out of memory; again with %d prompts at a time",
            escape_name(detection.planned.path),
            points_per_batch,
        )


def _is_device_failure(error: Exception) -> bool:
    """Whether CUDA itself failed: nothing more can be computed in this process."""
    import torch

    fatal = getattr(torch, "AcceleratorError", ())
    return isinstance(error, fatal) or "CUDA error" in str(error)


def _device_error(device: Device, error: Exception) -> DeviceError:
    name = f"device {device.name or 'cpu'} on {socket.gethostname()}"
    return DeviceError(f"{name} failed: {error}")


def _measure(detections: Iterable[Detection], workers: Workers, window: int) -> Iterator[Detection]:
    """Make records of masks and measure them in workers; at most `window` images wait for it."""
    tasks: deque[tuple[Detection, Task | None]] = deque()
    for detection in detections:
        task = None
        if isinstance(detection.read, ReadImage):
            read = detection.read
            task = workers.submit(measure_found, read.pixels, read.is_color, detection.found)
        tasks.append((detection, task))
        while tasks and (len(tasks) > window or _is_ready(tasks[0][1])):
            start = time.perf_counter()
            finished = _finished_measuring(*tasks.popleft(), workers)
            waited = finished.ledger["seconds_waiting"] + time.perf_counter() - start
            finished.ledger["seconds_waiting"] = round(waited, 4)
            yield finished
    while tasks:
        yield _finished_measuring(*tasks.popleft(), workers)


def _is_ready(task: Task | None) -> bool:
    return task is None or task.future.done()


def _finished_measuring(detection: Detection, task: Task | None, workers: Workers) -> Detection:
    if task is not None:
        try:
            detection.measured, seconds = workers.result(task)
            detection.ledger["seconds_measuring"] = round(seconds, 4)
        except MemoryError:
            reason = "no memory to measure its masks"
            detection.read = Failure(OUT_OF_MEMORY, reason, True, detection.read.image_id)
        except Exception as error:
            logger.exception("%s", escape_name(detection.planned.path))
            reason = f"{type(error).__name__}: {error}"
            detection.read = Failure(ERROR, reason, True, detection.read.image_id)
    return detection


def _record(detection: Detection, recorder: Recorder, recorded: set[str], device: Device) -> None:
    """Write an image under the id of the bytes that were decoded, once."""
    planned, read = detection.planned, detection.read
    identity = read.image_id or planned.image_id
    ledger = detection.ledger | {"device": device.name or "cpu"}
    if identity not in recorded:
        recorded.add(identity)
        if isinstance(read, Failure):
            image = {"status": read.status, "transient": read.transient}
            image["reason"] = reason_text(read.reason)
            logger.warning("%s: %s: %s", escape_name(planned.path), read.status, image["reason"])
            rows = image_rows({"image_id": identity, **image}, [])
        else:
            image, candidates = detection.measured
            image = {
                "image_id": identity,
                "status": OK,
                "reason": "",
                "transient": False,
                "dtype": str(read.pixels.dtype),
                "is_color": read.is_color,
                "plane": read.plane,
                **image,
            }
            rows = image_rows(image, candidates)
        recorder.add(rows, ledger)
    if identity != planned.image_id:
        reason = f"its content changed after planning; {identity} was detected instead"
        logger.warning("%s: %s", escape_name(planned.path), reason)
        row = {"image_id": planned.image_id, "status": CHANGED, "reason": reason, "transient": True}
        recorder.add(image_rows(row, []), ledger)
