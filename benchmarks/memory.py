"""Peak memory of one generator, in a process of its own.

Run it twice and compare: ours, and ``--precision vanilla --points-per-batch 16``. Encoder and
decoder run with random weights, and then the decoder's outputs are replaced by nuclei.
"""

import argparse
import resource

import torch
from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import fluorescence, report, use_one_thread
from benchmarks.synthetic import SyntheticOutputs, synthetic_decoder
from samfleet.mask_generator import MaskGenerator
from samfleet.models import build_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="fast", help="or vanilla")
    parser.add_argument("--model", default="vit_b", help="random weights")
    parser.add_argument("--height", type=int, default=2048)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--points-per-side", type=int, default=64)
    parser.add_argument("--points-per-batch", type=int, default=64)
    parser.add_argument("--batches", type=int, help="stop after so many batches of prompts")
    arguments = parser.parse_args()
    use_one_thread()
    torch.manual_seed(0)

    sam = build_model(arguments.model).eval()
    parameters = {
        "points_per_side": arguments.points_per_side,
        "points_per_batch": arguments.points_per_batch,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.75,
        "min_mask_region_area": 100,
    }
    if arguments.precision == "vanilla":
        generator = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    else:
        generator = MaskGenerator(sam, arguments.precision, **parameters)
    if arguments.batches:
        count = arguments.batches * arguments.points_per_batch
        generator.point_grids = [generator.point_grids[0][:count]]
    synthetic = synthetic_decoder(sam, generator.point_grids[0], real=sam.mask_decoder)
    if arguments.precision == "vanilla":
        sam.mask_decoder = synthetic
    else:
        generator._decoder = SyntheticOutputs(synthetic, real=generator._decoder)
    rgb = fluorescence(arguments.height, arguments.width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records = generator.generate(rgb)
    report(
        claim="peak memory",
        precision=arguments.precision,
        model=arguments.model,
        image_size=[arguments.height, arguments.width],
        prompts=len(generator.point_grids[0]),
        parameters=parameters,
        survivors=len(records),
        mebibytes={
            "with the model loaded": before / 1024,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
    )


if __name__ == "__main__":
    main()
