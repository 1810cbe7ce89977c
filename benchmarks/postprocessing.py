"""Post-processing of ours against segment_anything's, on synthetic decoder outputs of nuclei.

Everything after the decoder: filters, upsampling, stability, boxes, non-maximum suppression,
removal of small regions, run-length encoding. Settings as in the origin's script.
"""

import torch
from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import (
    compare_generators,
    fluorescence,
    generator_parameters,
    generator_parser,
    report,
    use_one_thread,
)
from benchmarks.synthetic import NoEncoder, SyntheticOutputs, synthetic_decoder
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.model import build_model


def main() -> None:
    parser = generator_parser(
        __doc__, points_per_side=64, pred_iou_thresh=0.75, min_mask_region_area=100
    )
    arguments = parser.parse_args()
    parameters = generator_parameters(arguments)
    use_one_thread()

    sam = build_model("vit_b").eval()
    sam.image_encoder = NoEncoder(sam.image_encoder.img_size)
    theirs = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    synthetic = synthetic_decoder(sam, theirs.point_grids[0])
    sam.mask_decoder = synthetic
    ours = {name: MaskGenerator(sam, name, **parameters) for name in arguments.precisions}
    for generator in ours.values():
        generator._encoder = sam.image_encoder
        generator._decoder = SyntheticOutputs(synthetic)
    iou = torch.cat([synthetic.nuclei.predicted_iou(p, i) for i, p in enumerate(synthetic.points)])
    report(
        claim="post-processing",
        image_size=[arguments.height, arguments.width],
        prompts=len(synthetic.points),
        parameters=parameters,
        rejected_early=float((iou <= arguments.pred_iou_thresh).float().mean()),
        masks_compared=len(iou),
        **compare_generators(
            ours,
            theirs,
            fluorescence(arguments.height, arguments.width),
            synthetic=synthetic,
            repeats=arguments.repeats,
        ),
    )


if __name__ == "__main__":
    main()
