"""The makespan of a plan ÷ that of devices that are never idle, and the model loads, on a virtual clock.

Packing, order and claims are samfleet's own; a detection is an image's drawn seconds, which the planner does not know.
With `--real`, real jobs of samfleet instead, on pretended devices, with a generator that sleeps.
"""

import argparse
import json
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.balance.others import even_split, shards_before
from benchmarks.balance.simulation import (
    EXPECTED_SECONDS,
    LOAD_SECONDS,
    Device,
    Outcome,
    draw_costs,
    ideal,
    run_drawing,
    run_fixed,
)

HOUR = 3600.0
SEEDS = {1_000: 20, 10_000: 3, 20_000: 2, 100_000: 1, 1_000_000: 1}

CASES: list[tuple[str, int, list[Device], float | None]] = [
    *((f"8 devices, {n:,} images", n, [Device()] * 8, aim) for n, aim in
      ((1_000, 1.10), (10_000, 1.03), (100_000, 1.01))),
    *((f"one of them at half speed, {n:,} images", n, [Device(0.5)] + [Device()] * 7, aim) for n, aim in
      ((1_000, 1.15), (10_000, 1.05), (100_000, 1.03))),
    *((f"160 devices, {n:,} images", n, [Device()] * 160, aim) for n, aim in
      ((10_000, None), (100_000, 1.08), (1_000_000, 1.03))),
    ("16 of 160 at half speed, 100,000 images", 100_000,
     [Device(0.5)] * 16 + [Device()] * 144, None),
    ("two of eight come an hour late, 20,000 images", 20_000,
     [Device()] * 6 + [Device(comes=HOUR)] * 2, 1.10),
    ("two of eight are killed after an hour, 20,000 images", 20_000,
     [Device()] * 6 + [Device(goes=HOUR)] * 2, 1.10),
]  # fmt: skip
"""What is simulated, with the largest ratio that is aimed at, if any."""


def _ways(
    images: int, devices: int
) -> dict[str, Callable[[np.ndarray, Sequence[Device]], Outcome]]:
    before = shards_before([EXPECTED_SECONDS] * images, devices, LOAD_SECONDS)
    even = even_split(images, devices)
    return {
        "even split": lambda costs, fleet: run_fixed(even, costs, fleet),
        "before": lambda costs, fleet: run_fixed(before, costs, fleet),
        "drawn": run_drawing,
    }


def simulate(name: str, images: int, devices: list[Device], aim: float | None) -> dict[str, object]:
    """The mean and the largest ratio over some seeds, and the model loads, of each way."""
    row: dict[str, object] = {"case": name, "aim": aim, "seeds": SEEDS[images]}
    for way, run in _ways(images, len(devices)).items():
        ratios, outcomes = [], []
        for seed in range(SEEDS[images]):
            costs = draw_costs(images, seed)
            outcomes.append(run(costs, devices))
            ratios.append(outcomes[-1].makespan / ideal(costs, devices))
        row[way] = {
            "mean": round(float(np.mean(ratios)), 3),
            "largest": round(max(ratios), 3),
            "loads": round(float(np.mean([outcome.loads for outcome in outcomes])), 1),
            "doubled": max(outcome.doubled for outcome in outcomes),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balance", description=__doc__)
    parser.add_argument("--largest", type=int, default=10**6, help="leave out cases of more images")
    arguments = parser.parse_args()
    for case in CASES:
        if case[1] <= arguments.largest:
            print(json.dumps(simulate(*case)), flush=True)


if __name__ == "__main__":
    main()
