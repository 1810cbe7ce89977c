"""How many fields of the records differ between ``exact`` and segment_anything, and how ``fast`` does.

Random weights and synthetic images, with the threshold on predicted IoU at a quantile of what the
model predicts, so that masks pass and masks are rejected; boxes are compared with and without
suppression. At the end no mask passes, and one covers everything.

Such masks fill the frame, and so those of crops are rejected as cut off by the crops' edges. A folder
of images is done with the model's standard weights and thresholds as in the demo, and there
``records_from_crops`` are many.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from benchmarks.common import (
    demo_parameters,
    differing_fields,
    fluorescence,
    matched,
    read_rgb,
    report,
    use_one_thread,
)
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.model import build_model, load_model

SIZES = ("512x512", "1024x1024", "512x700", "1040x1388", "2048x2048", "333x517")


def compare(sam: Sam, rgb: np.ndarray, case: dict, parameters: dict) -> dict:
    """Runs both generators, and ``fast``, on one image."""
    generator = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    theirs = generator.generate(rgb)
    ours = MaskGenerator(sam, "exact", **parameters).generate(rgb)
    fast = MaskGenerator(sam, "fast", **parameters).generate(rgb)
    whole_image = [0, 0, rgb.shape[1], rgb.shape[0]]
    return case | {
        "records": len(theirs),
        "distinct_masks": len({r["segmentation"]["counts"] for r in theirs}),
        "records_from_crops": sum(r["crop_box"] != whole_image for r in theirs),
        "differing_fields": differing_fields(ours, theirs),
        "fast": {
            "records": len(fast),
            "matched": matched(fast, theirs),
            "matched_the_other_way": matched(theirs, fast),
            "differing_fields": differing_fields(fast, theirs),
        },
    }


def synthetic_cases(sam: Sam, arguments: argparse.Namespace) -> list[dict]:
    cases = []
    for size, layers, batch, area, nms_thresh in itertools.product(
        arguments.sizes,
        arguments.crop_n_layers,
        arguments.points_per_batch,
        arguments.min_mask_region_area,
        arguments.nms_thresh,
    ):
        height, width = (int(length) for length in size.split("x"))
        rgb = fluorescence(height, width)
        parameters = {
            "points_per_side": arguments.points_per_side,
            "points_per_batch": batch,
            "stability_score_thresh": 0.0,
            "crop_n_layers": layers,
            "crop_n_points_downscale_factor": 2,
            "min_mask_region_area": area,
            "pred_iou_thresh": predicted_iou(sam, rgb, 0.3),
            "box_nms_thresh": nms_thresh,
            "crop_nms_thresh": nms_thresh,
        }
        case = {"size": size, "crop_n_layers": layers, "points_per_batch": batch}
        case |= {"min_mask_region_area": area, "nms_thresh": nms_thresh}
        cases.append(compare(sam, rgb, case, parameters))
    return cases


def predicted_iou(sam: Sam, rgb: np.ndarray, quantile: float) -> float:
    """A quantile of the IoUs that the model predicts for a few prompts."""
    generator = MaskGenerator(
        sam, points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1
    )
    found = generator.generate(rgb)
    return float(np.quantile([record["predicted_iou"] for record in found], quantile))


def extreme_cases(model: str) -> list[dict]:
    """No mask passes; one mask covers everything."""
    rgb = fluorescence(300, 400)
    sam = build_model(model).eval()
    parameters: dict[str, float] = {
        "points_per_side": 4,
        "points_per_batch": 16,
        "min_mask_region_area": 100,
    }
    none = compare(sam, rgb, {"case": "none"}, parameters | {"pred_iou_thresh": 1e9})
    for network in sam.mask_decoder.output_hypernetworks_mlps:
        torch.nn.init.zeros_(network.layers[-1].weight)
        torch.nn.init.ones_(network.layers[-1].bias)
    torch.nn.init.zeros_(sam.mask_decoder.output_upscaling[3].weight)
    torch.nn.init.ones_(sam.mask_decoder.output_upscaling[3].bias)
    parameters |= {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.75}
    return [none, compare(sam, rgb, {"case": "all covered"}, parameters)]


def real_cases(sam: Sam, arguments: argparse.Namespace) -> list[dict]:
    cases = []
    for path, layers, area in itertools.product(
        sorted(path for path in arguments.folder.rglob("*") if path.is_file()),
        arguments.crop_n_layers,
        arguments.min_mask_region_area,
    ):
        rgb = read_rgb(path)
        case = {"image": path.name, "size": "x".join(map(str, rgb.shape[:2]))}
        varied = {"crop_n_layers": layers, "min_mask_region_area": area}
        parameters = demo_parameters() | varied
        parameters["points_per_side"] = arguments.points_per_side
        parameters["crop_n_points_downscale_factor"] = 2
        cases.append(compare(sam, rgb, case | varied, parameters))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="of images that can be read")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="HEIGHTxWIDTH")
    parser.add_argument("--crop-n-layers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--points-per-side", type=int, default=6)
    parser.add_argument("--points-per-batch", nargs="+", type=int, default=[16])
    parser.add_argument("--min-mask-region-area", nargs="+", type=int, default=[0, 100])
    parser.add_argument("--nms-thresh", nargs="+", type=float, default=[1.0, 0.7])
    arguments = parser.parse_args()
    use_one_thread()
    torch.manual_seed(0)
    if arguments.folder:
        cases = real_cases(load_model(arguments.model), arguments)
    else:
        cases = synthetic_cases(build_model(arguments.model).eval(), arguments)
        cases += extreme_cases(arguments.model)
    report(
        claim="exactness",
        model=arguments.model,
        cases=cases,
        records=sum(case["records"] for case in cases),
        differing_fields=sum(case["differing_fields"] for case in cases),
        fast={
            "records": sum(case["fast"]["records"] for case in cases),
            "matched": float(
                np.average(
                    [case["fast"]["matched"] for case in cases],
                    weights=[case["records"] for case in cases],
                )
            ),
        },
    )


if __name__ == "__main__":
    main()
