"""Write what was detected, at intervals, to segments of the store and to the job's ledger."""

import datetime
import logging
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from samfleet.detection.pipeline import Detection
from samfleet.detection.row import ImageRow, image_rows
from samfleet.devices.visible import Device
from samfleet.errors import UserError
from samfleet.files import escape_name
from samfleet.images.reading import Failure
from samfleet.results import job_ledger_file
from samfleet.statuses import Status
from samfleet.store.index import StoredImage
from samfleet.store.ledger import append_rows, job_rows
from samfleet.store.segments import SegmentWriter, reason_text

logger = logging.getLogger(__name__)

_FLUSH_IMAGES = 50


class RecordingError(UserError):
    """Results cannot be written; the message names the folder and says what to do."""


class Recorder:
    """Records the images of one job.

    Args:
        results: the folder of the results.
        store: the store's folder of the model key.
        plan: the plan's id.
        shard: the shard's name.
        flush_seconds: results reach the disk at least this often, and after every 50 images.

    Attributes:
        detected: number of images recorded as detected.
        failed: number of images recorded with another status.
    """

    def __init__(self, results: Path, store: Path, plan: str, shard: str, flush_seconds: float):
        self.detected = self.failed = 0
        self._recorded: set[str] = set()
        name = f"{plan}-{shard}-{secrets.token_hex(4)}"
        self._segments = SegmentWriter(store, name)
        self._ledger = job_ledger_file(results, name)
        self._ledger_rows: list[dict] = []
        self._common = {"model_key": store.name, "plan": plan, "shard": shard}
        self._flush_seconds = flush_seconds
        self._flushed = time.monotonic()

    def add(self, rows: list[dict], ledger: dict) -> None:
        """Record an image: its rows for the store, and the columns of the ledger that vary."""
        status = rows[0]["status"]
        self.detected += status == Status.OK
        self.failed += status != Status.OK
        self._segments.add([{**row, "plan": self._common["plan"]} for row in rows])
        self._ledger_rows.append(
            self._common
            | {"when": _now(), "status": status, "image_id": rows[0]["image_id"]}
            | {"host": socket.gethostname()}
            | ledger
        )
        late = time.monotonic() - self._flushed >= self._flush_seconds
        if late or len(self._ledger_rows) >= _FLUSH_IMAGES:
            self.flush()

    def record(self, detection: Detection, device: Device) -> None:
        """Record an image, once, under the id of the bytes that were decoded."""
        planned, read = detection.planned, detection.read
        identity = read.image_id or planned.image_id
        ledger = detection.ledger | {"device": device.name or "cpu"}
        if identity not in self._recorded:
            self._recorded.add(identity)
            self.add(_rows(detection, identity), ledger)
        if identity != planned.image_id:
            reason = f"its content changed after planning; {identity} was detected instead"
            logger.warning("%s: %s", escape_name(planned.path), reason)
            changed = ImageRow(
                image_id=planned.image_id, status=Status.CHANGED, reason=reason, transient=True
            )
            self.add(image_rows(changed, []), ledger)

    def flush(self) -> None:
        """Write everything that was added to the disk.

        Raises:
            RecordingError: the disk is full or cannot be written to.
        """
        if self._ledger_rows:
            start = time.perf_counter()
            try:
                self._segments.flush()
                self._append_ledger(time.perf_counter() - start)
            except OSError as error:
                raise RecordingError(
                    f"{self._segments.folder}: cannot be written: {error}; earlier results are "
                    "kept; make room or correct the permissions, then run again"
                ) from error
        self._flushed = time.monotonic()

    def finish(self) -> None:
        """Flush, and merge the job's segments into one."""
        self.flush()
        self._segments.finish()

    def _append_ledger(self, seconds: float) -> None:
        """Append the pending rows; each image gets an equal share of the time of the flush."""
        share = round(seconds / len(self._ledger_rows), 4)
        append_rows(self._ledger, ({**row, "seconds_writing": share} for row in self._ledger_rows))
        self._ledger_rows = []


def _rows(detection: Detection, identity: str) -> list[dict]:
    """The store's rows for an image that was detected or failed."""
    read = detection.read
    if isinstance(read, Failure):
        reason = reason_text(read.reason)
        logger.warning("%s: %s: %s", escape_name(detection.planned.path), read.status, reason)
        failed = ImageRow(
            image_id=identity, status=read.status, reason=reason, transient=read.transient
        )
        return image_rows(failed, [])
    if read.warning:
        logger.warning("%s: %s", escape_name(detection.planned.path), read.warning)
    columns, candidates = detection.measured
    image = ImageRow(
        image_id=identity,
        dtype=str(read.pixels.dtype),
        is_color=read.is_color,
        plane=read.plane,
        warning=read.warning,
        **columns,
    )
    return image_rows(image, candidates)


def _now() -> str:
    """The time as the ledger writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def note_unlisted(
    results: Path, store: Path, plan: str, shard: str, stored: Mapping[str, StoredImage]
) -> None:
    """Give the ledger a row for every image that lacks one.

    A segment reaches the disk before its images' rows of the ledger do. A job that is killed in
    between leaves results without a row, which the next job of the shard adds: what, not how long.

    Args:
        stored: what earlier jobs of the shard stored, by image id.
    """
    name = f"{plan}-{shard}-"
    listed = {row["image_id"] for row in job_rows(results, name)}
    common = {"when": _now(), "model_key": store.name, "plan": plan, "shard": shard}
    rows = [
        common | {"image_id": identity, "status": image.status}
        for identity, image in stored.items()
        if identity not in listed
    ]
    if rows:
        append_rows(job_ledger_file(results, name + secrets.token_hex(4)), rows)
