"""Whole generators, ours against segment_anything's, on one image.

Every prompt is upscaled unless ``--pred-iou-thresh`` is given. With ``--outputs synthetic`` encoder
and decoder run, and then the decoder's outputs are replaced by nuclei, since those of random
weights would make the post-processing unreal.
"""

from pathlib import Path

import torch

from benchmarks.common import (
    add_model_arguments,
    chosen_model,
    compare_generators,
    fluorescence,
    generator_parameters,
    generator_parser,
    make_generator,
    read_rgb,
    report,
    use_one_thread,
)
from benchmarks.synthetic import SyntheticOutputs, synthetic_decoder


def main() -> None:
    parser = generator_parser(__doc__)
    add_model_arguments(parser)
    parser.add_argument("--outputs", choices=("real", "synthetic"), default="real")
    parser.add_argument("--image", type=Path, help="a file in place of a synthetic image")
    arguments = parser.parse_args()
    parameters = generator_parameters(arguments)
    use_one_thread()
    torch.manual_seed(0)

    sam = chosen_model(arguments)
    ours = {name: make_generator(sam, name, parameters) for name in arguments.precisions}
    theirs = make_generator(sam, "vanilla", parameters)
    synthetic = None
    if arguments.outputs == "synthetic":
        synthetic = synthetic_decoder(sam, theirs.point_grids[0], real=sam.mask_decoder)
        sam.mask_decoder = synthetic
        for generator in ours.values():
            generator._decoder = SyntheticOutputs(synthetic, real=generator._decoder)
    if arguments.image:
        rgb = read_rgb(arguments.image)
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
        wall_seconds_by_stage={name: generator.seconds for name, generator in ours.items()},
        **compared,
    )


if __name__ == "__main__":
    main()
