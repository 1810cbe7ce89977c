"""Processor seconds of Snakemake between the end of the plan and the first detection, with many jobs.

    python -m benchmarks.balance.first [JOBS] [--repeats N]

Each job has one image, which cannot be read. The run is stopped at the first detection. Beside it stands the floor:
the same Snakemake with a checkpoint and as many jobs that have an output and `touch` it, and nothing else; and the
same with what a detection must have: a list, a log, a benchmark, numbers of GPUs and threads, memory and time that
grow with the attempts, and a script.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

CLONE = Path(__file__).resolve().parents[2]

_RULES = """
def records(wildcards):
    checkpoints.plan.get()
    return [f"results/plan/P/{{number:04d}}.done" for number in range(config["jobs"])]

rule summary:
    input: records
    output: "results/summary.csv"
    shell: "touch {{output}}"

checkpoint plan:
    output: "results/plan/plan.json"
    shell: "touch {{output}}"

rule detect:
    {detect}
"""
_BARE = """output: "results/plan/P/{shard}.done"
    shell: "touch {output}"
"""
_FURNISHED = """input: shard=ancient("lists/{shard}.tsv")
    output: done="results/plan/P/{shard}.done"
    log: "results/logs/detect/{shard}.log"
    benchmark: "results/benchmarks/{shard}.tsv"
    retries: 2
    threads: 1
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    script: "detect.py"
"""


def samfleet_command(folder: Path, jobs: int) -> list[object]:
    """Prepare a run of samfleet with so many jobs, and return its command line."""
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
    return ["--snakefile", CLONE / "Snakefile", "--configfile", folder / "config.yaml"]


def other_command(folder: Path, jobs: int, detect: str) -> list[object]:
    """Prepare a workflow of two rules and a checkpoint, and return its command line."""
    (folder / "Snakefile").write_text(_RULES.format(detect=detect))
    (folder / "detect.py").write_text(
        "from pathlib import Path\n\nPath(snakemake.output.done).touch()\n"
    )
    (folder / "lists").mkdir()
    for number in range(jobs):
        (folder / "lists" / f"{number:04d}.tsv").touch()
    profile = ["--workflow-profile", CLONE / "profiles/default"]
    return ["--snakefile", folder / "Snakefile", *profile, "--config", f"jobs={jobs}"]


SIDES: dict[str, Callable[[Path, int], list[object]]] = {
    "samfleet": samfleet_command,
    "bare": lambda folder, jobs: other_command(folder, jobs, _BARE),
    "furnished": lambda folder, jobs: other_command(folder, jobs, _FURNISHED),
}


def seconds_to_first_detection(side: str, jobs: int) -> float:
    """Processor seconds of Snakemake that pass between plan and first detection of so many jobs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "snakemake", *SIDES[side](folder, jobs)]
        command += ["--directory", folder, "--cores", "1", "--resources", f"gpu={jobs}"]
        with (folder / "output.txt").open("w") as output:
            process = subprocess.Popen(
                list(map(str, command)),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        results = folder / "results"
        try:
            plan = _wait(process, lambda: (results / "plan" / "plan.json").exists())
            first = _wait(
                process,
                lambda: [*results.glob("logs/detect/*.log"), *results.glob("plan/P/*.done")],
            )
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return first - plan


def _wait(process: subprocess.Popen, condition: Callable[[], object]) -> float:
    """The processor seconds of a process when a condition holds."""
    while not condition():
        if process.poll() is not None:
            raise SystemExit("Snakemake has ended")
        time.sleep(0.05)
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.balance.first", description=__doc__.splitlines()[0]
    )
    parser.add_argument("jobs", type=int, nargs="?", default=5000)
    parser.add_argument("--repeats", type=int, default=3, help="of each side, in turn")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(arguments.repeats):
        for side, values in seconds.items():
            values.append(seconds_to_first_detection(side, arguments.jobs))
    medians = {side: round(statistics.median(values), 1) for side, values in seconds.items()}
    ratios = {
        f"samfleet/{side}": round(medians["samfleet"] / medians[side], 2)
        for side in ("bare", "furnished")
        if medians[side]
    }
    load = round(os.getloadavg()[0], 1)
    print(
        json.dumps({"jobs": arguments.jobs, "processor_seconds": medians, **ratios, "load": load})
    )


if __name__ == "__main__":
    main()
