"""The workflow's detection job as a process of its own: its lease, ``nvidia-smi`` and its workers.

In every precision, by a prefix of the device's UUID, two at a time on one device, without a visible
device and with one that is not there. Passes if each ends as it should.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from samfleet.config.schema import complete_config
from samfleet.config.settings import settings_of
from samfleet.resources import DEMO_FOLDER

IMAGES = DEMO_FOLDER / "images" / "gfp"
SAM = {
    "model": "tiny",
    "points_per_side": 32,
    "pred_iou_thresh": 0.45,
    "stability_score_thresh": 0.5,
    "min_mask_region_area": 20,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(arguments.device, json.loads(arguments.one))
        return
    ends = []
    if arguments.device == "cpu":
        ends.append(finish("fast", start("cpu", "fast")))
    else:
        ends += [finish(name, start("cuda", name)) for name in ("exact", "fast", "tf32", "bf16")]
        ends.append(finish("by a prefix of its UUID", start("cuda", "fast", _uuid()[:12])))
        both = [start("cuda", "fast") for _ in range(2)]
        ends += [finish("two jobs on one device", process) for process in both]
        ends.append(finish("no device visible", start("cuda", "fast", ""), good=False))
        ends.append(finish("a device that is not there", start("cuda", "fast", "7"), good=False))
    print(f"JOB: {'PASS' if all(ends) else 'FAIL'}: {ends.count(False)} of {len(ends)} failed")


def start(device: str, precision: str, visible: str | None = None) -> subprocess.Popen[str]:
    """Starts a job with a value of CUDA_VISIBLE_DEVICES, or without one."""
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    sam = json.dumps(SAM | {"precision": precision})
    command = [sys.executable, "-m", "benchmarks.gpu.job", "--device", device, "--one", sam]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def finish(what: str, process: subprocess.Popen[str], good: bool = True) -> bool:
    """Waits for a job and says whether it ended as it should."""
    output = process.communicate(timeout=300)[0]
    as_it_should = (process.returncode == 0) == good
    last = (output.strip().splitlines() or [""])[-1]
    print("ok  " if as_it_should else "FAIL", what, "|", last, flush=True)
    if not as_it_should:
        print(output[-2500:])
    return as_it_should


def run_one(device: str, sam: dict[str, object]) -> None:
    """Plans a few images of the demo and detects them, in this process."""
    from samfleet.detection.job import detect_shard
    from samfleet.plan.planning import make_plan
    from samfleet.results import done_file, shard_file
    from samfleet.sam.model_key import configured_model_key

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    config = {"images": str(IMAGES), "device": device, "sam": sam}
    settings = settings_of(complete_config(config))
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        plan = make_plan(settings, results, configured_model_key(settings, results), 1)
        done = done_file(results, plan.id, "0001")
        shard = shard_file(results, plan.id, "0001")
        detect_shard(settings, results, shard_list=shard, done=done, threads=4)
        print(done.read_text().strip(), "CUDA_VISIBLE_DEVICES", os.environ["CUDA_VISIBLE_DEVICES"])


def _uuid() -> str:
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]


if __name__ == "__main__":
    main()
