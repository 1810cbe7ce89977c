"""The CPU threads of a job: how they wait, and whether they suffice. Standard library only: before torch."""

import logging
import math
import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from samfleet.wording import counted

logger = logging.getLogger(__name__)

MAXIMUM_WORKERS = 16
"""A fast GPU finds the masks of several images in the second that measuring one image can take."""

_ENOUGH_IMAGES = 50
"""So many tell how long an image takes."""

_TOLERANCE = 1.1


def wait_passively_in_a_crowd(environment: MutableMapping[str, str] = os.environ) -> None:
    """On a crowded machine let threads that wait for others sleep, unless the user chose already.

    torch from PyPI has GNU's OpenMP, whose threads spin for milliseconds at the end of each of the thousands
    of parallel loops of an image. On a quiet machine that saves a quarter of the time. Where other processes
    want the cores, it keeps the very thread that is waited for from running, and doubles it
    (`python -m benchmarks.crowded`). OpenMP reads this when it is loaded, so call it before torch is imported.
    """
    if not environment.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} and _is_crowded():
        environment["OMP_WAIT_POLICY"] = "passive"


def _is_crowded() -> bool:
    """Whether the processes of the last minute wanted all cores that this one may use."""
    return os.getloadavg()[0] >= len(os.sched_getaffinity(0))


def unusable_threads(threads: int) -> str:
    """That this process may not use as many CPUs as it was given threads, in words; empty if it may."""
    usable = len(os.sched_getaffinity(0))
    if usable >= threads:
        return ""
    return (
        f"the job was given {threads} CPU threads and may use {counted(usable, 'CPU')}: let it use as many, or give it "
        "fewer threads (shard.threads on a cluster, elsewhere --cores)"
    )


class Supply:
    """Whether worker processes read and measure images as fast as a device finds their masks; said once if not.

    Args:
        workers: number of worker processes.
    """

    def __init__(self, workers: int):
        self._workers = workers
        self._images = 0
        self._worked = 0.0
        self._said = False

    def note(self, ledger: Mapping[str, Any], device_seconds: float) -> None:
        """Count an image.

        Args:
            ledger: has the seconds that workers spent on it.
            device_seconds: how long the device has worked on all images.
        """
        self._worked += sum(ledger.get(f"seconds_{what}", 0.0) for what in ("reading", "measuring"))
        self._images += 1
        if not self._said and (words := self._shortage(device_seconds)):
            self._said = True
            logger.warning("%s", words)

    def _shortage(self, device_seconds: float) -> str:
        if self._images < _ENOUGH_IMAGES or not device_seconds:
            return ""
        needed = self._worked / device_seconds
        if needed <= _TOLERANCE * self._workers:
            return ""
        words = (
            f"{self._workers} worker process{'es' if self._workers > 1 else ''} can read and measure "
            f"{self._images * self._workers / self._worked:.2g} images a second, the device finds the masks of "
            f"{self._images / device_seconds:.2g}, so that it waits."
        )
        if self._workers >= MAXIMUM_WORKERS:
            return f"{words} A job has no more of them, however many CPU threads it is given"
        threads = min(math.ceil(needed), MAXIMUM_WORKERS) + 1
        return (
            f"too few CPU threads: {words} Give the job {threads} threads: shard.threads on a cluster, elsewhere more "
            "--cores, which the jobs share"
        )
