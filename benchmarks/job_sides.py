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
from typing import Any

from pycocotools import mask as coco

from samfleet.config.settings import Settings, settings_of
from samfleet.detection.job import detect_shard, load_generator
from samfleet.detection.measurement import measure_masks
from samfleet.detection.pipeline import Generator
from samfleet.detection.recording import Recorder
from samfleet.detection.row import ImageRow, image_rows
from samfleet.images.reading import Failure, path_of, read_image
from samfleet.plan.collection import collection_root
from samfleet.plan.record import plan_of_shard
from samfleet.plan.shards import read_shard
from samfleet.results import store_folder
from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.records import SurvivingMask
from samfleet.sam.weights import configured_weights

LIBRARY_PARAMETERS = (
    "points_per_side",
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
    "crop_overlap_ratio",
    "crop_n_points_downscale_factor",
    "min_mask_region_area",
)
"""The settings that segment_anything's generator has, too, by the same names."""


def ours(
    settings: Settings, results: Path, shard_list: Path, threads: int, note_load: Callable[[], None]
) -> None:
    """The workflow's detection job."""

    def load(*arguments: Any) -> Generator:
        generator = load_generator(*arguments)
        note_load()
        return generator

    detect_shard(
        settings,
        results,
        shard_list=shard_list,
        done=shard_list.with_suffix(".done"),
        threads=threads,
        load_generator=load,
    )


def vanilla(
    settings: Settings, results: Path, shard_list: Path, threads: int, note_load: Callable[[], None]
) -> None:
    """The origin's way: each step of each image in turn, with segment_anything's generator."""
    import torch
    from segment_anything import SamAutomaticMaskGenerator

    from samfleet.sam.model import load_model

    torch.set_num_threads(threads)
    sam = settings.sam
    model = load_model(sam.model, configured_weights(sam))
    note_load()
    parameters = {name: getattr(sam, name) for name in LIBRARY_PARAMETERS}
    parameters["points_per_batch"] = sam.points_per_batch or 64
    generator = SamAutomaticMaskGenerator(model, output_mode="coco_rle", **parameters)
    plan = plan_of_shard(shard_list)
    recorder = Recorder(store_folder(results, plan.model_key), plan.id, shard_list.stem, 1e9)
    for planned in read_shard(shard_list):
        path = path_of(collection_root(settings.images), planned.path)
        read = read_image(path, settings.image, settings.display)
        if isinstance(read, Failure):
            raise ValueError(f"{path}: {read.reason}")
        masks = [_decode(record) for record in generator.generate(read.rgb)]
        columns, candidates = measure_masks(read.pixels, read.is_color, masks)
        image = ImageRow(
            image_id=read.image_id,
            dtype=str(read.pixels.dtype),
            is_color=read.is_color,
            plane=read.plane,
            **columns,
        )
        recorder.add(image_rows(image, candidates), {})
        recorder.flush()
    recorder.finish()


def _decode(record: dict) -> SurvivingMask:
    """A record of the library as we measure it."""
    return SurvivingMask(
        pixels=BitMask.of(coco.decode(record["segmentation"]).view(bool), (0, 0)),
        rle=record["segmentation"]["counts"],
        bbox=record["bbox"],
        predicted_iou=record["predicted_iou"],
        stability=record["stability_score"],
        point=record["point_coords"][0],
        crop_box=record["crop_box"],
    )


def main() -> None:
    side, config, results, shard_list, threads = sys.argv[1:]
    loads = []
    {"ours": ours, "vanilla": vanilla}[side](
        settings_of(json.loads(config)),
        Path(results),
        Path(shard_list),
        int(threads),
        lambda: loads.append(time.time()),
    )
    print(json.dumps({"loaded": loads[0], "loads": len(loads)}))


if __name__ == "__main__":
    main()
