#!/usr/bin/env python3
"""qsub, qstat and qdel that run jobs on this machine; which of them, its file's name says.

The folder $PBS_STANDIN keeps for each job what it was submitted with and how it ended. The job whose
number is $PBS_STANDIN_LOST is never run and fails, as one that exceeds its walltime.
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def qsub(folder: Path, arguments: list[str]) -> None:
    """Start a job script and print its number."""
    number = len(list(folder.glob("*.json"))) + 1
    job = f"{number}.pbs"
    (folder / f"{job}.json").write_text(json.dumps(arguments))
    print(job)
    if str(number) == os.environ.get("PBS_STANDIN_LOST"):
        (folder / f"{job}.status").write_text("271")
        return
    run = 'sh "$0"; echo $? > "$1.new"; mv "$1.new" "$1"'
    subprocess.Popen(
        ["setsid", "sh", "-c", run, arguments[-1], folder / f"{job}.status"],
        env=os.environ | {"PBS_JOBID": job},
        stdin=subprocess.DEVNULL,
        stdout=(folder / f"{job}.out").open("w"),
        stderr=subprocess.STDOUT,
    )


def qstat(folder: Path, arguments: list[str]) -> None:
    """Print a job's record as `qstat -x -f` does."""
    status = folder / f"{arguments[-1]}.status"
    lines = ["job_state = R"]
    if status.exists():
        lines = ["job_state = F", f"Exit_status = {int(status.read_text())}"]
    print(f"Job Id: {arguments[-1]}", *lines, sep="\n    ")


if __name__ == "__main__":
    commands = {"qsub": qsub, "qstat": qstat}
    commands[Path(sys.argv[0]).name](Path(os.environ["PBS_STANDIN"]), sys.argv[1:])
