"""When the time of a job is over that a scheduler gave it."""

import os
import time
from collections.abc import Mapping

from samfleet.devices.lease import scheduler_job


def job_end(minutes: float, environment: Mapping[str, str] = os.environ) -> float | None:
    """When a scheduler will end this job, by `time.time`; None outside of schedulers.

    Args:
        minutes: what the job asked for. Slurm says when it ends; elsewhere it is taken to begin now.
        environment: the environment that schedulers describe the job in.
    """
    try:
        return float(environment.get("SLURM_JOB_END_TIME", ""))
    except ValueError:
        return time.time() + 60 * minutes if scheduler_job(environment) else None
