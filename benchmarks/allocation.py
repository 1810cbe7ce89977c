"""What ``samfleet.detection.allocation`` saves: memory that is freed goes back to the system or not.

Each run has a process of its own, since the C library cannot be told to begin anew, and processes
a picture twice, of which the second counts. ``--precisions vanilla`` is the library's generator.
"""

import argparse
import multiprocessing
import resource

from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import (
    fluorescence,
    generator_parameters,
    generator_parser,
    report,
    use_one_thread,
)
from samfleet.detection.allocation import keep_freed_memory
from samfleet.mask_generator import MaskGenerator
from samfleet.models import build_model, load_model


def usage_of_a_picture(
    arguments: argparse.Namespace, precision: str, kept: bool
) -> dict[str, float]:
    """Processor seconds and page faults of a picture, and the process's peak memory in MiB."""
    use_one_thread()
    if kept and not keep_freed_memory():
        raise SystemExit("this C library cannot be told to keep memory that is freed")
    if arguments.weights == "random":
        sam = build_model(arguments.model).eval()
    else:
        sam = load_model(arguments.model)
    parameters = generator_parameters(arguments)
    if precision == "vanilla":
        generator = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    else:
        generator = MaskGenerator(sam, precision, **parameters)
    rgb = fluorescence(arguments.height, arguments.width)
    generator.generate(rgb)
    before = resource.getrusage(resource.RUSAGE_SELF)
    generator.generate(rgb)
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {
        "seconds": user + system,
        "of which system": system,
        "page_faults": after.ru_minflt - before.ru_minflt,
        "peak_mebibytes": after.ru_maxrss / 1024,
    }


def main() -> None:
    parser = generator_parser(__doc__, precisions=["vanilla", "exact", "fast"])
    parser.add_argument("--model", default="vit_b")
    parser.add_argument("--weights", choices=("random", "standard"), default="random")
    arguments = parser.parse_args()
    use_one_thread()
    runs = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for precision in arguments.precisions:
            returned, kept = (
                pool.apply(usage_of_a_picture, (arguments, precision, kept))
                for kept in (False, True)
            )
            ratio = returned["seconds"] / kept["seconds"]
            runs[precision] = {"returned": returned, "kept": kept, "ratio": ratio}
    report(
        claim="memory that is freed is kept",
        model=arguments.model,
        weights=arguments.weights,
        image_size=[arguments.height, arguments.width],
        parameters=generator_parameters(arguments),
        runs=runs,
    )


if __name__ == "__main__":
    main()
