"""What the parts have in common."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from segment_anything.modeling import Sam

from samfleet.sam.generator import PRECISIONS
from samfleet.sam.generator.precision import arithmetic
from samfleet.sam.model import build_model


def parse_device(description: str | None) -> torch.device:
    """The device that a command line asks for, the GPU if it says nothing."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    return torch.device(parser.parse_args().device)


def precisions_on(device: torch.device) -> list[str]:
    """The precisions that a device can do."""
    return [
        name for name, kind in PRECISIONS.items() if device.type == "cuda" or not kind.needs_gpu
    ]


def random_model(device: torch.device) -> Sam:
    """vit_h with random weights, the same ones each time; on a CPU tiny."""
    torch.manual_seed(0)
    with device:
        return build_model("vit_h" if device.type == "cuda" else "tiny").eval().to(device)


def synchronise(device: torch.device) -> None:
    """Waits for what a GPU has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """The card's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def seconds_of(device: torch.device, run: Callable[[], object], repeats: int) -> float:
    """Seconds that something takes by the clock, the mean of some runs after a first one."""
    run()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    synchronise(device)
    return (time.perf_counter() - start) / repeats


def product_side(device: torch.device) -> int:
    """Side of the matrices by whose products a device is measured."""
    return 8192 if device.type == "cuda" else 256


def teraflops(device: torch.device) -> dict[str, float]:
    """What products of large matrices reach on a device, two operations a multiply-add, in each format."""
    side = product_side(device)
    square = torch.randn(side, side, device=device)
    reached = {}
    for name, kind, values in (
        ("float32", "float32", square),
        ("tf32", "tf32", square),
        ("bf16", "float32", square.bfloat16()),
    ):
        with arithmetic(kind):
            product = partial(torch.matmul, values, values)
            reached[name] = 2 * side**3 / seconds_of(device, product, 5) / 1e12
    return reached


def profiled(
    run: Callable[[], object], device: torch.device
) -> tuple[torch.profiler.profile, float]:
    """Runs under torch's profiler with a GPU's kernels and copies.

    Returns:
        The profile, and the share of the time in which the device was busy.
    """
    synchronise(device)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        start = time.perf_counter()
        run()
        synchronise(device)
        seconds = time.perf_counter() - start
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profile.events()
        if is_on_device(event)  # not the launches on the CPU
    ]
    return profile, covered(spans) / 1e6 / seconds


def is_on_device(event: Any) -> bool:
    """Whether an event of the profiler is a kernel or a copy."""
    return bool(event.device_type.name == "CUDA")


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of intervals, which may overlap."""
    reached = length = 0.0
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length
