"""How threads of torch wait for each other. Standard library only: this comes before torch."""

import os
from collections.abc import MutableMapping


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
