"""Real jobs of samfleet on pretended devices, each a process of its own, with a generator that sleeps.

    python -m benchmarks.balance.real [--devices 8] [--images 400] [--slow 1]

Planning, claims, workers, store and ledger are samfleet's; only the model is replaced, by the drawn seconds of an
image (lognormal, σ = 1, which the planner does not know). One job is killed in the middle, and started again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from pathlib import Path

import cv2
import numpy as np

from samfleet.config.schema import complete_config
from samfleet.config.settings import SamSettings, Settings, settings_of
from samfleet.detection.job import detect_shard
from samfleet.detection.pictures import FilePicture
from samfleet.devices.visible import Device
from samfleet.plan.planning import make_plan
from samfleet.results import done_file, shard_file
from samfleet.sam.masks.records import FoundMasks
from samfleet.sam.model_key import configured_model_key
from samfleet.sam.tiles import Tiles
from samfleet.store.ledger import detections

MEAN_SECONDS = 0.5
LOAD_SECONDS = 2.0


class Sleeper:
    """A mask generator that finds nothing, for as long as the first pixels of an image say.

    Args:
        slowness: how many times longer it takes than they say.
    """

    points_per_batch = 64
    device_seconds: float | None = None
    tiles: Tiles | None = None

    def __init__(self, slowness: float):
        self._slowness = slowness
        self.following: Callable[[], np.ndarray | None] = lambda: None
        self.seconds = {"encoding": 0.0, "decoding": 0.0, "postprocessing": 0.0}

    def why_not_shown(self, height: int, width: int) -> str:
        """It can be shown any image."""
        return ""

    def find(
        self,
        image: np.ndarray | FilePicture,
        points_per_batch: int,
        finished: MutableMapping | None = None,
    ) -> FoundMasks:
        """No masks, late."""
        assert isinstance(image, np.ndarray)  # small images are read whole
        rgb = image
        milliseconds = int(rgb[0, 0, 0]) * 256 + int(rgb[0, 1, 0])
        time.sleep(milliseconds / 1000 * self._slowness)
        none = np.zeros((0, 4), np.int64)
        empty = np.zeros(0, np.float32)
        return FoundMasks(rgb.shape[:2], none, empty, empty, np.zeros((0, 2)), none, [], 0, 0.7)


def configuration(folder: Path, devices: int) -> dict:
    """The completed configuration of the images in a folder."""
    return complete_config(
        {
            "images": str(folder / "images"),
            "device": "auto",
            "devices": [f"gpu{number}" for number in range(devices)],
            "sam": {"model": "vit_h", "checkpoint": str(folder / "weights.safetensors")},
            "shard": {"min_seconds": 0, "flush_seconds": 5},
        }
    )


def prepare(folder: Path, images: int) -> float:
    """Draw images that say how long they take, and weights that nobody reads; the sum of seconds."""
    costs = np.random.default_rng(0).lognormal(0, 1, images) * MEAN_SECONDS / np.exp(0.5)
    (folder / "images").mkdir()
    for number, seconds in enumerate(costs):
        pixels = np.zeros((16, 16, 3), np.uint8)  # colour is shown as it is
        pixels[0, 0], pixels[0, 1] = divmod(min(65_535, round(1000 * seconds)), 256)
        pixels[1, :3] = [number >> 8, number & 255, 7]
        cv2.imwrite(str(folder / "images" / f"{number:05d}.png"), pixels)
    entry = {"dtype": "F32", "shape": [0, 64, 64, 1280], "data_offsets": [0, 0]}
    header = json.dumps({"image_encoder.pos_embed": entry}).encode()
    (folder / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return float(costs.sum())


def job(folder: Path, devices: int, plan: str, shard: str, slowness: float) -> None:
    """Carry out a job in this process."""
    settings = settings_of(configuration(folder, devices))

    def load(_settings: SamSettings, _device: Device, _threads: int) -> Sleeper:
        time.sleep(LOAD_SECONDS)
        with (folder / "loads.txt").open("a") as file:
            file.write(f"{shard}\n")
        return Sleeper(slowness)

    results = folder / "results"
    detect_shard(
        settings,
        results,
        shard_list=shard_file(results, plan, shard),
        done=done_file(results, plan, shard),
        threads=2,
        load_generator=load,
    )


def carry_out(folder: Path, settings: Settings, devices: int, slow: int) -> dict[str, object]:
    """Plan, run a job for each device, kill one and start it again; what came of it."""
    results = folder / "results"
    plan = make_plan(settings, results, configured_model_key(settings, results), devices)

    def start(number: int) -> subprocess.Popen:
        shard = plan.shards[number].name
        slowness = 2.0 if number < slow else 1.0
        command = [sys.executable, "-m", "benchmarks.balance.real", "--job", str(folder)]
        command += [str(devices), plan.id, shard, str(slowness)]
        return subprocess.Popen(command, env=os.environ | {"JOB_ID": folder.name})

    jobs = [start(number) for number in range(len(plan.shards))]
    while detections(results).num_rows < plan.pending / 3:
        time.sleep(0.5)
    jobs[-1].send_signal(signal.SIGKILL)
    jobs[-1].wait()
    jobs[-1] = start(len(jobs) - 1)
    if failed := [job.args for job in jobs if job.wait()]:
        raise SystemExit(f"failed: {failed}")
    rows = detections(results).to_pylist()
    times = Counter(row["image_id"] for row in rows)
    last = {row["device"]: row["when"] for row in rows}
    ends = np.array([np.datetime64(when[:23]) for when in last.values()])
    began = np.datetime64(min(row["when"] for row in rows)[:23])
    span = (ends.max() - began) / np.timedelta64(1, "s")
    idle = float(((ends.max() - ends) / np.timedelta64(1, "s")).mean() / span)
    return {
        "devices": len(last),
        "images": len(times),
        "images_of_a_device": sorted(Counter(row["device"] for row in rows).values()),
        "missing": plan.pending - len(times),
        "detected_twice": sum(times.values()) - len(times),
        "loads": len((folder / "loads.txt").read_text().splitlines()),
        "seconds": round(float(span), 1),
        "idle_at_the_end": round(idle, 4),
    }


def main() -> None:
    if sys.argv[1:2] == ["--job"]:
        place, devices, plan, shard, slowness = sys.argv[2:]
        job(Path(place), int(devices), plan, shard, float(slowness))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balance.real", description=__doc__)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--slow", type=int, default=1, help="so many devices have half the speed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = prepare(folder, arguments.images)
        settings = settings_of(configuration(folder, arguments.devices))
        outcome = carry_out(folder, settings, arguments.devices, arguments.slow)
        speed = arguments.devices - arguments.slow / 2
        print(json.dumps(outcome | {"ideal_seconds": round(work / speed, 1)}))


if __name__ == "__main__":
    main()
