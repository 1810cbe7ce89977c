"""Plan, detection and tables of a configuration with a stand-in for SAM that finds what is bright: seconds, not hours.

    python -m benchmarks.huge_stand_in CONFIG FOLDER THREADS

Everything but encoder and decoder is what a run does: windows, tiles, workers, measuring, store, tables.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from samfleet.config.schema import complete_config
from samfleet.config.settings import SamSettings, settings_of
from samfleet.detection.job import detect_shard
from samfleet.devices.visible import Device
from samfleet.plan.planning import make_plan
from samfleet.results import done_file, shard_file, store_folder
from samfleet.sam.generator.candidates import Candidates, Seen, View
from samfleet.sam.generator.generator import MaskGenerator
from samfleet.sam.generator.loading import load_generator
from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.model_key import configured_model_key
from samfleet.summary.tables import write_summary

_BRIGHT = 40  # of 255


class Bright(MaskGenerator):
    """Finds each connected bright region of what it is shown, once."""

    def look(self, view: View, points_per_batch: int) -> Seen:
        bright = (cv2.GaussianBlur(view.rgb[..., 0], (0, 0), 2) > _BRIGHT).astype(np.uint8)
        count, labels, stats, centroids = cv2.connectedComponentsWithStats(bright)
        left, top, width, height = (stats[1:, n].astype(np.int64) for n in range(4))
        boxes = np.stack([left, top, left + width - 1, top + height - 1], axis=1)
        everything = Candidates(
            boxes=torch.from_numpy(boxes),
            predicted_iou=torch.full((count - 1,), 0.9),
            stability=torch.full((count - 1,), 0.9),
            points=torch.from_numpy(centroids[1:]),
        )
        cut = torch.zeros(count - 1, dtype=torch.bool)
        if view.cut is not None:
            cut = view.cut(everything.boxes)
        whole = (~cut).nonzero()[:, 0]
        masks = []
        for number in whole.tolist():
            x0, y0, x1, y1 = boxes[number].tolist()
            part = labels[y0 : y1 + 1, x0 : x1 + 1] == number + 1
            masks.append(BitMask.of(part, (y0, x0)))
        parts = everything.select(cut.nonzero()[:, 0])
        return Seen(everything.select(whole).in_image(view.box), masks, parts.in_image(view.box))


def load_bright(settings: SamSettings, device: Device, threads: int) -> MaskGenerator:
    """The stand-in, with a model in memory as any job has."""
    generator = load_generator(settings, "cpu", threads)
    generator.__class__ = Bright
    return generator


def main() -> None:
    """Plan, detect and summarise as the command line says."""
    file, folder, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    settings = settings_of(complete_config(json.loads(file.read_text())))
    results = folder / "results"
    key = configured_model_key(settings, results)
    plan = make_plan(settings, results, key, 1)
    for shard in plan.shards:
        detect_shard(
            settings,
            results,
            shard_list=shard_file(results, plan.id, shard.name),
            done=done_file(results, plan.id, shard.name),
            threads=threads,
            load_generator=load_bright,
        )
    write_summary(settings, results, store_folder(results, key))


if __name__ == "__main__":
    main()
