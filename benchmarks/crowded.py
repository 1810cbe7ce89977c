"""A crowded machine: how much longer an image takes beside other processes, by how torch's threads wait.

For each way of waiting, a process of its own takes an image through the generator, first on the machine as it
is and then beside busy processes. ``ratio`` is the time of the image to that with passive threads, ``slowdown``
the time beside busy processes to that without them, and ``share`` the slowdown of a process that never waits:
(busy processes + threads) ÷ cores, or 1. Run it on a machine that does nothing else.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

WAYS: dict[str, dict[str, str]] = {
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "torch's default": {},
    "spin 10000 times": {"GOMP_SPINCOUNT": "10000"},
}
"""Environments by name. A job takes the first on a crowded machine and the second on a quiet one."""


def seconds_of_an_image(points_per_side: int, threads: int, repeats: int) -> tuple[float, float]:
    """The least wall seconds, and the processor seconds then, of an image of the demo in this process."""
    from benchmarks.common import fluorescence
    from samfleet.config.schema import complete_config
    from samfleet.config.settings import settings_of
    from samfleet.detection.malloc import keep_freed_memory
    from samfleet.sam.generator.loading import load_generator

    keep_freed_memory()
    sam = {"model": "tiny", "points_per_side": points_per_side}
    settings = settings_of(complete_config({"images": "demo", "sam": sam}))
    generator = load_generator(settings.sam, "cpu", threads)
    rgb = fluorescence(520, 696)
    measured = []
    for _ in range(1 + repeats):  # the first warms up
        wall, processor = time.perf_counter(), time.process_time()
        generator.find(rgb, generator.points_per_batch)
        measured.append((time.perf_counter() - wall, time.process_time() - processor))
    return min(measured[1:])


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that only compute."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(way: dict[str, str], arguments: argparse.Namespace) -> tuple[float, float]:
    """`seconds_of_an_image` in a process that has the environment of a way of waiting."""
    environment = {k: v for k, v in os.environ.items() if "OMP_" not in k} | way
    command = [sys.executable, "-m", "benchmarks.crowded", "--child"]
    for name in ("points_per_side", "threads", "repeats"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    wall, processor = json.loads(done.stdout.splitlines()[-1])
    return wall, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=8, help="processes beside the image")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        limits = arguments.points_per_side, arguments.threads, arguments.repeats
        print(json.dumps(seconds_of_an_image(*limits)))
        return
    load = os.getloadavg()[0]
    alone = {name: measure(way, arguments) for name, way in WAYS.items()}
    with busy_processes(arguments.busy):
        crowded = {name: measure(way, arguments) for name, way in WAYS.items()}
    cores = os.cpu_count() or 1
    report = {
        "claim": "a crowded machine slows an image down by no more than its share",
        "cores": cores,
        "threads": arguments.threads,
        "busy_processes": arguments.busy,
        "load_before": load,
        "share": max(1.0, (arguments.busy + arguments.threads) / cores),
        "runs": {
            name: {
                "alone": {"seconds": alone[name][0], "processor_seconds": alone[name][1]},
                "crowded": {"seconds": crowded[name][0], "processor_seconds": crowded[name][1]},
                "slowdown": crowded[name][0] / alone[name][0],
                "ratio alone": alone[name][0] / alone["passive"][0],
                "ratio crowded": crowded[name][0] / crowded["passive"][0],
            }
            for name in WAYS
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
