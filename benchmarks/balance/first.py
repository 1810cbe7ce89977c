"""Processor seconds of Snakemake between the end of the plan and the first detection, with many jobs.

    python -m benchmarks.balance.first [JOBS]

Each job has one image, which cannot be read. The run is stopped at the first detection.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

CLONE = Path(__file__).resolve().parents[2]


def seconds_to_first_detection(folder: Path, jobs: int) -> dict[str, float]:
    """Processor seconds and seconds that pass between plan and first detection of so many jobs."""
    images = folder / "images"
    images.mkdir()
    for number in range(jobs):
        (images / f"{number:06d}.png").write_text(str(number))
    configuration = {
        "images": "images",
        "sam": {"model": "tiny"},
        "device": "cpu",
        "shard": {"min_seconds": 0},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
    command = [sys.executable, "-m", "snakemake", "--snakefile", CLONE / "Snakefile"]
    command += ["--directory", folder, "--configfile", folder / "config.yaml"]
    command += ["--cores", "1", "--resources", f"gpu={jobs}"]
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        plan = _wait(process, lambda: list((folder / "results/plan").glob("plan.json")))
        first = _wait(process, lambda: list((folder / "results/logs/detect").glob("*.log")))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return {
        "jobs": jobs,
        "processor_seconds": round(first[0] - plan[0], 1),
        "seconds": round(first[1] - plan[1], 1),
    }


def _wait(process: subprocess.Popen, condition: Callable[[], object]) -> tuple[float, float]:
    """The processor time of a process, and the time, when a condition holds."""
    while not condition():
        if process.poll() is not None:
            raise SystemExit("Snakemake has ended")
        time.sleep(0.05)
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), time.monotonic()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
        print(json.dumps(seconds_to_first_detection(Path(folder), jobs)))
