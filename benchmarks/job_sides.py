"""The two sides of ``benchmarks.job``, each run as a process of its own.

    python -m benchmarks.job_sides SIDE CONFIG RESULTS SHARD_LIST THREADS

Prints when the model was loaded, as seconds since the epoch, and how often one was. torch is not
imported with this module, since the job's worker processes import it, too.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from samfleet.detection import job as detection
from samfleet.detection.measurement import measure_candidates
from samfleet.detection.recording import Recorder
from samfleet.images.reading import path_of, read_image
from samfleet.plan.collection import collection_root
from samfleet.plan.record import plan_of_shard
from samfleet.plan.shards import read_shard
from samfleet.results import store_folder
from samfleet.sam.weights import configured_weights
from samfleet.statuses import Status
from samfleet.store.segments import image_rows


def ours(config: dict, results: Path, shard_list: Path, threads: int, note_load: Callable) -> None:
    """The workflow's detection job."""
    load = detection._load_generator

    def noting_load(*arguments: object) -> object:
        generator = load(*arguments)
        note_load()
        return generator

    detection._load_generator = noting_load
    detection.detect_shard(
        config,
        results,
        root=collection_root(config["images"]),
        shard_list=shard_list,
        done=shard_list.with_suffix(".done"),
        store=store_folder(results, plan_of_shard(shard_list).model_key),
        threads=threads,
    )


def vanilla(
    config: dict, results: Path, shard_list: Path, threads: int, note_load: Callable
) -> None:
    """The origin's way: each step of each image in turn, with segment_anything's generator."""
    import torch
    from segment_anything import SamAutomaticMaskGenerator

    from samfleet.sam.model import load_model

    torch.set_num_threads(threads)
    sam = config["sam"]
    model = load_model(sam["model"], configured_weights(config))
    note_load()
    ours_alone = {"model", "checkpoint", "cache_folder", "precision", "skip_background"}
    parameters = {name: value for name, value in sam.items() if name not in ours_alone}
    parameters["points_per_batch"] = sam["points_per_batch"] or 64
    generator = SamAutomaticMaskGenerator(model, output_mode="coco_rle", **parameters)
    plan = plan_of_shard(shard_list)
    recorder = Recorder(
        results, store_folder(results, plan.model_key), plan.id, shard_list.stem, 1e9
    )
    for planned in read_shard(shard_list):
        path = path_of(collection_root(config["images"]), planned.path)
        read = read_image(path, config["image"], config["display"])
        records = generator.generate(read.rgb)
        image, candidates = measure_candidates(read.pixels, read.is_color, records)
        image |= {"image_id": read.image_id, "status": Status.OK, "reason": "", "transient": False}
        image |= {"dtype": str(read.pixels.dtype), "is_color": read.is_color, "plane": read.plane}
        recorder.add(image_rows(image, candidates), {})
        recorder.flush()
    recorder.finish()


def main() -> None:
    side, config, results, shard_list, threads = sys.argv[1:]
    loads = []
    {"ours": ours, "vanilla": vanilla}[side](
        json.loads(config),
        Path(results),
        Path(shard_list),
        int(threads),
        lambda: loads.append(time.time()),
    )
    print(json.dumps({"loaded": loads[0], "loads": len(loads)}))


if __name__ == "__main__":
    main()
