"""Write what was detected, at intervals, to segments of the store, with what the ledger says of it."""

import contextlib
import datetime
import itertools
import logging
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from samfleet.detection.pipeline import Detection
from samfleet.detection.row import ImageRow, image_rows
from samfleet.detection.writing import writing_results
from samfleet.devices.visible import Device
from samfleet.images.reading import Failure
from samfleet.statuses import Status
from samfleet.store.segments import SegmentWriter, reason_text
from samfleet.store.unfinished import remove_unfinished

logger = logging.getLogger(__name__)

_FLUSH_IMAGES = 50


class Recorder:
    """Records the images of one job.

    Args:
        store: the store's folder of the model key.
        plan: the plan's id.
        shard: the shard's name.
        flush_seconds: results reach the disk at least this often, and after every 50 images.

    Attributes:
        store: the store's folder.
        detected: number of images recorded as detected.
        failed: number of images recorded with another status.
        seconds_writing: how long it took to write them.
    """

    def __init__(self, store: Path, plan: str, shard: str, flush_seconds: float):
        self.detected = self.failed = 0
        self.seconds_writing = 0.0
        self._recorded: set[str] = set()
        self._finished: list[str] = []
        self.store = store
        self._segments = SegmentWriter(store, f"{plan}-{shard}-{secrets.token_hex(4)}")
        self._common = {"plan": plan, "shard": shard, "host": socket.gethostname()}
        self._unwritten = 0
        self._flush_seconds = flush_seconds
        self._flushed = time.monotonic()

    def add(self, rows: Iterable[dict], ledger: dict) -> None:
        """Record an image: its rows for the store, and the columns of the ledger that vary."""
        rows = iter(rows)
        first = next(rows)
        status = first["status"]
        self.detected += status == Status.OK
        self.failed += status != Status.OK
        detection = self._common | {"when": _now()} | ledger
        self._segments.add(row | detection for row in itertools.chain([first], rows))
        self._unwritten += 1
        self.flush_if_due()

    def record(self, detection: Detection, device: Device) -> None:
        """Record an image, once, under the id of the bytes that were decoded."""
        planned, read = detection.planned, detection.read
        identity = read.image_id or planned.image_id
        ledger = detection.ledger | {"device": device.name or "cpu"}
        if identity not in self._recorded:
            self._recorded.add(identity)
            if not (isinstance(read, Failure) and read.transient):
                self._finished.append(identity)
            self.add(_rows(detection, identity), ledger)
        if identity != planned.image_id:
            reason = f"its content changed after planning; {identity} was detected instead"
            logger.warning("%s: %s", planned.name, reason)
            changed = ImageRow(
                image_id=planned.image_id, status=Status.CHANGED, reason=reason, transient=True
            )
            self.add(image_rows(changed, []), ledger)

    @property
    def is_written(self) -> bool:
        """Whether everything that was added has reached the disk."""
        return not self._unwritten

    @property
    def written(self) -> int:
        """How many of the recorded images have reached the disk."""
        return self.detected + self.failed - self._unwritten

    def flush_if_due(self) -> None:
        """Flush if that is due, by the time or by the number of images."""
        late = time.monotonic() - self._flushed >= self._flush_seconds
        if late or self._unwritten >= _FLUSH_IMAGES:
            self.flush()

    def flush(self) -> None:
        """Write everything that was added to the disk.

        Raises:
            RecordingError: the disk is full or cannot be written to.
        """
        with self._writing():
            self._segments.flush()
        for identity in self._finished:  # not before its result is on the disk
            remove_unfinished(self.store, identity)
        self._finished.clear()
        self._unwritten = 0
        self._flushed = time.monotonic()

    def finish(self) -> None:
        """Flush, and merge the job's segments into one."""
        self.flush()
        with self._writing():
            self._segments.finish()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        start = time.perf_counter()
        with writing_results(self._segments.folder):
            yield
        self.seconds_writing += time.perf_counter() - start


def _rows(detection: Detection, identity: str) -> Iterator[dict]:
    """The store's rows for an image that was detected or failed."""
    read, plane = detection.read, detection.planned.plane
    if isinstance(read, Failure):
        reason = reason_text(read.reason)
        logger.warning("%s: %s: %s", detection.planned.name, read.status, reason)
        failed = ImageRow(
            image_id=identity,
            scene=plane.scene,
            time=plane.time,
            slice=plane.slice,
            status=read.status,
            reason=reason,
            transient=read.transient,
        )
        return image_rows(failed, [])
    if read.warning:
        logger.warning("%s: %s", detection.planned.name, read.warning)
    columns, candidates = detection.measured
    image = ImageRow(
        image_id=identity,
        scene=plane.scene,
        time=plane.time,
        slice=plane.slice,
        dtype=str(read.dtype),
        is_color=read.is_color,
        plane=read.plane,
        warning=read.warning,
        channels=list(read.channels),
        pixel_size_um=read.pixel_size_um,
        acquired=read.acquired,
        **columns,
    )
    return image_rows(image, candidates)


def _now() -> str:
    """The time as the ledger writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
