"""Whole generators on a GPU, every precision against segment_anything's, at the origin's setting.

Encoder and decoder of random weights run, and then the decoder's outputs are replaced by nuclei
that were made up beforehand, so that as many masks survive as on real images. Then a row of images is
shown without making records, as a job does it, whose workers make them: the next one is encoded ahead.

On a machine without a GPU this runs at a small size with ``--device cpu --model tiny --height 256
--width 256 --points-per-side 8``, which says nothing about a GPU.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import (
    compare_generators,
    fluorescence,
    generator_parameters,
    generator_parser,
    positive,
    report,
)
from benchmarks.gpu.common import (
    device_name,
    precisions_on,
    profiled,
    seconds_of,
    synchronise,
    teraflops,
)
from benchmarks.synthetic import SyntheticOutputs, synthetic_decoder
from samfleet.sam.generator import PRECISIONS, MaskGenerator
from samfleet.sam.model import build_model

ENCODER_FLOP = {"vit_b": 0.97e12, "vit_l": 2.99e12, "vit_h": 5.96e12}
DECODER_FLOP = 3.62e9
"""Floating-point operations of segment_anything, two a multiply-add: an image's, and a prompt's."""

PEAK = {"exact": 67e12, "fast": 67e12, "tf32": 494.7e12, "bf16": 989.4e12}
"""Operations a second, dense, of an H100 or H200 SXM by NVIDIA's data sheets."""


def main() -> None:
    parser = generator_parser(
        __doc__,
        points_per_side=64,
        pred_iou_thresh=0.75,
        min_mask_region_area=100,
        precisions=None,
        repeats=3,
    )
    parser.add_argument("--model", default="vit_h", help="random weights")
    parser.add_argument(
        "--our-points-per-batch",
        type=positive,
        nargs="+",
        help="numbers of prompts decoded at once, to be compared; default: the precision's own",
    )
    parser.add_argument(
        "--in-a-row", type=positive, default=4, help="images that follow each other"
    )
    parser.add_argument("--compiled", action="store_true", help="also with `sam.compile`")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    parameters = generator_parameters(arguments)
    device = torch.device(arguments.device)
    precisions = arguments.precisions or precisions_on(device)
    if impossible := [name for name in precisions if name not in precisions_on(device)]:
        parser.error(f"not on this device, or always measured: {', '.join(impossible)}")
    torch.manual_seed(0)

    sam = build_model(arguments.model).eval().to(device)
    theirs = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    synthetic = synthetic_decoder(sam, theirs.point_grids[0], real=sam.mask_decoder)
    synthetic.prepare(device)
    ours = {}
    for batch in arguments.our_points_per_batch or [None]:
        own, of = parameters | {"points_per_batch": batch}, f", {batch} prompts" if batch else ""
        for name in precisions:
            ours[f"{name}{of}"] = MaskGenerator(sam, name, **own)
            if arguments.compiled and name != "exact":
                ours[f"{name}{of}, compiled"] = MaskGenerator(sam, name, compiled=True, **own)
    for generator in ours.values():
        generator._decoder = SyntheticOutputs(synthetic, real=generator._decoder)
    sam.mask_decoder = synthetic
    rgb = fluorescence(arguments.height, arguments.width)

    def clock() -> float:
        synchronise(device)
        return time.perf_counter()

    compared = compare_generators(
        ours, theirs, rgb, synthetic=synthetic, repeats=arguments.repeats, clock=clock
    )
    use = {
        name: device_use(partial(generator.generate, rgb), synthetic.restart, device)
        for name, generator in (ours | {"vanilla": theirs}).items()
    }
    rows = {
        name: in_a_row(generator, rgb, arguments.in_a_row, synthetic.restart, device)
        for name, generator in ours.items()
    }
    flop = None
    if arguments.model in ENCODER_FLOP:
        flop = ENCODER_FLOP[arguments.model] + len(synthetic.points) * DECODER_FLOP
    rates = {name: flop and flop / compared["seconds"][name] for name in ours}
    reached = teraflops(device)
    known = device.type == "cuda" and any(name in device_name(device) for name in ("H100", "H200"))
    report(
        claim="whole generator on a GPU",
        device=device_name(device),
        model=arguments.model,
        outputs="synthetic",
        image_size=[arguments.height, arguments.width],
        prompts=len(synthetic.points),
        parameters=parameters,
        images_per_second={name: 1 / seconds for name, seconds in compared["seconds"].items()},
        seconds_by_stage={name: generator.seconds for name, generator in ours.items()},
        busy_share={name: busy for name, (busy, _) in use.items()},
        in_a_row={
            name: {"seconds_per_image": seconds, "busy_share": busy}
            for name, (seconds, busy) in rows.items()
        },
        peak_mebibytes={name: peak for name, (_, peak) in use.items()},
        share_of_roofline={
            name: rate / PEAK[ours[name].precision] if rate and known else None
            for name, rate in rates.items()
        },
        teraflops=reached,
        share_of_reached={
            name: rate / 1e12 / reached[format_of_products(ours[name].precision)] if rate else None
            for name, rate in rates.items()
        },
        **compared,
    )


def device_use(
    run: Callable[[], object], restart: Callable[[], None], device: torch.device
) -> tuple[float | None, float | None]:
    """Runs once more under torch's profiler.

    Returns:
        The share of the time in which a kernel or a copy ran on the device, and the peak of its
        allocated memory in MiB; None for a CPU.
    """
    restart()
    if device.type == "cpu":
        return None, None
    torch.cuda.reset_peak_memory_stats(device)
    _, busy = profiled(run, device)
    return busy, torch.cuda.max_memory_allocated(device) / 2**20


def in_a_row(
    generator: MaskGenerator,
    rgb: np.ndarray,
    count: int,
    restart: Callable[[], None],
    device: torch.device,
) -> tuple[float, float | None]:
    """Shows copies of an image one after the other, each with the next one at hand.

    Returns:
        Seconds an image by the clock, and the share of the time in which the device was busy; None for a CPU.
    """
    images = [rgb.copy() for _ in range(count)]

    def run() -> None:
        for number, image in enumerate(images):
            restart()
            generator.following = partial(next, iter(images[number + 1 : number + 2]), None)
            generator.find(image)

    seconds = seconds_of(device, run, repeats=1) / count
    return seconds, profiled(run, device)[1] if device.type == "cuda" else None


def format_of_products(precision: str) -> str:
    """The format of most of a precision's work, those of the encoder's blocks, as `teraflops` names it."""
    kind = PRECISIONS[precision]
    return "bf16" if kind.blocks == torch.bfloat16 else kind.encoder


if __name__ == "__main__":
    main()
