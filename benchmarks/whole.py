"""Whole generators, ours against segment_anything's, on one synthetic picture.

Every prompt is upscaled unless ``--pred-iou-thresh`` is given. With ``--outputs synthetic`` encoder
and decoder run, and then the decoder's outputs are replaced by nuclei, since those of random
weights would make the post-processing unreal.
"""

import argparse

import torch
from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import (
    differing_fields,
    fluorescence,
    interleave,
    matched,
    report,
    use_one_thread,
)
from benchmarks.synthetic import SyntheticOutputs, synthetic_decoder
from samfleet.mask_generator import MaskGenerator
from samfleet.models import build_model, load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vit_b")
    parser.add_argument("--weights", choices=("random", "standard"), default="random")
    parser.add_argument("--outputs", choices=("real", "synthetic"), default="real")
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--points-per-batch", type=int, default=64)
    parser.add_argument("--pred-iou-thresh", type=float, default=0.0)
    parser.add_argument("--stability-score-thresh", type=float, default=0.75)
    parser.add_argument("--box-nms-thresh", type=float, default=0.7)
    parser.add_argument("--crop-n-layers", type=int, default=0)
    parser.add_argument("--min-mask-region-area", type=int, default=0)
    parser.add_argument("--precisions", nargs="+", default=["exact", "fast"])
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    use_one_thread()
    torch.manual_seed(0)

    if arguments.weights == "random":
        sam = build_model(arguments.model).eval()
    else:
        sam = load_model(arguments.model)
    names = (
        "points_per_side points_per_batch pred_iou_thresh stability_score_thresh box_nms_thresh "
        "crop_n_layers min_mask_region_area"
    )
    parameters = {name: getattr(arguments, name) for name in names.split()}
    generators = {name: MaskGenerator(sam, name, **parameters) for name in arguments.precisions}
    theirs = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    rgb = fluorescence(arguments.height, arguments.width)
    synthetic = None
    if arguments.outputs == "synthetic":
        points = theirs.point_grids[0]
        synthetic = synthetic_decoder(sam, points, real=sam.mask_decoder)
        sam.mask_decoder = synthetic
        for generator in generators.values():
            generator._decoder = SyntheticOutputs(synthetic, real=generator._decoder)

    synthesis = dict.fromkeys((*generators, "vanilla"), 0.0)

    def run(name, generator):
        if synthetic is not None:
            synthetic.restart()
        records = generator.generate(rgb)
        if synthetic is not None:
            synthesis[name] = synthetic.seconds
        return records

    sides = {name: lambda n=name, g=g: run(n, g) for name, g in generators.items()}
    sides["vanilla"] = lambda: run("vanilla", theirs)
    # Warm up: one batch of prompts each.
    for generator in (*generators.values(), theirs):
        grids = generator.point_grids
        generator.point_grids = [grid[: min(8, arguments.points_per_batch)] for grid in grids]
        run("vanilla", generator)
        generator.point_grids = grids
    results = interleave(sides, arguments.repeats)
    seconds = {name: results[name][0] - synthesis[name] for name in results}
    records = {name: result[1] for name, result in results.items()}
    report(
        claim="whole generator",
        model=arguments.model,
        weights=arguments.weights,
        outputs=arguments.outputs,
        image_size=[arguments.height, arguments.width],
        prompts=arguments.points_per_side**2,
        parameters=parameters,
        survivors={name: len(found) for name, found in records.items()},
        cpu_seconds=seconds,
        wall_seconds_by_stage={name: g.seconds for name, g in generators.items()},
        ratio={name: seconds["vanilla"] / seconds[name] for name in generators},
        differing_fields={
            name: differing_fields(records[name], records["vanilla"]) for name in generators
        },
        matched={name: matched(records[name], records["vanilla"]) for name in generators},
    )


if __name__ == "__main__":
    main()
