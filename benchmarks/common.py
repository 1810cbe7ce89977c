"""What the benchmarks share: command line, fair timing, comparison of records, and the report."""

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from pycocotools import mask as coco
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from benchmarks.job_sides import LIBRARY_PARAMETERS
from benchmarks.synthetic import SyntheticDecoder
from samfleet.config.schema import complete_config
from samfleet.config.settings import settings_of
from samfleet.images.reading import Failure, read_image
from samfleet.sam.generator import PRECISIONS, MaskGenerator
from samfleet.sam.model import build_model, load_model

PARAMETERS = {
    "points_per_side": 32,
    "points_per_batch": 64,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.75,
    "box_nms_thresh": 0.7,
    "crop_n_layers": 0,
    "min_mask_region_area": 0,
}
"""Parameters of generators that can be given on the command line, with their defaults."""

WARM_UP_PROMPTS = 8

DEMO = Path(__file__).resolve().parents[1] / "config" / "config.yaml"


def positive(text: str) -> int:
    """A whole number of at least 1, for command lines."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def generator_parser(description: str, **defaults: Any) -> argparse.ArgumentParser:
    """A command line for generators: ``PARAMETERS``, the image's size, precisions, repeats.

    Args:
        description: of the command.
        defaults: where they differ.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1024)
    for name, default in PARAMETERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    known = ["vanilla", *PRECISIONS]
    parser.add_argument("--precisions", nargs="+", choices=known, default=["exact", "fast"])
    parser.add_argument("--repeats", type=positive, default=1, help="the least time counts")
    parser.set_defaults(**defaults)
    return parser


def generator_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """The ``PARAMETERS`` of a command line."""
    return {name: getattr(arguments, name) for name in PARAMETERS}


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what ``chosen_model`` reads."""
    parser.add_argument("--model", default="vit_b")
    parser.add_argument("--weights", choices=("random", "standard"), default="random")


def chosen_model(arguments: argparse.Namespace) -> Sam:
    """The model of a command line, in evaluation mode on the CPU."""
    if arguments.weights == "random":
        return build_model(arguments.model).eval()
    return load_model(arguments.model)


def make_generator(
    sam: Sam, precision: str, parameters: dict[str, Any]
) -> MaskGenerator | SamAutomaticMaskGenerator:
    """Our generator of a precision, or the library's for ``vanilla``."""
    if precision == "vanilla":
        return SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    return MaskGenerator(sam, precision, **parameters)


def demo_parameters() -> dict[str, Any]:
    """Parameters of generators as the demo's configuration has them, but for all prompts."""
    settings = yaml.safe_load(DEMO.read_text())["sam"]
    return {name: settings[name] for name in LIBRARY_PARAMETERS if name in settings}


def use_one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def interleave(
    sides: dict[str, Callable], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, tuple[float, Any]]:
    """Runs the sides in turn.

    Args:
        sides: what to run.
        repeats: how often.
        clock: seconds. With one thread, processor time is the time on an idle machine.

    Returns:
        For each side, the least time of its runs in seconds, and its last result.
    """
    best: dict[str, tuple[float, Any]] = {name: (math.inf, None) for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            start = clock()
            result = run()
            best[name] = min(best[name][0], clock() - start), result
    return best


def compare_generators(
    ours: dict[str, MaskGenerator],
    theirs: SamAutomaticMaskGenerator,
    rgb: np.ndarray,
    *,
    synthetic: SyntheticDecoder | None,
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """Runs generators in turn on one image, after a warm-up with a few prompts each.

    Args:
        ours: generators by precision.
        theirs: the library's.
        rgb: (height, width, 3) uint8.
        synthetic: makes their decoders' outputs up, if anything does. That takes no part of the
            times.
        repeats: how often each is run; the least time counts.
        clock: seconds.

    Returns:
        Values for ``report``: seconds, ratios, and how records differ from the library's.
    """
    generators = ours | {"vanilla": theirs}
    synthesis = dict.fromkeys(generators, 0.0)

    def run(name: str) -> list[dict]:
        if synthetic is None:
            return generators[name].generate(rgb)
        synthetic.restart()
        records = generators[name].generate(rgb)
        synthesis[name] = synthetic.seconds
        return records

    for name, generator in generators.items():
        grids = generator.point_grids
        generator.point_grids = [grid[:WARM_UP_PROMPTS] for grid in grids]
        run(name)
        generator.point_grids = grids
    results = interleave({name: lambda n=name: run(n) for name in generators}, repeats, clock)
    seconds = {name: results[name][0] - synthesis[name] for name in results}
    records = {name: results[name][1] for name in results}
    vanilla = records["vanilla"]
    return {
        "survivors": {name: len(found) for name, found in records.items()},
        "seconds": seconds,
        "ratio": {name: seconds["vanilla"] / seconds[name] for name in ours},
        "fields": sum(map(len, vanilla)),
        "differing_fields": {name: differing_fields(records[name], vanilla) for name in ours},
        "matched": {name: matched(records[name], vanilla) for name in ours},
    }


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
    noisy = cv2.GaussianBlur(field, (0, 0), 1.5) + random.normal(0, 4, field.shape)
    return (noisy[..., None] * np.array([0.2, 1, 0.5])).clip(0, 255).astype(np.uint8)


def read_rgb(path: Path) -> np.ndarray:
    """A file as SAM sees it with the default settings: (height, width, 3) uint8."""
    settings = settings_of(complete_config({"images": str(path.parent)}))
    read = read_image(path, settings.image, settings.display)
    if isinstance(read, Failure):
        raise SystemExit(f"{path}: {read.reason}")
    return read.rgb


def report(**values: object) -> None:
    """Prints one JSON object, with the hardware and the versions."""
    packages = ("torch", "torchvision", "segment-anything", "numpy", "opencv-python-headless")
    values["hardware"] = {"processor": _processor(), "threads": torch.get_num_threads()}
    versions = {name: version(name) for name in packages}
    values["versions"] = versions | {"python": platform.python_version()}
    print(json.dumps(values, indent=2))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
