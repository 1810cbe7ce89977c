#!/usr/bin/env python3
"""qsub, qstat and qdel that run jobs on this machine; which of them, its file's name says.

The folder $PBS_STANDIN keeps for each job what it was submitted with and how it ended. The job whose
number is $PBS_STANDIN_LOST is never run and fails. The time of a job is over when there is a file
JOB.limit: all of its processes get SIGTERM and, after the seconds in the file, SIGKILL, as from PBS.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_EXCEEDED = 271  # 256 and SIGTERM


def qsub(folder: Path, arguments: list[str]) -> None:
    """Start a job script and print its number."""
    number = len(list(folder.glob("*.json"))) + 1
    job = f"{number}.pbs"
    (folder / f"{job}.json").write_text(json.dumps(arguments))
    print(job)
    if str(number) == os.environ.get("PBS_STANDIN_LOST"):
        (folder / f"{job}.status").write_text(str(_EXCEEDED))
        return
    subprocess.Popen(
        [sys.executable, Path(__file__).resolve(), job, arguments[-1]],
        env=os.environ | {"PBS_JOBID": job},
        stdin=subprocess.DEVNULL,
        stdout=(folder / f"{job}.out").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(folder: Path, arguments: list[str]) -> None:
    """Run a job's script to its end or that of its time."""
    job, script = arguments
    process = subprocess.Popen(["sh", script], start_new_session=True)
    limit = folder / f"{job}.limit"
    while process.poll() is None and not limit.exists():
        time.sleep(0.05)
    status = process.poll()
    if status is None:
        status = _EXCEEDED
        with contextlib.suppress(ProcessLookupError):  # when all have ended
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(float(limit.read_text()))
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    new = folder / f"{job}.status.new"
    new.write_text(str(status))
    new.rename(folder / f"{job}.status")


def qstat(folder: Path, arguments: list[str]) -> None:
    """Print a job's record as `qstat -x -f` does."""
    status = folder / f"{arguments[-1]}.status"
    lines = ["job_state = R"]
    if status.exists():
        lines = ["job_state = F", f"Exit_status = {int(status.read_text())}"]
    print(f"Job Id: {arguments[-1]}", *lines, sep="\n    ")


if __name__ == "__main__":
    commands = {"qsub": qsub, "qstat": qstat, "pbs_standin.py": run}
    commands[Path(sys.argv[0]).name](Path(os.environ["PBS_STANDIN"]), sys.argv[1:])
