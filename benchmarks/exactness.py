"""How many fields of the records differ between ``exact`` and segment_anything.

Random weights, and thresholds at quantiles of what the model predicts, so that masks pass and
masks are rejected; boxes are compared with and without suppression.
"""

import argparse
import itertools

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import differing_fields, fluorescence, report, use_one_thread
from samfleet.mask_generator import MaskGenerator
from samfleet.models import build_model

SIZES = ("512x512", "1024x1024", "512x700", "1040x1388", "2048x2048", "333x517")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="HEIGHTxWIDTH")
    parser.add_argument("--crop-n-layers", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--points-per-side", type=int, default=6)
    parser.add_argument("--points-per-batch", nargs="+", type=int, default=[16])
    parser.add_argument("--min-mask-region-area", nargs="+", type=int, default=[0, 100])
    arguments = parser.parse_args()
    use_one_thread()
    torch.manual_seed(0)
    sam = build_model(arguments.model).eval()
    cases = []
    for size, layers, batch, area in itertools.product(
        arguments.sizes,
        arguments.crop_n_layers,
        arguments.points_per_batch,
        arguments.min_mask_region_area,
    ):
        height, width = (int(length) for length in size.split("x"))
        rgb = fluorescence(height, width)
        parameters = {
            "points_per_side": arguments.points_per_side,
            "points_per_batch": batch,
            "pred_iou_thresh": 0.0,
            "stability_score_thresh": 0.0,
            "box_nms_thresh": 1.0,
            "crop_nms_thresh": 1.0,
            "crop_n_layers": layers,
            "crop_n_points_downscale_factor": 2,
            "min_mask_region_area": area,
        }
        everything = MaskGenerator(sam, "exact", **parameters).generate(rgb)
        parameters["pred_iou_thresh"] = float(
            np.quantile([record["predicted_iou"] for record in everything], 0.3)
        )
        theirs = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters).generate(rgb)
        ours = MaskGenerator(sam, "exact", **parameters).generate(rgb)
        cases.append(
            {
                "size": size,
                "crop_n_layers": layers,
                "points_per_batch": batch,
                "min_mask_region_area": area,
                "records": len(theirs),
                "distinct_masks": len({r["segmentation"]["counts"] for r in theirs}),
                "differing_fields": differing_fields(ours, theirs),
            }
        )
    report(
        claim="exactness",
        model=arguments.model,
        cases=cases,
        differing_fields=sum(case["differing_fields"] for case in cases),
    )


if __name__ == "__main__":
    main()
