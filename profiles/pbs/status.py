#!/usr/bin/env python3
"""Tell Snakemake whether a PBS job is running, has succeeded or has failed."""

import re
import subprocess
import sys


def status(answer: str) -> str:
    """The state of a job from the output of `qstat -x -f`."""
    if "Unknown Job Id" in answer:
        return "failed"  # PBS has forgotten the job: running it again costs little, but waiting would never end
    state = re.search(r"^\s*job_state = (\w)", answer, re.MULTILINE)
    if state is None or state[1] not in "FXC":
        return "running"  # also if PBS does not answer: Snakemake asks again
    exit_status = re.search(r"^\s*exit_status = (-?\d+)", answer, re.MULTILINE | re.IGNORECASE)
    return "success" if exit_status and exit_status[1] == "0" else "failed"


if __name__ == "__main__":
    run = subprocess.run(["qstat", "-x", "-f", sys.argv[1]], capture_output=True, text=True)
    print(status(run.stdout + run.stderr))
