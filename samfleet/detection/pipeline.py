"""The stages that an image passes through: read, find masks, measure.

Each stage is a generator of detections. Bounded queues connect them: worker processes read images
ahead and measure masks behind, while this process drives the device. An error affects only the image
that it happened to, unless the device itself failed.
"""

import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from samfleet.config.settings import Settings
from samfleet.detection.measurement import measure_found
from samfleet.detection.row import CandidateRow
from samfleet.detection.workers import Task, WorkerCrash
from samfleet.devices.job_device import device_error, is_device_failure, is_out_of_memory
from samfleet.devices.use import DeviceUse
from samfleet.devices.visible import Device
from samfleet.errors import UserError
from samfleet.files import escape_name
from samfleet.images.reading import Failure, ReadImage, failure_of, path_of, read_image
from samfleet.plan.shards import ShardImage
from samfleet.sam.masks.records import FoundMasks
from samfleet.statuses import Status
from samfleet.wording import counted

logger = logging.getLogger(__name__)

_SPARE = 2  # images that wait in a queue, besides those that workers are busy with


class Generator(Protocol):
    """What this module needs of a mask generator; ``samfleet.sam.generator`` has the real one."""

    points_per_batch: int
    seconds: dict[str, float]

    def why_not_shown(self, height: int, width: int) -> str:
        """Why SAM cannot be shown an image of this size, in words; empty if it can."""

    def find(self, rgb: np.ndarray, points_per_batch: int) -> FoundMasks:
        """The masks of an image."""


class WorkerPool(Protocol):
    """What this module needs of a pool of workers; ``samfleet.detection.workers`` has the real one."""

    count: int

    def submit(self, function: Any, *arguments: Any) -> Task:
        """Start a call."""

    def result(self, task: Task) -> Any:
        """Wait for a call."""

    def __enter__(self) -> Self:
        """Return the pool itself."""

    def __exit__(self, *_: object) -> None:
        """Stop the workers."""


@dataclass
class Detection:
    """An image on its way through the stages.

    Attributes:
        planned: the image as the shard lists it.
        read: what was read, or the failure of any stage.
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
        """Note why this image could not be finished; an unforeseen error is logged with its traceback."""
        self.read = failure_of(error, self.read.image_id, no_memory=no_memory)
        if self.read.status == Status.ERROR and not isinstance(error, UserError):
            logger.error("%s", escape_name(self.planned.path), exc_info=error)


def read_images(
    settings: Settings, root: Path, pending: Iterable[ShardImage], workers: WorkerPool
) -> Iterator[Detection]:
    """Read images in workers, ahead of what is consumed; the first ones are started at once."""

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
    """Find the masks of each image that was read.

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
    """The masks of an image; if memory runs out, with half as many prompts at a time, down to one.

    Raises:
        MemoryError: memory does not suffice for one prompt.
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
        # after the handler, not in it: there the traceback would still hold the tensors
        torch.cuda.empty_cache()
        points_per_batch //= 2
        logger.warning(
            "%s: out of memory; trying again with %s at a time",
            escape_name(detection.planned.path),
            counted(points_per_batch, "prompt"),
        )


def measure_images(
    detections: Iterable[Detection], workers: WorkerPool, only_largest_part: bool
) -> Iterator[Detection]:
    """Make records of masks and measure them in workers; only a few images wait at a time."""
    tasks: deque[tuple[Detection, Task | None]] = deque()
    for detection in detections:
        task = None
        if isinstance(detection.read, ReadImage):
            read = detection.read
            image = (read.pixels, read.is_color, detection.found, only_largest_part)
            task = workers.submit(measure_found, *image)
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
