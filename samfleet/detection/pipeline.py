"""The stages that an image passes through: read, find masks, measure.

Each stage is a generator over detections, and bounded queues join them: worker processes read ahead
and measure behind, while this process drives the device. An error costs the image that it happened
to and no other, unless the device itself failed.
"""

import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from samfleet.config.settings import Settings
from samfleet.detection.measurement import measure_found
from samfleet.detection.row import CandidateRow
from samfleet.detection.workers import Task, WorkerCrash
from samfleet.devices.job_device import device_error, is_device_failure, is_out_of_memory
from samfleet.devices.use import DeviceUse
from samfleet.devices.visible import Device
from samfleet.files import escape_name
from samfleet.images.reading import Failure, ReadImage, failure_of, path_of, read_image
from samfleet.plan.shards import ShardImage
from samfleet.sam.masks.records import FoundMasks
from samfleet.statuses import Status

logger = logging.getLogger(__name__)

_SPARE = 2  # images that queue beside those that the workers are at


class Generator(Protocol):
    """What a mask generator does here; ``samfleet.sam.generator`` has the real one."""

    points_per_batch: int
    seconds: dict[str, float]

    def why_not_shown(self, height: int, width: int) -> str:
        """Why SAM cannot be shown an image of this size, in words; empty when it can."""

    def find(self, rgb: np.ndarray, points_per_batch: int) -> FoundMasks:
        """The masks of an image."""


class WorkerPool(Protocol):
    """What a pool of workers does here; ``samfleet.detection.workers`` has the real one."""

    count: int

    def submit(self, function: Any, *arguments: Any) -> Task:
        """Start a call."""

    def result(self, task: Task) -> Any:
        """Wait for a call."""


@dataclass
class Detection:
    """An image on its way through the stages.

    Attributes:
        planned: what the shard asks for.
        read: what came of reading it, or the failure of any stage.
        found: the masks that SAM found.
        measured: the measured columns of the image, and a row for each of its candidates.
        ledger: the ledger's columns that this image fills.
    """

    planned: ShardImage
    read: ReadImage | Failure
    found: FoundMasks | None = None
    measured: tuple[dict[str, Any], list[CandidateRow]] = field(default_factory=lambda: ({}, []))
    ledger: dict[str, Any] = field(default_factory=dict)

    def fail(self, error: Exception, no_memory: str = "") -> None:
        """Note what kept this image from being finished; what is not foreseen is logged in full."""
        self.read = failure_of(error, self.read.image_id, no_memory=no_memory)
        if self.read.status == Status.ERROR:
            logger.error("%s", escape_name(self.planned.path), exc_info=error)


def read_images(
    settings: Settings, root: Path, pending: Iterable[ShardImage], workers: WorkerPool
) -> Iterator[Detection]:
    """Read images in workers, some ahead of what is asked for; the first ones from now on."""

    def start(planned: ShardImage) -> tuple[ShardImage, Task]:
        path = path_of(root, planned.path)
        return planned, workers.submit(read_image, path, settings.image, settings.display)

    waiting = iter(pending)
    tasks = deque(map(start, itertools.islice(waiting, workers.count + _SPARE)))
    return _finish_reading(tasks, map(start, waiting), workers)


def _finish_reading(
    tasks: deque[tuple[ShardImage, Task]],
    later: Iterator[tuple[ShardImage, Task]],
    workers: WorkerPool,
) -> Iterator[Detection]:
    while tasks:
        planned, task = tasks.popleft()
        tasks.extend(itertools.islice(later, 1))
        start = time.perf_counter()
        detection = Detection(planned, Failure(Status.PENDING, "", True, planned.image_id))
        try:
            detection.read = workers.result(task)
        except WorkerCrash as crash:
            reason = str(crash)
            detection.read = Failure(Status.UNREADABLE, reason, True, planned.image_id)
        except Exception as error:
            detection.fail(error)
        detection.ledger = {
            "seconds_reading": round(detection.read.seconds, 4),
            "seconds_waiting": round(time.perf_counter() - start, 4),
        }
        yield detection


def find_masks(
    detections: Iterable[Detection], generator: Generator, device: Device, use: DeviceUse
) -> Iterator[Detection]:
    """Run SAM on each image that was read.

    Raises:
        DeviceError: the device failed.
    """
    for detection in detections:
        if isinstance(detection.read, ReadImage):
            height, width = detection.read.rgb.shape[:2]
            if reason := generator.why_not_shown(height, width):
                identity = detection.read.image_id
                detection.read = Failure(Status.UNSUPPORTED, reason, False, identity)
        if isinstance(detection.read, ReadImage):
            try:
                with use.working():
                    detection.found = _find(generator, detection, detection.read.rgb)
                for stage, seconds in generator.seconds.items():
                    detection.ledger[f"seconds_{stage}"] = round(seconds, 4)
            except Exception as error:
                if is_device_failure(error):
                    raise device_error(device, error) from error
                detection.fail(error, "out of memory even with one prompt at a time")
        yield detection


def _find(generator: Generator, detection: Detection, rgb: np.ndarray) -> FoundMasks:
    """The masks of an image; out of memory, with half as many prompts at a time, down to one.

    Raises:
        MemoryError: there is not enough memory for one.
    """
    import torch

    points_per_batch = generator.points_per_batch
    while True:
        detection.ledger["points_per_batch"] = points_per_batch
        try:
            return generator.find(rgb, points_per_batch=points_per_batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if points_per_batch == 1:
                raise MemoryError from error
        # only here, behind the handler, has the traceback let go of the tensors
        torch.cuda.empty_cache()
        points_per_batch //= 2
        logger.warning(
            "%s: out of memory; again with %d prompts at a time",
            escape_name(detection.planned.path),
            points_per_batch,
        )


def measure_images(detections: Iterable[Detection], workers: WorkerPool) -> Iterator[Detection]:
    """Make records of masks and measure them in workers; few images wait for it at a time."""
    tasks: deque[tuple[Detection, Task | None]] = deque()
    for detection in detections:
        task = None
        if isinstance(detection.read, ReadImage):
            read = detection.read
            task = workers.submit(measure_found, read.pixels, read.is_color, detection.found)
        tasks.append((detection, task))
        while tasks and (len(tasks) > workers.count + _SPARE or _is_ready(tasks[0][1])):
            start = time.perf_counter()
            finished = _finish_measuring(*tasks.popleft(), workers)
            waited = finished.ledger["seconds_waiting"] + time.perf_counter() - start
            finished.ledger["seconds_waiting"] = round(waited, 4)
            yield finished
    while tasks:
        yield _finish_measuring(*tasks.popleft(), workers)


def _is_ready(task: Task | None) -> bool:
    return task is None or task.future.done()


def _finish_measuring(detection: Detection, task: Task | None, workers: WorkerPool) -> Detection:
    if task is not None:
        try:
            detection.measured, seconds = workers.result(task)
            detection.ledger["seconds_measuring"] = round(seconds, 4)
        except Exception as error:
            detection.fail(error, "no memory to measure its masks")
    return detection
