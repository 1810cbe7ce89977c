"""The stages that an image passes through: read, find masks, measure.

Each stage is a generator of detections. Bounded queues connect them: worker processes read images
ahead and measure masks behind, while this process drives the device. An error affects only the image
that it happened to, unless the device itself failed. Images go on as they are ready, so one that takes long
holds up no other. Where nothing is ready for a second, a stage yields None, so that what is finished can
reach the disk meanwhile.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from samfleet.config.settings import Settings
from samfleet.detection.measurement import measure_found
from samfleet.detection.pictures import FilePicture
from samfleet.detection.row import CandidateRow
from samfleet.detection.workers import Task, WorkerCrash, WorkerTimeout
from samfleet.detection.writing import RecordingError
from samfleet.devices.job_device import device_error
from samfleet.devices.use import DeviceUse
from samfleet.devices.visible import Device
from samfleet.errors import UserError
from samfleet.faults import is_device_failure, is_out_of_memory
from samfleet.images.reading import (
    Failure,
    OpenedImage,
    ReadImage,
    Wish,
    failure_of,
    open_image,
    path_of,
    read_image,
)
from samfleet.plan.shards import ShardImage
from samfleet.sam.masks.records import FoundMasks
from samfleet.sam.tiles import PixelSizeError, Tiles, are_configured, configured_tiles
from samfleet.statuses import Status
from samfleet.wording import counted

logger = logging.getLogger(__name__)

_READING = "reading it"
_SPARE = 2  # images that wait in a queue, besides those that workers are busy with
_TICK_SECONDS = 1.0
_NAMED_AFTER = 0.1  # of the time that an image may take
_LARGE_PIXELS = 1 << 28  # from which on an image may take longer, in proportion
_BYTES_A_PIXEL = 8  # of a large file


class Generator(Protocol):
    """What this module needs of a mask generator; ``samfleet.sam.generator`` has the real one."""

    points_per_batch: int
    seconds: dict[str, float]
    device_seconds: float | None
    tiles: Tiles | None
    following: Callable[[], np.ndarray | None]

    def why_not_shown(self, height: int, width: int) -> str:
        """Why SAM cannot be shown an image of this size, in words; empty if it can."""

    def find(
        self,
        image: np.ndarray | FilePicture,
        points_per_batch: int,
        finished: MutableMapping[Any, Any] | None = None,
    ) -> FoundMasks:
        """The masks of an image; what is found in tiles is added to those that are finished."""


class WorkerPool(Protocol):
    """What this module needs of a pool of workers; ``samfleet.detection.workers`` has the real one."""

    count: int

    def submit(self, function: Any, *arguments: Any, times: float = 1) -> Task:
        """Start a call, which may take so many times as long as others."""

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
    read: ReadImage | OpenedImage | Failure
    found: FoundMasks | None = None
    measured: tuple[dict[str, Any], list[CandidateRow]] = field(default_factory=lambda: ({}, []))
    ledger: dict[str, Any] = field(default_factory=dict)

    def fail(self, error: Exception, no_memory: str = "") -> None:
        """Note why this image could not be finished; an unforeseen error is logged with its traceback."""
        self.read = failure_of(error, self.read.image_id, no_memory=no_memory)
        if self.read.status == Status.ERROR and not isinstance(error, UserError):
            logger.error("%s", self.planned.name, exc_info=error)


class _Queue:
    """Images that workers are busy with.

    Args:
        doing: what they do, for the log, such as "reading it".
        workers: the pool.
    """

    def __init__(self, doing: str, workers: WorkerPool):
        self._doing, self._workers = doing, workers
        self._tasks: deque[tuple[Detection, Waiting]] = deque()
        self._named: set[str] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def ready(self) -> int:
        """How many images wait to be taken."""
        return sum(waiting.task.future.done() for _, waiting in self._tasks)

    def add(self, detection: Detection, times: float, function: Any, *arguments: Any) -> None:
        """Let a worker call a function for an image, which may take so many times as long as others."""
        task = self._workers.submit(function, *arguments, times=times)
        self._tasks.append((detection, Waiting(self._workers, task, self._doing)))

    def take(self, patience: float = _TICK_SECONDS) -> "tuple[Detection, Waiting] | None":
        """Take the first image that is ready, or none if no image is within so many seconds."""
        wait([waiting.task.future for _, waiting in self._tasks], patience, FIRST_COMPLETED)
        for position, (detection, waiting) in enumerate(self._tasks):
            if waiting.task.future.done():
                del self._tasks[position]
                return detection, waiting
            self._name_if_late(detection, waiting)
        return None

    def _name_if_late(self, detection: Detection, waiting: "Waiting") -> None:
        name, seconds, limit = detection.planned.name, waiting.task.seconds, waiting.task.limit
        if seconds >= _NAMED_AFTER * limit and name not in self._named:
            self._named.add(name)
            logger.warning(
                "%s: %s takes more than %.3g s; after %g s (image.timeout_seconds) it is given up",
                name,
                self._doing,
                seconds,
                limit,
            )


class _Lost(Exception):
    """A worker gave no result for an image."""


@dataclass(frozen=True)
class Waiting:
    """A call in a worker, in words.

    Attributes:
        workers: the pool.
        task: the call.
        doing: what it does, such as "reading it".
    """

    workers: WorkerPool
    task: Task
    doing: str

    def result(self) -> Any:
        """What the call gives.

        Raises:
            _Lost: it crashed its process or took too long; the message says so.
        """
        try:
            return self.workers.result(self.task)
        except WorkerCrash as crash:
            raise _Lost(f"{self.doing}: {crash}") from crash
        except WorkerTimeout as late:
            reason = f"{self.doing} took longer than {self.task.limit:g} s (image.timeout_seconds)"
            raise _Lost(reason) from late


def _times(pixels: float) -> float:
    """How many times as long as others an image may take, since it has so many pixels."""
    return max(1.0, pixels / _LARGE_PIXELS)


class ReadAhead:
    """Images that were read, of which the next one can be seen before it is taken.

    Args:
        detections: the images; None where none was ready for a second.
        is_ready: whether the next one would be there at once.
    """

    def __init__(
        self,
        detections: Iterable[Detection | None],
        is_ready: Callable[[], bool] = lambda: False,
    ) -> None:
        self._detections, self._is_ready = iter(detections), is_ready
        self._early: deque[Detection | None] = deque()
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[Detection | None]:
        while self._early or self._take():
            yield self._early.popleft()

    def _take(self) -> bool:
        if self._error is not None:
            raise self._error
        self._early.extend(islice(self._detections, 1))
        return bool(self._early)

    def following(self) -> np.ndarray | None:
        """What SAM sees of the next image, if it is read and in memory: (height, width, 3) uint8."""
        if not self._early and self._is_ready():
            try:
                self._take()
            except Exception as error:  # which is not that of the image that the device is at
                self._error = error
        read = self._early[0].read if self._early and self._early[0] is not None else None
        return read.rgb if isinstance(read, ReadImage) else None


def read_images(
    settings: Settings,
    root: Path,
    following: Callable[[bool], ShardImage | None],
    workers: WorkerPool,
) -> ReadAhead:
    """Read images in workers, ahead of what is consumed; the first ones are started at once.

    Args:
        settings: the configuration.
        root: the folder of the images.
        following: gives the next image, or None; called with whether the device will have to wait without it.
        workers: the pool.
    """
    tasks = _Queue(_READING, workers)
    read = open_image if are_configured(settings.sam) else read_image
    most = workers.count + _SPARE

    def start(count: int, hungry: bool = False) -> None:
        for _ in range(count):
            if (planned := following(hungry or not tasks)) is None:
                return
            unread = Failure(Status.PENDING, "", True, planned.image_id)
            path = path_of(root, planned.path)
            detection = Detection(planned, unread)
            wish = _wish(root, planned)
            times = _times(planned.size / _BYTES_A_PIXEL)
            tasks.add(detection, times, read, path, settings.image, settings.display, wish)

    start(most)
    return ReadAhead(_finish_reading(tasks, start, most), lambda: tasks.ready() > 0)


def _wish(root: Path, planned: ShardImage) -> Wish:
    channels = tuple((name, path_of(root, path)) for name, path in planned.channels)
    return Wish(
        planned.plane,
        planned.image_id,
        planned.size,
        planned.mtime_ns,
        channels,
        planned.companions,
    )


def _finish_reading(
    tasks: _Queue, start: Callable[[int, bool], None], most: int
) -> Iterator[Detection | None]:
    while tasks:
        began = time.perf_counter()
        late = not tasks.ready()
        while (ready := tasks.take()) is None:
            if len(tasks) < most:  # what hangs must not keep the device from other images
                start(1, True)
            yield None
        detection, waiting_task = ready
        # no further ahead than the device needs, since another job could have what waits here
        waiting = tasks.ready()
        if late or waiting < _SPARE:
            start(most - len(tasks) if late else 1, late or not waiting)
        try:
            detection.read = waiting_task.result()
        except _Lost as lost:
            identity = detection.planned.image_id
            detection.read = Failure(Status.UNREADABLE, str(lost), True, identity)
        except Exception as error:
            detection.fail(error)
        detection.ledger = {
            "seconds_reading": round(detection.read.seconds, 4),
            "seconds_waiting": round(time.perf_counter() - began, 4),
        }
        yield detection


class Unfinished(Protocol):
    """What this module needs to keep tiles of unfinished images; `samfleet.detection.unfinished` has it."""

    def begin(self, image_id: str, tiles: int) -> MutableMapping[Any, Any]:
        """The finished tiles of the next image, whose first look has so many."""

    def end(self) -> None:
        """Its masks are found."""


def find_masks(
    settings: Settings,
    detections: ReadAhead,
    generator: Generator,
    device: Device,
    use: DeviceUse,
    workers: WorkerPool,
    unfinished: Unfinished,
) -> Iterator[Detection | None]:
    """Find the masks of each image that was read.

    Raises:
        DeviceError: the device failed.
        RecordingError: tiles that are finished cannot be written.
    """
    generator.following = detections.following
    for detection in detections:
        if detection is None:
            yield None
            continue
        if not isinstance(detection.read, Failure):
            detection.read = _showable(settings, detection.read, generator)
        if not isinstance(detection.read, Failure):
            try:
                image = _shown(detection.read, workers)
                with use.working(generator):
                    layout = generator.tiles and generator.tiles.lay(detection.read.size)
                    count = len(layout.boxes) if layout else 0
                    finished = unfinished.begin(detection.read.image_id, count)
                    detection.found = _find(generator, detection, image, finished)
                    unfinished.end()
                _note_tiles(detection, detection.found)
                for stage, seconds in generator.seconds.items():
                    detection.ledger[f"seconds_{stage}"] = round(seconds, 4)
            except RecordingError:
                raise
            except _Lost as lost:
                identity = detection.read.image_id
                detection.read = Failure(Status.UNREADABLE, str(lost), True, identity)
            except Exception as error:
                if is_device_failure(error):
                    raise device_error(device, error) from error
                detection.fail(error, str(error) or "no memory to find its masks")
        yield detection


def _showable(
    settings: Settings, read: ReadImage | OpenedImage, generator: Generator
) -> ReadImage | OpenedImage | Failure:
    """An image that was read, for which the generator is ready then, or why SAM cannot be shown it."""
    height, width = read.size
    try:
        size = settings.image.pixel_size_um or read.pixel_size_um
        generator.tiles = tiles = configured_tiles(settings.sam, size)
    except PixelSizeError as error:
        return Failure(Status.UNSUPPORTED, str(error), False, read.image_id)
    if reason := generator.why_not_shown(height, width):
        return Failure(Status.UNSUPPORTED, reason, False, read.image_id)
    if isinstance(read, OpenedImage) and tiles is not None:
        x0, y0, x1, y1 = tiles.lay(read.size).boxes[0]
        if (x1 - x0) * (y1 - y0) > settings.image.max_pixels:
            reason = f"a tile of {x1 - x0} x {y1 - y0} pixels exceeds image.max_pixels"
            reason += f" ({settings.image.max_pixels})"
            return Failure(Status.TOO_LARGE, reason, False, read.image_id)
    return read


def _shown(read: ReadImage | OpenedImage, workers: WorkerPool) -> np.ndarray | FilePicture:
    """What SAM sees of an image, of which workers read parts if it stays in its file."""
    if isinstance(read, ReadImage):
        return read.rgb

    def call(function: Callable, *arguments: object) -> Callable[[], Any]:
        task = workers.submit(function, *arguments)
        return Waiting(workers, task, _READING).result

    return FilePicture(read, call)


def _note_tiles(detection: Detection, found: FoundMasks) -> None:
    """What the ledger says of tiles, and a warning if objects are larger than what tiles share."""
    if (tiles := found.tiles) is None:
        return
    detection.ledger |= {
        "tile_size": tiles.size,
        "tiles": tiles.done,
        "tiles_left_out": tiles.left_out,
        "objects_cut": tiles.cut,
    }
    if tiles.cut:
        logger.warning(
            "%s: about %s cut by every tile and not found in the whole image either: "
            "larger than what tiles of %d pixels share; raise sam.tile_overlap or the size of tiles",
            detection.planned.name,
            "1 object is" if tiles.cut == 1 else f"{tiles.cut} objects are",
            tiles.size,
        )


def _find(
    generator: Generator,
    detection: Detection,
    image: np.ndarray | FilePicture,
    finished: MutableMapping[Any, Any],
) -> FoundMasks:
    """The masks of an image; if memory runs out, with half as many prompts at a time, down to one.

    Raises:
        MemoryError: memory does not suffice for one prompt, or for the encoder; the message says which.
    """
    import torch

    points_per_batch = generator.points_per_batch
    while True:
        detection.ledger["points_per_batch"] = points_per_batch
        try:
            return generator.find(image, points_per_batch, finished)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if points_per_batch == 1:
                raise MemoryError("out of memory even with one prompt at a time") from error
        # after the handler, not in it: there the traceback would still hold the tensors
        torch.cuda.empty_cache()
        points_per_batch //= 2
        logger.warning(
            "%s: out of memory; trying again with %s at a time",
            detection.planned.name,
            counted(points_per_batch, "prompt"),
        )


def measure_images(
    settings: Settings, detections: Iterable[Detection | None], workers: WorkerPool
) -> Iterator[Detection | None]:
    """Make records of masks and measure them in workers; only a few images wait at a time."""
    only_largest_part = settings.fluorescence.largest_part
    tasks = _Queue("measuring its masks", workers)
    for detection in detections:
        if detection is not None and not isinstance(detection.read, Failure):
            read = detection.read
            image = (read.windows, read.is_color, detection.found, only_largest_part)
            times = _times(math.prod(read.size))
            tasks.add(detection, times, measure_found, *image)
        else:
            yield detection
        while tasks:
            full = len(tasks) > workers.count + _SPARE
            began = time.perf_counter()
            if (ready := tasks.take(_TICK_SECONDS if full else 0)) is not None:
                finished = _finish_measuring(*ready)
                waited = finished.ledger["seconds_waiting"] + time.perf_counter() - began
                finished.ledger["seconds_waiting"] = round(waited, 4)
                yield finished
            elif full:
                yield None
            else:
                break
    while tasks:
        ready = tasks.take()
        yield None if ready is None else _finish_measuring(*ready)


def _finish_measuring(detection: Detection, waiting: Waiting) -> Detection:
    try:
        detection.measured, seconds = waiting.result()
        detection.ledger["seconds_measuring"] = round(seconds, 4)
    except _Lost as lost:
        identity = detection.read.image_id
        detection.read = Failure(Status.ERROR, str(lost), True, identity)
    except Exception as error:
        detection.fail(error, "no memory to measure its masks")
    return detection
