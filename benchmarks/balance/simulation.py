"""Devices under a virtual clock that carry out what is planned; the claims are real files."""

import heapq
import os
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samfleet.detection.claims import GONE_AFTER_SECONDS, Claims
from samfleet.detection.draw import Draw
from samfleet.plan.cost import START_SECONDS, CostModel
from samfleet.plan.shards import Chunk, ShardImage, cut_chunks, pack_shards

MODEL = "vit_h"
LOAD_SECONDS = 12.0
EXPECTED_SECONDS = 1.7


@dataclass(frozen=True)
class Device:
    """A device of a simulation.

    Attributes:
        speed: 1 for one that needs the drawn seconds of an image.
        comes, goes: seconds after which its job starts, and is killed.
    """

    speed: float = 1.0
    comes: float = 0.0
    goes: float = np.inf


@dataclass(frozen=True)
class Outcome:
    """What came of a simulation.

    Attributes:
        makespan: seconds until the last image was detected.
        loads: how often a model was loaded.
        doubled: number of images that were detected a second time.
    """

    makespan: float
    loads: int
    doubled: int = 0


def draw_costs(images: int, seed: int) -> np.ndarray:
    """Seconds of images, lognormal with σ = 1; their mean is what the planner expects."""
    costs = np.random.default_rng(seed).lognormal(0, 1, images)
    return costs * EXPECTED_SECONDS / np.exp(0.5)


def ideal(costs: np.ndarray, devices: Sequence[Device]) -> float:
    """When devices that are never idle, and need not load a model, would be done."""
    work, now, speed = float(costs.sum()), 0.0, 0.0
    changes = [(d.comes, d.speed) for d in devices] + [(d.goes, -d.speed) for d in devices]
    for when, change in sorted(changes):
        if speed and work <= (when - now) * speed:
            break
        work, now, speed = work - (when - now) * speed, when, speed + change
    return now + work / speed


def run_fixed(
    shards: Sequence[range],
    costs: np.ndarray,
    devices: Sequence[Device],
    load: float = LOAD_SECONDS,
) -> Outcome:
    """Jobs that carry out one shard each; a device takes the next shard when it is free.

    What a killed job has left of its shard is done by the next attempt, which comes before other shards.
    """
    waiting = deque(shards)
    free = [(device.comes, number) for number, device in enumerate(devices)]
    heapq.heapify(free)
    loads, makespan = 0, 0.0
    lost: list[tuple[float, range]] = []
    while waiting or lost:
        now, number = heapq.heappop(free)
        device = devices[number]
        if (lost and lost[0][0] <= now) or not waiting:
            when, shard = lost.pop(0)
            now = max(now, when)
        else:
            shard = waiting.popleft()
        loads += 1
        ends = now + load + np.cumsum(costs[shard.start : shard.stop]) / device.speed
        done = int(np.searchsorted(ends, device.goes, side="right"))
        if done:
            makespan = max(makespan, float(ends[done - 1]))
        if done < len(shard):
            lost.append((device.goes, shard[done:]))
        else:
            heapq.heappush(free, (float(ends[-1]), number))
    return Outcome(makespan, loads)


class _Job:
    """The job of a device: what it has drawn, and what it has detected."""

    def __init__(self, folder: Path, shard: str, chunks: list[Chunk], firsts: dict[str, int]):
        self.claims = Claims(folder, shard)
        self._draw, self._firsts = Draw(self.claims, shard, chunks), firsts
        self._waiting: deque[int] = deque()
        self._left: dict[int, list] = {}

    def next(self) -> int | None:
        """The image that the device is to work on; another one is claimed and read meanwhile."""
        while len(self._waiting) < 2 and (taken := self._draw.take()) is not None:
            chunk = taken[0]
            first = self._firsts[chunk.shard] + chunk.first
            images = range(first, first + chunk.images)
            left = [chunk, chunk.images]
            self._left |= {image: left for image in images}
            self._waiting.extend(images)
        return self._waiting.popleft() if self._waiting else None

    def detected(self, image: int) -> None:
        """Note that an image is done."""
        left = self._left.pop(image)
        left[1] -= 1
        if not left[1]:
            self.claims.finish(left[0])


def run_drawing(costs: np.ndarray, devices: Sequence[Device]) -> Outcome:
    """Jobs that draw their work, by samfleet's own packing and claims."""
    images = [ShardImage(str(n), 0, "") for n in range(len(costs))]
    expected = CostModel(EXPECTED_SECONDS, 0.0)
    packed = pack_shards(images, len(devices), expected, START_SECONDS[MODEL])
    chunks: list[Chunk] = []
    firsts: dict[str, int] = {}
    first = 0
    for number, shard in enumerate(packed):
        name = f"{number:04d}"
        chunks += cut_chunks(name, [EXPECTED_SECONDS] * len(shard), len(packed), len(devices))
        firsts[name] = first
        first += len(shard)
    with tempfile.TemporaryDirectory() as folder:
        return _follow(costs, devices, Path(folder), chunks, firsts)


def _follow(
    costs: np.ndarray,
    devices: Sequence[Device],
    folder: Path,
    chunks: list[Chunk],
    firsts: dict[str, int],
) -> Outcome:
    """Let jobs draw and detect in the order of the virtual time."""
    jobs: dict[int, _Job] = {}
    times = np.zeros(len(costs), np.int64)
    makespan = 0.0
    # (when, what, number of the device, the image that it has just detected)
    events = [(devices[n].comes, "comes", n, -1) for n in range(len(firsts))]
    heapq.heapify(events)
    while events:
        now, what, number, image = heapq.heappop(events)
        device = devices[number]
        if what == "lost":  # nobody has touched its claims for so long
            for path in folder.glob("*/*.*"):
                if jobs[number].claims.job in (claim := path.read_text()):
                    path.write_text(claim.replace("machine", "another machine"))
                    os.utime(path, (0, 0))
            continue
        if what == "comes":
            jobs[number] = _Job(folder, sorted(firsts)[number], chunks, firsts)
        else:
            times[image] += 1
            makespan = max(makespan, now)
            jobs[number].detected(image)
        if (following := jobs[number].next()) is None:
            continue
        load = LOAD_SECONDS if what == "comes" else 0.0
        end = now + load + float(costs[following]) / device.speed
        if end > device.goes:
            heapq.heappush(events, (device.goes + GONE_AFTER_SECONDS, "lost", number, -1))
        else:
            heapq.heappush(events, (end, "detected", number, following))
    if not times.all():
        raise RuntimeError(f"{(times == 0).sum()} images were lost")
    return Outcome(makespan, len(jobs), int((times - 1).sum()))
