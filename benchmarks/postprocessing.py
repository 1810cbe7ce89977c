"""Post-processing of ours against segment_anything's, on synthetic decoder outputs of nuclei.

Everything after the decoder: filters, upsampling, stability, boxes, non-maximum suppression,
removal of small regions, run-length encoding. Settings as in the origin's script.
"""

import argparse

import torch
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.utils.amg import build_point_grid

from benchmarks.common import (
    differing_fields,
    fluorescence,
    interleave,
    matched,
    report,
    use_one_thread,
)
from benchmarks.synthetic import NoEncoder, SyntheticOutputs, synthetic_decoder
from samfleet.mask_generator import MaskGenerator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--points-per-side", type=int, default=64)
    parser.add_argument("--pred-iou-thresh", type=float, default=0.75)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    use_one_thread()

    points = build_point_grid(arguments.points_per_side)
    sam = sam_model_registry["vit_b"]().eval()
    sam.image_encoder = NoEncoder(sam.image_encoder.img_size)
    sam.mask_decoder = decoder = synthetic_decoder(sam, points)
    parameters = {
        "points_per_side": arguments.points_per_side,
        "points_per_batch": 64,
        "pred_iou_thresh": arguments.pred_iou_thresh,
        "stability_score_thresh": 0.75,
        "min_mask_region_area": 100,
    }
    theirs = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    ours = {name: MaskGenerator(sam, name, **parameters) for name in ("exact", "fast")}
    for generator in ours.values():
        generator._encoder = sam.image_encoder
        generator._decoder = SyntheticOutputs(decoder)
    rgb = fluorescence(arguments.height, arguments.width)

    synthesis = {}

    def run(name, generator):
        decoder.restart()
        records = generator.generate(rgb)
        synthesis[name] = decoder.seconds
        return records

    sides = {
        name: lambda n=name, g=g: run(n, g) for name, g in (*ours.items(), ("vanilla", theirs))
    }
    # Warm up: the first prompts alone, and our tables for this geometry.
    for generator in (*ours.values(), theirs):
        grids, generator.point_grids = generator.point_grids, [points[:64]]
        run("warm-up", generator)
        generator.point_grids = grids
    results = interleave(sides, arguments.repeats)
    seconds = {name: results[name][0] - synthesis[name] for name in results}
    records = {name: results[name][1] for name in results}
    iou = torch.cat([decoder.nuclei.predicted_iou(p, i) for i, p in enumerate(decoder.points)])
    report(
        claim="post-processing",
        image_size=[arguments.height, arguments.width],
        prompts=len(points),
        parameters=parameters,
        rejected_early=float((iou <= arguments.pred_iou_thresh).float().mean()),
        masks_compared=len(iou),
        survivors={name: len(found) for name, found in records.items()},
        cpu_seconds=seconds,
        ratio={name: seconds["vanilla"] / seconds[name] for name in ours},
        differing_fields={n: differing_fields(records[n], records["vanilla"]) for n in ours},
        matched={name: matched(records[name], records["vanilla"]) for name in ours},
    )


if __name__ == "__main__":
    main()
