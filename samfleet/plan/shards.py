"""Packing pending images into shards for the GPUs; standard library only."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from samfleet.files import TableError, escape_name, read_rows, unescape_name, write_rows
from samfleet.plan.cost import CostModel
from samfleet.planes import ONLY, Plane, channels_of, channels_text

HEADER = ("image_id", "bytes", "mtime_ns", "scene", "time", "slice", "channels", "path")

OVERSUBSCRIPTION = 1.5
"""A shard takes the remaining cost ÷ (this × GPUs): guided self-scheduling, C. D. Polychronopoulos
and D. J. Kuck, IEEE Transactions on Computers C-36 (1987). The factor is above 1 so that a slow device
does not delay the end with a large shard."""

MODEL_LOADS_PER_SHARD = 20
"""A shard takes at least as long as this many model loads, so that loading costs at most 5 %."""


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
    """

    image_id: str
    size: int
    path: str
    tiles: int = 1
    plane: Plane = ONLY
    mtime_ns: int = 0
    channels: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """For the log: its path and which image of the file it is."""
        path = escape_name(self.path)
        return f"{path} ({self.plane.words})" if self.plane != ONLY else path


def pack_shards(
    images: list[ShardImage], gpus: int, cost: CostModel, minimum_seconds: float
) -> list[list[ShardImage]]:
    """Split images into shards of decreasing cost, the largest first.

    Each shard takes the remaining cost ÷ (1.5 × GPUs), at least `minimum_seconds`, at least one
    image. A remainder below the minimum joins the last shard. The order of the images is kept, so
    that one job reads images that are neighbours in a folder.

    Args:
        images: the pending images.
        gpus: number of GPUs, at least 1.
        cost: expected seconds of an image.
        minimum_seconds: expected seconds of the shortest shard.
    """
    if gpus < 1:
        raise ValueError(f"gpus: {gpus} GPUs are too few; there must be at least 1")
    seconds = [cost.seconds(image.size, image.tiles) for image in images]
    remaining = sum(seconds)
    shards: list[list[ShardImage]] = []
    start = 0
    while start < len(images):
        target = max(remaining / (OVERSUBSCRIPTION * gpus), minimum_seconds)
        stop, filled = start + 1, seconds[start]
        while stop < len(images) and (
            filled < minimum_seconds or filled + seconds[stop] / 2 <= target
        ):
            filled += seconds[stop]
            stop += 1
        remaining -= filled
        if remaining < minimum_seconds:
            stop = len(images)
        shards.append(images[start:stop])
        start = stop
    return shards


def write_shard(path: str | Path, images: Iterable[ShardImage]) -> None:
    """Write a shard list atomically."""
    rows = (
        (
            image.image_id,
            image.size,
            image.mtime_ns,
            *image.plane.cells,
            channels_text(image.channels),
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
    for identity, size, mtime_ns, scene, time, slice, channels, name in read_rows(path, HEADER):
        try:
            image = ShardImage(
                identity,
                int(size),
                unescape_name(name),
                plane=Plane.of_cells(scene, time, slice),
                mtime_ns=int(mtime_ns),
                channels=channels_of(channels),
            )
        except ValueError as error:
            raise TableError(path, f"the size of {name} is damaged") from error
        yield image
