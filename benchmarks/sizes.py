"""Seconds an image with the tiny model and the demo's settings, on all cores, by image size.

The demo leaves out prompts on the background; the same with all prompts is measured beside it, and
segment_anything's own generator, which knows no other way.

Wall-clock time: run it on a machine that does nothing else.
"""

import argparse
import os
import time

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import demo_parameters, report
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.model import load_model
from training.fields import FieldSettings, draw_field, single_hue

SIZES = ((256, 256), (520, 696), (1040, 1388))


def field(height: int, width: int) -> np.ndarray:
    """A green field of 40 nuclei, each a sixteenth of its longer side: (height, width, 3) uint8."""
    diameter = max(height, width) / 16
    settings = FieldSettings(height, width, diameter=diameter, count=40)
    image = draw_field(settings, np.random.default_rng(0)).image
    return single_hue(np.rint(image * 255).astype(np.uint8), (0.0, 1.0, 0.0))


def seconds_of(
    generator: MaskGenerator | SamAutomaticMaskGenerator, rgb: np.ndarray, repeats: int
) -> tuple[float, int]:
    """The median of the runs' seconds, and the number of masks."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        records = generator.generate(rgb)
        times.append(time.perf_counter() - start)
    return float(np.median(times)), len(records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    parameters = demo_parameters()
    sam = load_model("tiny")
    ours = MaskGenerator(sam, "fast", skip_background=True, **parameters)
    all_prompts = MaskGenerator(sam, "fast", **parameters)
    theirs = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    ours.generate(field(64, 64))  # the first call of a kernel prepares it
    images = {}
    for height, width in SIZES:
        rgb = field(height, width)
        seconds, masks = seconds_of(ours, rgb, arguments.repeats)
        all_seconds, all_masks = seconds_of(all_prompts, rgb, arguments.repeats)
        vanilla_seconds, vanilla_masks = seconds_of(theirs, rgb, 1)
        images[f"{height}x{width}"] = {
            "seconds": seconds,
            "masks": masks,
            "all_prompts_seconds": all_seconds,
            "all_prompts_masks": all_masks,
            "vanilla_seconds": vanilla_seconds,
            "vanilla_masks": vanilla_masks,
            "ratio": vanilla_seconds / seconds,
            "all_prompts_ratio": vanilla_seconds / all_seconds,
        }
    report(claim="seconds an image", model="tiny", parameters=parameters, images=images)


if __name__ == "__main__":
    main()
