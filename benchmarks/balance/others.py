"""Two ways to fix in advance what each job does: an even split, and the packing of samfleet 0.3."""

import itertools
from collections.abc import Sequence

OVERSUBSCRIPTION = 1.5
MODEL_LOADS_PER_SHARD = 20


def even_split(images: int, devices: int) -> list[range]:
    """One shard for each device, all with as many images."""
    cuts = [images * number // devices for number in range(devices + 1)]
    return [range(a, b) for a, b in itertools.pairwise(cuts)]


def shards_before(seconds: Sequence[float], devices: int, load: float) -> list[range]:
    """Shards of decreasing cost, the largest first, as samfleet 0.3 packed them.

    Args:
        seconds: the expected seconds of every image.
        devices: number of devices.
        load: seconds to load the model, of which the shortest shard takes 20.
    """
    minimum = MODEL_LOADS_PER_SHARD * load
    remaining = sum(seconds)
    shards: list[range] = []
    start = 0
    while start < len(seconds):
        target = max(remaining / (OVERSUBSCRIPTION * devices), minimum)
        stop, filled = start + 1, seconds[start]
        while stop < len(seconds) and (filled < minimum or filled + seconds[stop] / 2 <= target):
            filled += seconds[stop]
            stop += 1
        remaining -= filled
        if remaining < minimum:
            stop = len(seconds)
        shards.append(range(start, stop))
        start = stop
    return shards
