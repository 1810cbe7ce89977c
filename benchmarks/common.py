"""What the benchmarks share: fair timing, comparison of records, and the report."""

import json
import math
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import torch
from pycocotools import mask as coco


def use_one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def interleave(sides: dict[str, Callable], repeats: int) -> dict[str, tuple[float, object]]:
    """Runs the sides in turn.

    Returns:
        For each side, the least processor time of its runs in seconds, and its last result. With
        one thread, processor time is the time on an idle machine.
    """
    best = {name: (math.inf, None) for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            start = time.process_time()
            result = run()
            best[name] = min(best[name][0], time.process_time() - start), result
    return best


def differing_fields(ours: list[dict], theirs: list[dict]) -> int:
    """Fields that differ at all; a missing record counts as one."""
    differing = abs(len(ours) - len(theirs))
    for our, their in zip(ours, theirs, strict=False):
        for key in their:
            both_nan = our[key] != our[key] and their[key] != their[key]
            differing += our[key] != their[key] and not both_nan
    return int(differing)


def matched(ours: list[dict], theirs: list[dict], iou: float = 0.99) -> float:
    """Part of their masks that one of ours covers at this IoU or better."""
    if not theirs:
        return 1.0
    if not ours:
        return 0.0
    masks = [[record["segmentation"] for record in records] for records in (theirs, ours)]
    return float((coco.iou(*masks, [0] * len(ours)).max(1) >= iou).mean())


def fluorescence(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A pseudo-coloured field of blurred discs with noise: (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    field = np.zeros((height, width), np.float32)
    for _ in range(40):
        radius = int(min(height, width) * random.uniform(0.015, 0.05)) + 2
        centre = int(random.integers(width)), int(random.integers(height))
        cv2.circle(field, centre, radius, float(random.uniform(60, 230)), -1)
    field = cv2.GaussianBlur(field, (0, 0), 1.5) + random.normal(0, 4, field.shape)
    return (field[..., None] * np.array([0.2, 1, 0.5])).clip(0, 255).astype(np.uint8)


def report(**values) -> None:
    """Prints one JSON object, with the hardware and the versions."""
    packages = ("torch", "torchvision", "segment-anything", "numpy", "opencv-python-headless")
    values["hardware"] = {"processor": _processor(), "threads": torch.get_num_threads()}
    values["versions"] = {name: version(name) for name in packages}
    values["versions"]["python"] = platform.python_version()
    print(json.dumps(values, indent=2))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
