"""How long the summary takes, and how much memory, for many stored candidates.

    python -m benchmarks.summary --images 100000 --candidates 20

Fills a store with plausible candidates in a temporary folder, without images, and writes the
tables from it twice: with the filters of the example and with stricter ones. Prints JSON.
"""

import argparse
import datetime
import json
import platform
import resource
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask

from samfleet.config.schema import complete_config
from samfleet.config.settings import settings_of
from samfleet.plan.manifest import ManifestRow, write_manifest
from samfleet.store.segments import SCHEMA
from samfleet.summary.tables import write_summary

_IMAGES_PER_GROUP = 50


def fill_store(folder: Path, images: int, candidates: int) -> None:
    """Write one segment in row groups of 50 images, as a job's flushes are merged."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    with pq.ParquetWriter(folder / "benchmark.parquet", SCHEMA) as writer:
        for first in range(0, images, _IMAGES_PER_GROUP):
            numbers = range(first, min(first + _IMAGES_PER_GROUP, images))
            writer.write_table(_group(numbers, candidates, random))


@cache
def _rectangle(height: int) -> str:
    """The mask of 100 columns of so many pixels, in an image of 1000 × 1000."""
    pixels = np.zeros((1000, 1000), np.uint8, order="F")
    pixels[:height, :100] = 1
    return mask.encode(pixels)["counts"].decode()


def _group(numbers: range, candidates: int, random: np.random.Generator) -> pa.Table:
    rows = len(numbers) * candidates
    candidate = np.tile(np.arange(candidates, dtype=np.int32), len(numbers))
    neighbour = candidate ^ 1  # candidates overlap in twos
    mean = random.gamma(2.0, 20.0, rows)
    heights = random.integers(5, 200, rows)
    area = 100 * heights
    shared = np.repeat(area.reshape(-1, 2).min(axis=1) * random.integers(0, 2, rows // 2), 2)
    columns = {
        "image_id": np.repeat([f"{number:032x}" for number in numbers], candidates),
        "plan": ["plan"] * rows,
        "status": ["ok"] * rows,
        "reason": [""] * rows,
        "transient": [False] * rows,
        "width": [1000] * rows,
        "height": [1000] * rows,
        "dtype": ["uint8"] * rows,
        "is_color": [False] * rows,
        "plane": [""] * rows,
        "warning": [""] * rows,
        "n_invalid_pixels": [0] * rows,
        "n_candidates": [candidates] * rows,
        "background": [[5.0] * 3] * rows,
        "image_maximum": [[255.0] * 3] * rows,
        "pixels_above": [[9]] * rows,
        "focus": [[50.0] * 3] * rows,
        "image_std": [[20.0] * 3] * rows,
        "n_saturated": [[0] * 3] * rows,
        "n_zero": [[0] * 3] * rows,
        "when": np.repeat([_when(number) for number in numbers], candidates),
        "shard": ["0001"] * rows,
        "host": ["node1"] * rows,
        "device": ["gpu0"] * rows,
        "candidate": candidate,
        "bbox_x": np.zeros(rows, np.int32),
        "bbox_y": np.zeros(rows, np.int32),
        "bbox_width": np.full(rows, 100, np.int32),
        "bbox_height": heights.astype(np.int32),
        "area": area,
        "rle": [_rectangle(height) for height in heights.tolist()],
        "predicted_iou": random.uniform(0.75, 1.0, rows),
        "stability_score": random.uniform(0.75, 1.0, rows),
        "overlapping": neighbour[:, None].tolist(),
        "shared_pixels": shared[:, None].tolist(),
        "valid_pixels": np.repeat(area[:, None], 3, axis=1).tolist(),
        "intensity_sum": np.repeat((mean * area)[:, None], 3, axis=1).tolist(),
        "intensity_mean": np.repeat(mean[:, None], 3, axis=1).tolist(),
        "intensity_max": np.repeat(mean[:, None], 3, axis=1).tolist(),
        "intensity_std": np.repeat(mean[:, None], 3, axis=1).tolist(),
    }
    return pa.table(
        [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else _usual(field.type, rows)
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )


def _usual(kind: pa.DataType, rows: int) -> pa.Array:
    """A column that does not matter here: 1 where it holds numbers."""
    if pa.types.is_string(kind) or pa.types.is_list(kind):
        return pa.array(["" if pa.types.is_string(kind) else []] * rows, kind)
    return pa.array(np.ones(rows), kind)


def _when(second: int) -> str:
    """A time as the ledger writes it."""
    time_of_day = datetime.datetime.fromtimestamp(second, datetime.UTC)
    return time_of_day.isoformat(timespec="milliseconds")


def main() -> None:
    """Parse the command line, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=20, help="of each image, even")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        fill_store(results / "store" / "key", arguments.images, arguments.candidates)
        rows = (ManifestRow(f"{n:07d}.png", f"{n:032x}", 1, 1) for n in range(arguments.images))
        write_manifest(results / "manifest.tsv", rows)
        seconds = []
        for stricter in ({}, {"min_mean_intensity": 30}):
            config = complete_config({"images": "demo", "fluorescence": stricter})
            start = time.perf_counter()
            counts = write_summary(settings_of(config), results, results / "store" / "key")
            seconds.append(round(time.perf_counter() - start, 2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "images": arguments.images,
                "candidates": arguments.images * arguments.candidates,
                "objects": counts.objects,
                "seconds_first": seconds[0],
                "seconds_other_filter": seconds[1],
                "peak_memory_mb": round(peak),
                "machine": platform.platform(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
