"""The images that a job detects: of the chunks that it draws, those that the store does not hold."""

import logging
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from samfleet.detection.claims import Claims
from samfleet.detection.draw import Draw
from samfleet.files import TableError
from samfleet.plan.record import Plan
from samfleet.plan.shards import Chunk, ShardImage, read_chunks, read_shard
from samfleet.results import chunks_file, shard_file, store_folder, superseded_file
from samfleet.statuses import Status
from samfleet.store.segments import stored_images
from samfleet.wording import counted

logger = logging.getLogger(__name__)

_MARGIN_SECONDS = 120.0
"""Of a job's time: what its start took, and the writing and merging at its end."""


@dataclass
class _Drawn:
    """A chunk that the job is at.

    Attributes:
        chunk: the chunk.
        left: the ids of its images that are not recorded yet.
    """

    chunk: Chunk
    left: set[str]


class Work:
    """The images that a job draws from its plan.

    Args:
        results: the folder of the results.
        plan: the plan.
        shard: the shard that the job was started for.
        claims: the claims of the job.
        ends: when its time is over, by `time.time`; None if it has as much as it needs.

    Attributes:
        images, chunks, of_others: how many it has drawn, and how many of these chunks are of other shards.
        out_of_time: whether it stopped since the next chunk might have outlasted its time.

    Raises:
        TableError: the table of chunks or the list of the shard is damaged.
    """

    def __init__(
        self, results: Path, plan: Plan, shard: str, claims: Claims, ends: float | None = None
    ):
        self._results, self._plan, self._shard = results, plan, shard
        self._claims, self._ends = claims, ends
        self._store = store_folder(results, plan.model_key)
        self._planned = {planned.name: planned.images for planned in plan.shards}
        self._lists = {shard: self._read(shard)}
        chunks = read_chunks(chunks_file(results, plan.id), self._planned)
        self._draw = Draw(claims, shard, chunks)
        self._stored = self._detected_by(shard)
        self._waiting: deque[ShardImage] = deque()
        self._at: dict[str, _Drawn] = {}
        self._finished: list[Chunk] = []
        self._began: float | None = None
        self._expected = 0.0
        self.images = self.chunks = self.of_others = 0
        self.out_of_time = False

    def is_left(self) -> bool:
        """Whether there is a chunk to draw."""
        return self._next() is not None

    def images_left(self) -> int:
        """How many images are in chunks that no job has or had, as far as is known."""
        return sum(chunk.images for chunk in self._draw.free())

    def next(self, hungry: bool = True) -> ShardImage | None:
        """The next image; None if there is none, or none at hand and the device is not hungry.

        Args:
            hungry: whether the device will have to wait unless a chunk is claimed now. Otherwise the job that has the
                time first should have it.
        """
        if hungry:
            self.prepare()
        return self._waiting.popleft() if self._waiting else None

    def prepare(self) -> bool:
        """Claim a chunk, if no image is at hand; whether one is then."""
        while not self._waiting and self._next() is not None:
            if (taken := self._draw.take()) is None:
                break
            self._waiting.extend(self._images(*taken))
        return bool(self._waiting)

    def recorded(self, image: ShardImage) -> None:
        """Note that the result of an image was recorded."""
        drawn = self._at.pop(image.image_id)
        drawn.left.discard(image.image_id)
        if not drawn.left:
            self._finished.append(drawn.chunk)
        if self._began is None:  # with the first, the model had to be loaded
            self._began = time.monotonic()
        else:
            self._expected += drawn.chunk.seconds / drawn.chunk.images

    def written(self) -> None:
        """Note that everything recorded has reached the disk."""
        for chunk in self._finished:
            self._claims.finish(chunk)
        self._finished.clear()

    def _next(self) -> Chunk | None:
        """The chunk to draw; None if there is none, or no time for it, or a newer plan has what is left."""
        if self.out_of_time or superseded_file(self._results, self._plan.id).exists():
            return None
        chunk = self._draw.next()
        if chunk is None or self._fits(chunk):
            return chunk
        self.out_of_time = True
        return None

    def _fits(self, chunk: Chunk) -> bool:
        if (
            self._ends is None or not self.chunks
        ):  # a chunk that takes longest would never be done else
            return True
        pace = 1.0
        if self._began is not None and self._expected:
            pace = (time.monotonic() - self._began) / self._expected
        at = {id(drawn): drawn.chunk.seconds for drawn in self._at.values()}
        needed = pace * (sum(at.values()) + chunk.seconds)
        return time.time() + needed + _MARGIN_SECONDS <= self._ends

    def _images(self, chunk: Chunk, generation: int) -> list[ShardImage]:
        """The images of a chunk that was claimed which have no result yet."""
        try:
            if chunk.shard not in self._lists:
                self._lists[chunk.shard] = self._read(chunk.shard)
        except TableError as error:
            logger.warning("%s; its images are left out", error.reason)
            return []
        images = self._lists[chunk.shard][chunk.first : chunk.first + chunk.images]
        if generation > 1:
            for shard in self._claims.holders(chunk):
                self._stored |= self._detected_by(shard)
        pending = [image for image in images if image.image_id not in self._stored]
        logger.info(
            "shard %s, chunk %d: %s, %d to detect",
            chunk.shard,
            chunk.number,
            counted(len(images), "image"),
            len(pending),
        )
        drawn = _Drawn(chunk, {image.image_id for image in pending})
        self._at |= dict.fromkeys(drawn.left, drawn)
        if not pending:
            self._claims.finish(chunk)
        self.chunks += 1
        self.of_others += chunk.shard != self._shard
        self.images += len(pending)
        return pending

    def _read(self, shard: str) -> list[ShardImage]:
        path = shard_file(self._results, self._plan.id, shard)
        images = list(read_shard(path))
        if len(images) != self._planned.get(shard):
            raise TableError(path, f"{len(images)} of {self._planned.get(shard)} images")
        return images

    def _detected_by(self, shard: str) -> set[str]:
        """The images that jobs of a shard have detected under this plan."""
        stored = stored_images(self._store, f"{self._plan.id}-{shard}-")
        return {identity for identity, image in stored.items() if image.status == Status.OK}
