"""Dividing pending images into shards, one for each device, and shards into chunks; standard library only.

A job draws chunks: those of its own shard, then those that other jobs have not come to. So the sizes need not
foresee what an image costs. Near the end chunks are small, so that all devices end at about the same time.
"""

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from samfleet.files import TableError, escape_name, read_rows, unescape_name, write_rows
from samfleet.plan.cost import CostModel
from samfleet.planes import ONLY, Plane, channels_of, channels_text

HEADER = (
    "image_id",
    "bytes",
    "mtime_ns",
    "scene",
    "time",
    "slice",
    "channels",
    "companions",
    "path",
)
CHUNKS_HEADER = ("shard", "images", "seconds")

LONGEST_CHUNK_SECONDS = 120.0
SHORTEST_CHUNK_SECONDS = 1.0
"""Expected seconds: what a claim costs is nothing beside this."""

CHUNKS_OF_A_ROUND = 4
"""A chunk takes the remaining work ÷ (this × devices): guided self-scheduling, C. D. Polychronopoulos and
D. J. Kuck, IEEE Transactions on Computers C-36 (1987). Above 1, since a device may have a fraction of the
speed of the others, and its last long chunk should not outlast the short ones."""


@dataclass(frozen=True, slots=True)
class ShardImage:
    """An image of a shard.

    Attributes:
        image_id: its id.
        size, mtime_ns: of its file.
        path: of its file.
        tiles: about how many; for packing only, so the list of a shard does not have it.
        plane: which image of the file it is.
        channels: (name, path) of the files that are joined as its channels.
        companions: digest of what the other files of its file's set are; empty if there are none.
        sharing: how many images of its file are wanted; for packing only, as the tiles.
    """

    image_id: str
    size: int
    path: str
    tiles: int = 1
    plane: Plane = ONLY
    mtime_ns: int = 0
    channels: tuple[tuple[str, str], ...] = ()
    companions: str = ""
    sharing: int = 1

    @property
    def share(self) -> float:
        """Its part of the bytes of its file."""
        return self.size / self.sharing

    @property
    def name(self) -> str:
        """For the log: its path and which image of the file it is."""
        path = escape_name(self.path)
        return f"{path} ({self.plane.words})" if self.plane != ONLY else path


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring images of a shard that one job detects.

    Attributes:
        shard: the name of the shard.
        number: counted from 1 in each shard.
        first: the position of its first image in the list of the shard.
        images: number of images.
        seconds: expected seconds on one device.
    """

    shard: str
    number: int
    first: int
    images: int
    seconds: float


def pack_shards(
    images: Sequence[ShardImage],
    devices: int,
    cost: CostModel,
    shortest: float,
    longest: float = math.inf,
) -> list[list[ShardImage]]:
    """Split images into shards of about the same expected cost: one for each device.

    There are fewer where they would be too short, and more where they would be too long. The order of the images
    is kept, so that one job reads images that are neighbours in a folder.

    Args:
        images: the pending images.
        devices: number of devices, at least 1.
        cost: expected seconds of an image.
        shortest, longest: expected seconds of a shard, unless a single image takes longer.
    """
    if devices < 1:
        raise ValueError(f"devices: {devices} are too few; there must be at least 1")
    if not images:
        return []
    until = [0.0, *itertools.accumulate(cost.seconds(each.share, each.tiles) for each in images)]
    if not until[-1]:
        until = [float(number) for number in range(len(images) + 1)]
    worth = until[-1] / shortest if shortest else math.inf
    count = max(1, int(min(devices, worth)), math.ceil(until[-1] / longest))
    count = min(count, len(images))
    cuts = [0]
    for number in range(1, count):
        middle = until[-1] * number / count
        after = bisect.bisect_left(until, middle)
        nearest = after if until[after] - middle < middle - until[after - 1] else after - 1
        cuts.append(min(max(nearest, cuts[-1] + 1), len(images) - count + number))
    return [list(images[a:b]) for a, b in itertools.pairwise([*cuts, len(images)])]


def cut_chunks(shard: str, seconds: Sequence[float], shards: int, devices: int) -> list[Chunk]:
    """Cut a shard into chunks, long ones first and single images at the end.

    Args:
        shard: its name.
        seconds: the expected seconds of each of its images.
        shards: number of shards of the plan, all about as long.
        devices: number of devices that work at a time.
    """
    chunks: list[Chunk] = []
    remaining = math.fsum(seconds)
    start = 0
    while start < len(seconds):
        target = remaining * shards / (CHUNKS_OF_A_ROUND * devices)
        target = min(max(target, SHORTEST_CHUNK_SECONDS), LONGEST_CHUNK_SECONDS)
        stop, filled = start + 1, seconds[start]
        while stop < len(seconds) and filled + seconds[stop] / 2 <= target:
            filled += seconds[stop]
            stop += 1
        remaining -= filled
        chunks.append(Chunk(shard, len(chunks) + 1, start, stop - start, round(filled, 1)))
        start = stop
    return chunks


def write_shard(path: str | Path, images: Iterable[ShardImage]) -> None:
    """Write a shard list atomically."""
    rows = (
        (
            image.image_id,
            image.size,
            image.mtime_ns,
            *image.plane.cells,
            channels_text(image.channels),
            image.companions,
            escape_name(image.path),
        )
        for image in images
    )
    write_rows(path, HEADER, rows)


def read_shard(path: str | Path) -> Iterator[ShardImage]:
    """The images of a shard list.

    Raises:
        TableError: the list is damaged.
    """
    for identity, size, mtime_ns, scene, time, slice, channels, companions, name in read_rows(
        path, HEADER
    ):
        try:
            image = ShardImage(
                identity,
                int(size),
                unescape_name(name),
                plane=Plane.of_cells(scene, time, slice),
                mtime_ns=int(mtime_ns),
                channels=channels_of(channels),
                companions=companions,
            )
        except ValueError as error:
            raise TableError(path, f"the size of {name} is damaged") from error
        yield image


def write_chunks(path: str | Path, chunks: Iterable[Chunk]) -> None:
    """Write the chunks of a plan atomically, those of a shard in its order."""
    rows = ((chunk.shard, chunk.images, chunk.seconds) for chunk in chunks)
    write_rows(path, CHUNKS_HEADER, rows)


def read_chunks(path: str | Path, planned: dict[str, int]) -> list[Chunk]:
    """The chunks of a plan.

    Args:
        path: the table.
        planned: the number of images of every shard by its name.

    Raises:
        TableError: the table is damaged or missing, or does not have every image of the shards once.
    """
    chunks: list[Chunk] = []
    count: defaultdict[str, int] = defaultdict(int)
    images: defaultdict[str, int] = defaultdict(int)
    for shard, number, seconds in read_rows(path, CHUNKS_HEADER):
        try:
            count[shard] += 1
            chunk = Chunk(shard, count[shard], images[shard], int(number), float(seconds))
        except ValueError as error:
            raise TableError(path, f"a number of shard {shard} is damaged") from error
        images[shard] += max(0, chunk.images)
        chunks.append(chunk)
    if images != planned or any(chunk.images < 1 for chunk in chunks):
        raise TableError(path, "not the chunks of the plan beside it")
    return chunks
