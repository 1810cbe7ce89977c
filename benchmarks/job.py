"""The whole job against the origin's way, on many images, from start to end of a process.

The origin's way is one process that reads an image, runs segment_anything's own generator,
measures the masks and writes them, in turn, with the same weights, settings, prompts and torch
threads. Ours is the workflow's detection job. A third process shows a short job of ours.

Images are those of a folder, or of the demo. Where there are not enough of them, copies are made
that are turned and a little brighter.
"""

import argparse
import csv
import datetime
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import demo_parameters, matched, report
from samfleet.config.schema import complete_config
from samfleet.config.settings import settings_of
from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import ImageError
from samfleet.plan.collection import collection_root
from samfleet.plan.planning import make_plan
from samfleet.results import ledger_file, shard_file, store_folder
from samfleet.sam.model_key import configured_model_key
from samfleet.store.ledger import collect_ledger
from samfleet.store.segments import read_segment


def write_images(source: Path, target: Path, count: int) -> None:
    """Writes as many different images: those of a folder that can be read, then copies."""
    target.mkdir()
    originals = []
    for path in sorted(source.rglob("*")):
        try:
            pixels = decode_image(path.read_bytes()).pixels if path.is_file() else None
        except ImageError:
            continue
        if (
            pixels is not None
            and pixels.dtype in (np.uint8, np.uint16)
            and pixels.shape[2] in (1, 3)
        ):
            originals.append(pixels)
    if not originals:
        raise SystemExit(f"{source}: no image of 8 or 16 bits with one or three channels")
    variants = itertools.product(range(count), originals)
    for number, (variant, pixels) in enumerate(itertools.islice(variants, count)):
        top = np.iinfo(pixels.dtype).max
        pixels = np.minimum(pixels, top - variant) + pixels.dtype.type(variant)
        pixels = np.rot90(pixels, variant)[..., ::-1]
        cv2.imwrite(str(target / f"{number:04d}.png"), np.ascontiguousarray(pixels))


def run_side(side: str, config: dict, folder: Path, threads: int) -> dict:
    """Plans all images of a configuration as one shard and runs one side on it.

    Returns:
        Seconds: ``wall`` and ``cpu`` of the process and its workers, ``load`` from its start until
        the model is loaded, ``steady`` an image between the first and the last one's record; and
        ``loads`` of a model, ``statuses``, rows of the ``ledger``, and ``records`` by image.
    """
    results = folder / f"results-{side}-{Path(config['images']).name}"
    settings = settings_of(config)
    plan = make_plan(settings, results, configured_model_key(settings, results), 1)
    if len(plan.shards) != 1:
        raise SystemExit(f"{len(plan.shards)} shards instead of one")
    command = [sys.executable, "-m", "benchmarks.job_sides", side, json.dumps(config), results]
    command += [shard_file(results, plan.id, plan.shards[0].name), threads]
    used, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)
    ended = time.time()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = json.loads(done.stdout.splitlines()[-1])
    collect_ledger(results)
    with (ledger_file(results)).open(newline="") as file:
        ledger = list(csv.DictReader(file))
    when = [datetime.datetime.fromisoformat(row["when"]).timestamp() for row in ledger]
    return {
        "wall": ended - started,
        "cpu": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
        "load": printed["loaded"] - started,
        "loads": printed["loads"],
        "steady": (max(when) - min(when)) / (len(when) - 1),
        "statuses": sorted({row["status"] for row in ledger}),
        "ledger": ledger,
        "records": stored_records(store_folder(results, plan.model_key)),
    }


def stored_records(store: Path) -> dict[str, list[dict]]:
    """For every image of a store its masks as COCO RLE."""
    records: dict[str, list[dict]] = {}
    for path in store.glob("*.parquet"):
        for group in read_segment(path):
            for row in group.to_pylist():
                found = records.setdefault(row["image_id"], [])
                if row["rle"]:
                    size = [row["height"], row["width"]]
                    found.append({"segmentation": {"size": size, "counts": row["rle"]}})
    return records


def cpu_an_image(side: dict) -> float:
    """Seconds of processor time, start and model included."""
    return side["cpu"] / len(side["ledger"])


def stage_seconds(ledger: list[dict]) -> dict[str, float]:
    """Mean seconds an image by stage."""
    stages = [name for name in ledger[0] if name.startswith("seconds_")]
    return {
        name.removeprefix("seconds_"): float(np.mean([float(row[name] or 0) for row in ledger]))
        for name in stages
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="of images; the demo's without it")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--short", type=int, default=64, help="images of the short job")
    parser.add_argument(
        "--vanilla-images",
        type=int,
        help="run the library on this many images only, and extrapolate",
    )
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--precision", default="fast")
    arguments = parser.parse_args()
    source = arguments.folder or collection_root("demo")
    sam = {"model": "tiny", "precision": arguments.precision} | demo_parameters()
    common = {"sam": sam, "device": "cpu", "shard": {"min_seconds": 1e9}}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(source, folder / "all", arguments.images)
        configs = {"all": complete_config({"images": str(folder / "all"), **common})}
        counts = {"short": arguments.short, "vanilla": arguments.vanilla_images or arguments.images}
        for part, count in counts.items():
            (folder / part).mkdir()
            for path in sorted((folder / "all").iterdir())[:count]:
                shutil.copy(path, folder / part)
            configs[part] = complete_config({"images": str(folder / part), **common})
        short = run_side("ours", configs["short"], folder, arguments.threads)
        ours = run_side("ours", configs["all"], folder, arguments.threads)
        vanilla = run_side("vanilla", configs["vanilla"], folder, arguments.threads)
    sides = {"ours": ours, "vanilla": vanilla}
    # Of all images, also where the origin's way was run on some of them.
    vanilla_wall = vanilla["wall"] + (len(ours["ledger"]) - counts["vanilla"]) * vanilla["steady"]
    expected = short["load"] + len(short["ledger"]) * ours["steady"]
    report(
        claim="whole job",
        settings=sam,
        images={name: len(side["ledger"]) for name, side in sides.items()},
        threads_of_each_side=arguments.threads,
        statuses={name: side["statuses"] for name, side in sides.items()},
        model_loads={name: side["loads"] for name, side in sides.items()},
        wall_seconds={name: side["wall"] for name, side in sides.items()},
        cpu_seconds={name: side["cpu"] for name, side in sides.items()},
        ratio={
            "wall": vanilla_wall / ours["wall"],
            "steady state, wall": vanilla["steady"] / ours["steady"],
            "processor time an image": cpu_an_image(vanilla) / cpu_an_image(ours),
        },
        load_seconds={name: side["load"] for name, side in sides.items()},
        steady_seconds_an_image={name: side["steady"] for name, side in sides.items()},
        stage_seconds_an_image=stage_seconds(ours["ledger"]),
        short_job={
            "images": len(short["ledger"]),
            "wall_seconds": short["wall"],
            "load_seconds": short["load"],
            "ratio to load + images × steady state": short["wall"] / expected,
        },
        masks={
            name: sum(len(side["records"][i]) for i in vanilla["records"])
            for name, side in sides.items()
        },
        matched=float(
            np.average(
                [matched(ours["records"][i], found) for i, found in vanilla["records"].items()],
                weights=[len(found) + 1e-9 for found in vanilla["records"].values()],
            )
        ),
    )


if __name__ == "__main__":
    main()
