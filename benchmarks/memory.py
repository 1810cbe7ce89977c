"""Peak memory of one generator, in a process of its own.

Run it twice and compare: ours, and ``--precisions vanilla --points-per-batch 16``. Encoder and
decoder run with random weights, and then the decoder's outputs are replaced by nuclei. Every
batch takes the decoder the same memory, so that it need not run for all.
"""

import resource

import torch

from benchmarks.common import (
    fluorescence,
    generator_parameters,
    generator_parser,
    make_generator,
    report,
    use_one_thread,
)
from benchmarks.synthetic import SyntheticOutputs, synthetic_decoder
from samfleet.sam.model import build_model


def main() -> None:
    parser = generator_parser(
        __doc__,
        height=2048,
        width=2048,
        points_per_side=64,
        min_mask_region_area=100,
        precisions=["fast"],
    )
    parser.add_argument("--model", default="vit_b", help="random weights")
    parser.add_argument("--real-batches", type=int, default=2, help="that the decoder runs for")
    parser.add_argument("--batches", type=int, help="stop after so many batches of prompts")
    arguments = parser.parse_args()
    (precision,) = arguments.precisions
    parameters = generator_parameters(arguments)
    use_one_thread()
    torch.manual_seed(0)

    sam = build_model(arguments.model).eval()
    generator = make_generator(sam, precision, parameters)
    if arguments.batches:
        count = arguments.batches * arguments.points_per_batch
        generator.point_grids = [generator.point_grids[0][:count]]
    synthetic = synthetic_decoder(sam, generator.point_grids[0], real=sam.mask_decoder)
    synthetic.real_prompts = arguments.real_batches * arguments.points_per_batch
    if precision == "vanilla":
        sam.mask_decoder = synthetic
    else:
        generator._decoder = SyntheticOutputs(synthetic, real=generator._decoder)
    rgb = fluorescence(arguments.height, arguments.width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records = generator.generate(rgb)
    report(
        claim="peak memory",
        precision=precision,
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
