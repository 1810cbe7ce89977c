"""What the plan and `-n` cost for many files of one image, against an older version.

    python -m benchmarks.planning --files 100000 --before ../older-checkout

Makes tiny TIFFs in a temporary folder and plans them as both versions would: new files, then nothing new, then what
`-n` asks. Each time is the least of the repeats, in processor seconds, the system's included: the sides take turns.
Prints JSON.
"""

import argparse
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PIXELS = 64


def single_plane_tiff(number: int) -> bytes:
    """A TIFF of one page of 8 × 8 grey pixels, of which the first four are a number."""
    entries = [
        (256, 3, 1, 8),
        (257, 3, 1, 8),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 3, 1, 8),
        (279, 4, 1, _PIXELS),
    ]
    pixels = struct.pack("<I", number).ljust(_PIXELS, b"\7")
    page = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = struct.pack("<4sI", b"II*\0", 8 + _PIXELS)
    return head + pixels + struct.pack("<H", len(entries)) + page + struct.pack("<I", 0)


def seconds_of_this_version(images: str, results: Path) -> dict[str, float]:
    """Processor seconds of each step with the version of samfleet that is imported."""
    from samfleet.config.schema import complete_config
    from samfleet.config.settings import settings_of
    from samfleet.plan.collection import scan_collection
    from samfleet.plan.outlook import outlook
    from samfleet.plan.planning import make_plan
    from samfleet.plan.stamp import plan_stamp

    settings = settings_of(complete_config({"images": images, "sam": {"model": "tiny"}}))

    def plan() -> None:
        make_plan(settings, results, "key", gpus=1)

    def dry_run() -> None:
        collection = scan_collection(settings.images, settings.image.suffixes, results)
        plan_stamp(settings, results, collection, "key")
        outlook(collection, results, "key", retry_failed=False)

    seconds = {}
    for name, step in (("plan", plan), ("plan_again", plan), ("dry_run", dry_run)):
        start = time.process_time()
        step()
        seconds[name] = time.process_time() - start
    return seconds


def main() -> None:
    """Parse the command line, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--before", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", nargs=2, metavar=("IMAGES", "RESULTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        images, results = arguments.side
        print(json.dumps(seconds_of_this_version(images, Path(results))))
        return
    versions = {"now": Path(__file__).resolve().parents[1]}
    if arguments.before:
        versions["before"] = arguments.before.resolve()
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        for number in range(arguments.files):
            (images / f"{number:07d}.tif").write_bytes(single_plane_tiff(number))
        for repeat in range(arguments.repeats):
            for name, checkout in versions.items():
                results = Path(folder, f"{name}{repeat}")
                process = subprocess.run(
                    [sys.executable, __file__, "--side", images, results],
                    env=os.environ | {"PYTHONPATH": str(checkout)},
                    stdout=subprocess.PIPE,
                    check=True,
                    text=True,
                )
                measured[name].append(json.loads(process.stdout))
    least = {
        name: {step: round(min(each[step] for each in found), 2) for step in found[0]}
        for name, found in measured.items()
    }
    report: dict[str, object] = {"files": arguments.files, "processor_seconds": least}
    if arguments.before:
        report["now_to_before"] = {
            step: round(seconds / least["before"][step], 3)
            for step, seconds in least["now"].items()
        }
    print(json.dumps(report | {"machine": platform.platform()}, indent=1))


if __name__ == "__main__":
    main()
