"""A job's heartbeat: every few seconds it says in a small file how far it is."""

import socket
import threading
import time
from pathlib import Path
from typing import Self

from samfleet.detection.recording import Recorder
from samfleet.detection.stopping import Stopped
from samfleet.detection.unfinished import UnfinishedImages
from samfleet.plan.progress import BEAT_SECONDS, Beat, read_beat, write_beat


class Heartbeat:
    """Says how far a job is, from the beginning of a block to its end, in a thread of its own.

    So a job is seen to live also while an image takes long, and is seen to be silent when it was killed.

    Args:
        path: the file; what an earlier attempt at the shard has written to the disk is counted on from there.
        recorder: what records the images.
        unfinished: the image that the job is at.
        device: the name of the device.
        job: what the job calls itself where it claims chunks.
        every: seconds between two beats.
    """

    def __init__(
        self,
        path: Path,
        recorder: Recorder,
        unfinished: UnfinishedImages,
        device: str,
        job: str,
        every: float = BEAT_SECONDS,
    ):
        self._path, self._recorder, self._device, self._every = path, recorder, device, every
        self._job = job
        self._unfinished = unfinished
        self._has_begun = False
        self._host = socket.gethostname()
        earlier = read_beat(path)
        self._earlier = earlier.written if earlier else 0
        self._first: tuple[float, int] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._say("loading")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._say("ended" if kind is None else "stopped" if issubclass(kind, Stopped) else "failed")

    def _beat(self) -> None:
        while not self._ended.wait(self._every):
            self._has_begun |= any(self._unfinished.tiles)
            self._say("detecting" if self._first or self._has_begun else "loading")

    def _say(self, state: str) -> None:
        recorder, now = self._recorder, time.monotonic()
        recorded = recorder.detected + recorder.failed
        if self._first is None and recorded:
            self._first = now, recorded
            state = "detecting" if state == "loading" else state
        began, before = self._first or (now, 0)
        rate = (recorded - before) / (now - began) if now > began else 0.0
        beat = Beat(
            host=self._host,
            device=self._device,
            state=state,
            recorded=self._earlier + recorded,
            failed=recorder.failed,
            written=self._earlier + recorder.written,
            rate=round(rate, 4),
            tiles=self._unfinished.tiles,
            job=self._job,
        )
        write_beat(self._path, beat)
