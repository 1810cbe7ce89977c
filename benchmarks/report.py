"""How long the report takes, how much memory, and how large it is, for a large collection.

    python -m benchmarks.report --images 10000 --candidates 20

Fills a store with plausible candidates in a temporary folder, draws those images that the report will show, writes the
tables and then the report. Prints JSON; time and memory are those of the report alone, in a process of its own.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.summary import fill_store
from samfleet.cells import read_csv
from samfleet.config.schema import complete_config
from samfleet.config.settings import Settings, settings_of
from samfleet.digests import image_id
from samfleet.files import write_atomic
from samfleet.plan.manifest import ManifestRow, write_manifest
from samfleet.report.job import write_report
from samfleet.report.selection import choose_pictures
from samfleet.results import (
    manifest_file,
    report_file,
    store_folder,
    store_settings_file,
    summary_file,
    summary_record_file,
    summary_tables,
)
from samfleet.sam.model_key import configured_model_settings, model_key
from samfleet.stamps import write_record
from samfleet.summary.tables import write_summary

_SIDE = 1000  # of the images of `fill_store`


def _settings(images: Path) -> Settings:
    return settings_of(complete_config({"images": str(images), "sam": {"model": "tiny"}}))


def _store(folder: Path) -> Path:
    """The store of a folder's settings, whose model is never loaded."""
    results = folder / "results"
    explained = configured_model_settings(_settings(folder / "images"), results)
    store = store_folder(results, model_key(explained))
    write_atomic(store_settings_file(store), json.dumps({"model": "tiny", **explained}))
    return store


def _draw(path: Path, seed: int) -> str:
    """A noisy image of blobs, and its id."""
    random = np.random.default_rng(seed)
    pixels = random.normal(20, 6, (_SIDE, _SIDE)).clip(0, 255).astype(np.uint8)
    for x, y, radius in random.integers((0, 0, 10), (_SIDE, _SIDE, 40), (60, 3)).tolist():
        cv2.circle(pixels, (x, y), radius, int(random.integers(60, 250)), -1)
    content = cv2.imencode(".png", cv2.GaussianBlur(pixels, (0, 0), 2))[1].tobytes()
    path.write_bytes(content)
    return image_id(content)


def prepare(folder: Path, images: int, candidates: int) -> None:
    """Leave in a folder what a run leaves, with those images that the report shows."""
    (folder / "images").mkdir()
    store = _store(folder)
    fill_store(store, images, candidates)
    ids = [f"{number:032x}" for number in range(images)]
    rows = _summarize(folder, ids)
    drawn = {
        ids[index]: _draw(folder / "images" / rows[index]["image"], index)
        for index in choose_pictures(rows)
    }
    _rename(store / "benchmark.parquet", drawn)
    _summarize(folder, [drawn.get(identity, identity) for identity in ids])


def _rename(segment: Path, ids: dict[str, str]) -> None:
    """Give images of a segment other ids."""
    with pq.ParquetFile(segment) as file:
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    with pq.ParquetWriter(segment, groups[0].schema) as writer:
        for group in groups:
            columns = dict(zip(group.column_names, group.columns, strict=True))
            known = columns["image_id"].to_pylist()
            columns["image_id"] = pa.array([ids.get(identity, identity) for identity in known])
            writer.write_table(pa.table(columns, group.schema))


def _summarize(folder: Path, ids: list[str]) -> list[dict[str, str]]:
    """Write the tables and their record; the rows of the summary."""
    results, settings = folder / "results", _settings(folder / "images")
    manifest = (ManifestRow(f"{n:07d}.png", identity, 1, 1) for n, identity in enumerate(ids))
    write_manifest(manifest_file(results), manifest)
    store = _store(folder)
    write_summary(settings, results, store)
    made_under = {"model_key": store.name, "fluorescence": asdict(settings.fluorescence)}
    record = summary_record_file(results)
    write_record(record, "benchmark", 1, summary_tables(results), made_under)
    return read_csv(summary_file(results))


def measure(folder: Path) -> dict[str, float]:
    """Write the report: wall and processor seconds, MB of memory, MB of the page."""
    start, processor = time.perf_counter(), time.process_time()
    write_report(_settings(folder / "images"), folder / "results")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "page_mb": round(report_file(folder / "results").stat().st_size / 1e6, 1),
    }


def main() -> None:
    """Parse the command line, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=20, help="of each image, even")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), arguments.images, arguments.candidates)
        command = [sys.executable, "-m", "benchmarks.report", "--measure", folder]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    size = {"images": arguments.images, "candidates": arguments.images * arguments.candidates}
    print(json.dumps(size | json.loads(printed) | {"machine": platform.platform()}, indent=1))


if __name__ == "__main__":
    main()
