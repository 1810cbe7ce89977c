"""Masks that an encoder in bf16 changes, on a CPU, which rounds as a GPU does: tiny on the demo's images.

    python -m benchmarks.bf16

Both sides are compared with `fast`, whose decoder they share: torch's autocast of the whole encoder, and blocks whose
weights are in bf16, as `sam.precision: bf16` has them.
"""

from collections import Counter
from functools import partial

import torch

from benchmarks.common import demo_parameters, matched, read_rgb, report, use_one_thread
from samfleet.resources import DEMO_FOLDER
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.generator.encoder import encode_frames, in_bf16
from samfleet.sam.model import load_model


def main() -> None:
    use_one_thread()
    sam = load_model("tiny")
    finder = MaskGenerator(sam, "fast", **demo_parameters() | {"points_per_batch": None})
    exact = finder._encoder

    def autocast(frame: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return exact(frame)

    sides = {"autocast": autocast, "bf16": partial(encode_frames, in_bf16(sam).image_encoder)}
    total: Counter[str] = Counter()
    for path in sorted((DEMO_FOLDER / "images").rglob("field_*"))[::2]:
        rgb = read_rgb(path)
        finder._encoder = exact
        expected = finder.generate(rgb)
        total["masks"] += len(expected)
        for name, finder._encoder in sides.items():
            found = finder.generate(rgb)
            for iou in (0.99, 0.9):
                total[f"{name} matched at {iou}"] += round(
                    matched(found, expected, iou) * len(expected)
                )
    masks = total.pop("masks")
    report(
        claim="masks that an encoder in bf16 changes",
        masks=masks,
        **{name: round(count / masks, 4) for name, count in total.items()},
    )


if __name__ == "__main__":
    main()
