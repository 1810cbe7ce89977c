"""How threads of torch wait for each other. Standard library only: this comes before torch."""

import os
from collections.abc import MutableMapping


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make threads that wait for others sleep instead of spinning, unless the user chose already.

    torch from PyPI has GNU's OpenMP, whose threads spin for milliseconds at the end of each of the thousands
    of parallel loops of an image. Where other processes want the cores, that keeps the very thread that is
    waited for from running. OpenMP reads this when it is loaded, so call it before torch is imported.
    `python -m benchmarks.crowded` shows what it costs and saves.
    """
    if "GOMP_SPINCOUNT" not in environment:
        environment.setdefault("OMP_WAIT_POLICY", "passive")
