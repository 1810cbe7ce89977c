"""How many images a second one job sustains around a generator that costs nothing: reading, measuring, recording.

    python -m benchmarks.host --threads 4

The job is the workflow's, with its worker processes, its store and its ledger; a stand-in returns the same masks for
every image. Prints images a second by the clock, and processor seconds an image, from which follows how many the job
sustains where each of its threads has a core: on a machine with fewer, the clock does not tell.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from benchmarks.common import report
from benchmarks.measuring import IMAGES, nuclei, pixels_of
from samfleet.config.schema import complete_config
from samfleet.config.settings import SamSettings, Settings, settings_of
from samfleet.detection.job import detect_shard
from samfleet.devices.visible import Device
from samfleet.plan.planning import make_plan
from samfleet.results import done_file, shard_file
from samfleet.sam.masks.records import FoundMasks
from samfleet.sam.model_key import configured_model_key
from samfleet.sam.tiles import Tiles

KINDS = ("png, 8 bits", "tif, 16 bits", "png, colour")
_DIFFERENT = 8  # images, of which others are copies but for a pixel


class Instant:
    """A generator that has found the same masks in every image before it is asked."""

    def __init__(self, found: FoundMasks):
        self.points_per_batch = 64
        self.seconds: dict[str, float] = {}
        self.device_seconds: float | None = None
        self.tiles: Tiles | None = None
        self.following: Callable[[], np.ndarray | None] = lambda: None
        self._found = found

    def why_not_shown(self, height: int, width: int) -> str:
        return ""

    def find(
        self,
        image: object,
        points_per_batch: int,
        finished: MutableMapping[Any, Any] | None = None,
    ) -> FoundMasks:
        return self._found


def write_images(folder: Path, side: int, kind: str, count: int) -> None:
    """Images that differ in a pixel at least, so that each has its own id."""
    suffix, depth = kind.split(", ")
    for number in range(count):
        pixels = pixels_of(side, "colour" if depth == "colour" else "grey")
        pixels = np.roll(pixels, number % _DIFFERENT, axis=0)
        if depth == "8 bits":
            pixels = (pixels >> 4).astype(np.uint8)
        pixels.ravel()[:2] = number % 256, number // 256
        path = folder / f"{number:05d}.{suffix}"
        if suffix == "tif":
            tifffile.imwrite(path, pixels[..., 0])
        else:
            path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def run_job(settings: Settings, results: Path, threads: int, found: FoundMasks) -> dict[str, float]:
    """The job of the only shard: seconds, and processor seconds of this process and of its workers."""
    plan = make_plan(settings, results, configured_model_key(settings, results), 1)
    (shard,) = plan.shards

    def load_generator(_: SamSettings, __: Device, ___: int) -> Instant:
        return Instant(found)

    def processor_seconds(who: int) -> float:
        used = resource.getrusage(who)
        return used.ru_utime + used.ru_stime

    before = [processor_seconds(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    start = time.perf_counter()
    detect_shard(
        settings,
        results,
        shard_list=shard_file(results, plan.id, shard.name),
        done=done_file(results, plan.id, shard.name),
        threads=threads,
        load_generator=load_generator,
    )
    seconds = time.perf_counter() - start
    after = [processor_seconds(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own, workers = (end - begin for begin, end in zip(before, after, strict=True))
    return {"seconds": seconds, "job": own, "workers": workers, "images": shard.images}


def measure(side: int, masks: int, kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Images a second of the job with many images, less what a job with few takes: its start."""
    found = nuclei(side, masks, min_area=100)
    config = {
        "sam": {"model": "tiny"},
        "device": "cpu",
        "display": {"channel": "max"},
    }
    runs = []
    for count in (arguments.few, arguments.few + arguments.images):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            images = Path(name) / "images"
            images.mkdir()
            write_images(images, side, kind, count)
            settings = settings_of(complete_config({**config, "images": str(images)}))
            runs.append(run_job(settings, Path(name) / "results", arguments.threads, found))
    few, many = runs
    spent = {
        key: (many[key] - few[key]) / arguments.images for key in ("seconds", "job", "workers")
    }
    workers = max(1, arguments.threads - 1)
    return {
        "masks": masks,
        "images a second by the clock": round(1 / spent["seconds"], 1),
        "processor milliseconds an image, workers": round(1000 * spent["workers"], 1),
        "processor milliseconds an image, the job's own process": round(1000 * spent["job"], 1),
        "images a second where each thread has a core": round(
            min(workers / spent["workers"], 1 / spent["job"]), 1
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=4, help="of the job")
    parser.add_argument("--images", type=int, default=120, help="over which is averaged")
    parser.add_argument("--few", type=int, default=12, help="of the job that only starts")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary one")
    arguments = parser.parse_args()
    report(
        claim="the host keeps up",
        settings={"threads": arguments.threads, "images": arguments.images},
        cores=os.cpu_count(),
        images={
            f"{side}², {kind}": measure(side, masks, kind, arguments)
            for side, masks in IMAGES.values()
            for kind in arguments.kinds
        },
    )


if __name__ == "__main__":
    main()
