"""What ``samfleet.detection.malloc`` saves: memory that is freed goes back to the system or not.

Each run has a process of its own, since the C library cannot be told to begin anew, and processes
an image twice, of which the second counts. ``--precisions vanilla`` is the library's generator.
"""

import argparse
import multiprocessing
import resource

from benchmarks.common import (
    add_model_arguments,
    chosen_model,
    fluorescence,
    generator_parameters,
    generator_parser,
    make_generator,
    report,
    use_one_thread,
)
from samfleet.detection.malloc import keep_freed_memory


def usage_of_an_image(
    arguments: argparse.Namespace, precision: str, kept: bool
) -> dict[str, float]:
    """Processor seconds and page faults of an image, and the process's peak memory in MiB."""
    use_one_thread()
    if kept and not keep_freed_memory():
        raise SystemExit("this C library cannot be told to keep memory that is freed")
    generator = make_generator(chosen_model(arguments), precision, generator_parameters(arguments))
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
    add_model_arguments(parser)
    arguments = parser.parse_args()
    use_one_thread()
    runs = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for precision in arguments.precisions:
            returned, kept = (
                pool.apply(usage_of_an_image, (arguments, precision, kept))
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
