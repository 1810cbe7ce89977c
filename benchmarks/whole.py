"""Whole generators, ours against segment_anything's, on one picture.

Every prompt is upscaled unless ``--pred-iou-thresh`` is given. With ``--outputs synthetic`` encoder
and decoder run, and then the decoder's outputs are replaced by nuclei, since those of random
weights would make the post-processing unreal. A detection job on a CPU keeps memory that is freed;
``--keep-freed-memory`` has both sides do so.
"""

from pathlib import Path

import torch
from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import (
    compare_generators,
    fluorescence,
    generator_parameters,
    generator_parser,
    read_rgb,
    report,
    use_one_thread,
)
from benchmarks.synthetic import SyntheticOutputs, synthetic_decoder
from samfleet.detection.allocation import keep_freed_memory
from samfleet.mask_generator import MaskGenerator
from samfleet.models import build_model, load_model


def main() -> None:
    parser = generator_parser(__doc__)
    parser.add_argument("--model", default="vit_b")
    parser.add_argument("--weights", choices=("random", "standard"), default="random")
    parser.add_argument("--outputs", choices=("real", "synthetic"), default="real")
    parser.add_argument("--picture", type=Path, help="a file in place of a synthetic picture")
    parser.add_argument("--keep-freed-memory", action="store_true", help="as a detection job does")
    arguments = parser.parse_args()
    parameters = generator_parameters(arguments)
    use_one_thread()
    torch.manual_seed(0)
    kept = arguments.keep_freed_memory and keep_freed_memory()

    if arguments.weights == "random":
        sam = build_model(arguments.model).eval()
    else:
        sam = load_model(arguments.model)
    ours = {name: MaskGenerator(sam, name, **parameters) for name in arguments.precisions}
    theirs = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    synthetic = None
    if arguments.outputs == "synthetic":
        synthetic = synthetic_decoder(sam, theirs.point_grids[0], real=sam.mask_decoder)
        sam.mask_decoder = synthetic
        for generator in ours.values():
            generator._decoder = SyntheticOutputs(synthetic, real=generator._decoder)
    if arguments.picture:
        rgb = read_rgb(arguments.picture)
    else:
        rgb = fluorescence(arguments.height, arguments.width)
    compared = compare_generators(ours, theirs, rgb, synthetic=synthetic, repeats=arguments.repeats)
    report(
        claim="whole generator",
        model=arguments.model,
        weights=arguments.weights,
        outputs=arguments.outputs,
        image_size=rgb.shape[:2],
        prompts=sum(map(len, theirs.point_grids)),
        parameters=parameters,
        freed_memory_is_kept=kept,
        wall_seconds_by_stage={name: generator.seconds for name, generator in ours.items()},
        **compared,
    )


if __name__ == "__main__":
    main()
