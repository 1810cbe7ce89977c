"""A huge image from plan to tables: memory of all processes, objects, seconds a tile, seconds of the summary.

    python -m benchmarks.huge --side 20000 --format zarr

Writes an image of two channels of 16 bits with synthetic nuclei, part by part, and runs the workflow on it with
`tiny`: a tiled TIFF, an OME-Zarr, or an ND2 of one frame, which is not compressed. Cuts of it as large as a tile are detected as images of their own, for comparison. Prints JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil  # type: ignore[import-untyped]
import pyarrow.parquet as pq
import tifffile
import zarr

from benchmarks.common import report
from samfleet.cells import read_csv
from samfleet.results import ledger_file, objects_file, summary_file
from samfleet.sam.tiles import Tiles
from tests.microscopes import write_nd2

_TILE = 512  # of a TIFF
_CHUNK = 1024  # of a Zarr
_MARGIN = 32  # pixels by which nuclei at the edge may reach over it
_ACROSS = 40  # nuclei along the side of the part that is drawn; the field repeats it
_PITCH = 58
"""Pixels between the centres of nuclei, which are 34 to 46 pixels wide; with this, 20,000² pixels have 118,000."""
_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def draw_block() -> np.ndarray:
    """Different nuclei on a square that continues at its other side: (2, side, side) uint16."""
    random = np.random.default_rng(0)
    side = _PITCH * _ACROSS
    light = np.zeros((2, side + 2 * _MARGIN, side + 2 * _MARGIN), np.float32)
    for row, column in np.ndindex(_ACROSS, _ACROSS):
        y, x = random.uniform(-5, 5, 2) + _PITCH * (np.array([row, column]) + 0.5) + _MARGIN
        axes = tuple(random.integers(17, 24, 2).tolist())
        angle, levels = random.uniform(0, 180), random.uniform(800, 4000, 2)
        for channel, level in zip(light, levels, strict=True):
            cv2.ellipse(channel, (round(x), round(y)), axes, angle, 0, 360, level, -1)
    for edge, other in ((slice(0, _MARGIN), slice(side, side + _MARGIN)),):
        light[:, other] = np.maximum(light[:, other], light[:, edge])
        light[:, :, other] = np.maximum(light[:, :, other], light[:, :, edge])
    inside = slice(_MARGIN, _MARGIN + side)
    drawn = np.stack([cv2.GaussianBlur(channel, (0, 0), 2)[inside, inside] for channel in light])
    noisy = drawn + 200 + random.normal(0, 20, drawn.shape)
    return np.clip(noisy, 0, 65535).astype(np.uint16)


def window_of(block: np.ndarray, y0: int, x0: int, height: int, width: int) -> np.ndarray:
    """A part of the endless field that a block makes: (2, height, width)."""
    side = block.shape[1]
    rows, columns = (np.arange(start, start + n) % side for start, n in ((y0, height), (x0, width)))
    return block[:, rows[:, None], columns]


def write_tiff(path: Path, side: int, block: np.ndarray) -> None:
    """A tiled TIFF of (2, side, side) pixels, of which one tile at a time is in memory."""

    def tiles() -> Iterator[np.ndarray]:
        for channel in range(2):
            for y0 in range(0, side, _TILE):
                for x0 in range(0, side, _TILE):
                    yield window_of(block[channel : channel + 1], y0, x0, _TILE, _TILE)[0]

    tifffile.imwrite(
        path,
        tiles(),
        shape=(2, side, side),
        dtype=np.uint16,
        tile=(_TILE, _TILE),
        photometric="minisblack",
        metadata={"axes": "CYX"},
        ome=True,
    )


def write_zarr(path: Path, side: int, block: np.ndarray) -> None:
    """The same as OME-Zarr 0.4, of one resolution, of which one chunk at a time is in memory."""
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}]
    axes = [{"name": "c", "type": "channel"}, *({"name": axis, "type": "space"} for axis in "yx")]
    scales = {"version": "0.4", "axes": axes, "datasets": datasets}
    group = zarr.create_group(path, zarr_format=2, attributes={"multiscales": [scales]})
    shape, chunks = (2, side, side), (1, _CHUNK, _CHUNK)
    array = group.create_array("0", shape=shape, chunks=chunks, dtype=np.uint16)
    for y0 in range(0, side, _CHUNK):
        for x0 in range(0, side, _CHUNK):
            height, width = (min(_CHUNK, side - start) for start in (y0, x0))
            array[:, y0 : y0 + height, x0 : x0 + width] = window_of(block, y0, x0, height, width)


def write_frame(path: Path, side: int, block: np.ndarray) -> None:
    """The same as an ND2 of one frame, whose pixels have a file of their own until it is written."""
    raw = path.with_suffix(".raw")
    field = np.memmap(raw, np.uint16, "w+", shape=(2, side, side))
    for y0 in range(0, side, _CHUNK):
        height = min(_CHUNK, side - y0)
        field[:, y0 : y0 + height] = window_of(block, y0, 0, height, side)
    write_nd2(path, field[np.newaxis, np.newaxis], ["DAPI", "GFP"])
    raw.unlink()


_Write = Callable[[Path, int, np.ndarray], None]
_FORMATS: dict[str, tuple[str, _Write]] = {
    "tiff": ("field.ome.tif", write_tiff),
    "zarr": ("field.zarr", write_zarr),
    "nd2": ("field.nd2", write_frame),
}


def bytes_of(path: Path) -> int:
    """Of a file, or of all in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


class Memory(threading.Thread):
    """Watches the resident memory of a process and all that it started, together, in bytes."""

    def __init__(self, process: subprocess.Popen):
        super().__init__(daemon=True)
        self._process = psutil.Process(process.pid)
        self.peak = 0
        self.at_peak: dict[int, int] = {}

    def run(self) -> None:
        while True:
            found = {}
            try:
                for each in [self._process, *self._process.children(recursive=True)]:
                    found[each.pid] = each.memory_info().rss
            except psutil.NoSuchProcess:
                if not self._process.is_running():
                    return
                continue
            if sum(found.values()) > self.peak:
                self.peak, self.at_peak = sum(found.values()), found
            time.sleep(0.2)


def run_watched(*command: object) -> tuple[float, Memory]:
    """Seconds and memory of a command."""
    start = time.perf_counter()
    process = subprocess.Popen([*map(str, command)], env=os.environ | _ENVIRONMENT)
    memory = Memory(process)
    memory.start()
    if process.wait():
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.perf_counter() - start, memory


def detect(
    folder: Path, sam: dict, cores: int, images: Path, stand_in: bool
) -> tuple[float, Memory]:
    """Run the workflow on a folder of images, into a folder of the same name with `-run` at its end."""
    config = {
        "images": str(images),
        "sam": {"model": "tiny", **sam},
        "fluorescence": {"min_area": 300, "min_mean_intensity": 0},
        "device": "cpu",
    }
    file = folder / f"{images.name}.json"
    file.write_text(json.dumps(config))
    place = folder / f"{images.name}-run"
    place.mkdir()
    if stand_in:
        return run_watched(sys.executable, "-m", "benchmarks.huge_stand_in", file, place, cores)
    return run_watched(
        *(sys.executable, "-m", "samfleet", "run", file, f"--cores={cores}"),
        f"--directory={place}",
    )


def seconds_a_tile(rows: list[dict[str, str]]) -> float:
    """Seconds of the device's process for each tile that was shown, or image without tiles."""
    stages = ("encoding", "decoding", "postprocessing")
    seconds = sum(float(row[f"seconds_{stage}"]) for row in rows for stage in stages)
    return seconds / sum(int(row["tiles"] or 1) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000, help="of the image, in pixels")
    parser.add_argument("--format", choices=_FORMATS, default="tiff", help="of the image")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=96)
    parser.add_argument("--prompts", choices=("decoder", "grid"), default="decoder")
    parser.add_argument("--points-per-side", type=int, default=24, help="of a grid")
    parser.add_argument("--cuts", type=int, default=4, help="images as large as a tile")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--stand-in", action="store_true", help="see benchmarks.huge_stand_in")
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary one")
    arguments = parser.parse_args()
    sam = {
        "prompts": arguments.prompts,
        "points_per_side": arguments.points_per_side,
        "pred_iou_thresh": 0.6 if arguments.prompts == "grid" else 0.3,
        "stability_score_thresh": 0.6 if arguments.prompts == "grid" else 0.3,
    }
    tiles = {"tile_size": arguments.tile, "tile_overlap": arguments.overlap}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "huge").mkdir()
        (folder / "cuts").mkdir()
        start = time.perf_counter()
        block = draw_block()
        file_name, write = _FORMATS[arguments.format]
        write(folder / "huge" / file_name, arguments.side, block)
        writing = time.perf_counter() - start
        layout = Tiles(arguments.tile, arguments.overlap).lay((arguments.side,) * 2)
        length = layout.longest_side
        for number in range(arguments.cuts):
            cut = window_of(block, number * length, 0, length, length)
            tifffile.imwrite(folder / "cuts" / f"{number}.tif", cut, metadata={"axes": "CYX"})
        cut_seconds, _ = detect(folder, sam, arguments.cores, folder / "cuts", arguments.stand_in)
        seconds, memory = detect(
            folder, {**sam, **tiles}, arguments.cores, folder / "huge", arguments.stand_in
        )
        results = folder / "huge-run" / "results"
        summary, summary_memory = run_watched(
            *(sys.executable, "-m", "samfleet", "summary", folder / "huge.json"),
            f"--results={results}",
        )
        ledger = read_csv(ledger_file(results))
        cuts = read_csv(ledger_file(folder / "cuts-run" / "results"))
        a_tile, a_cut = seconds_a_tile(ledger), seconds_a_tile(cuts)
        report(
            claim="a huge image",
            settings=vars(arguments) | {"folder": None},
            file_bytes=bytes_of(folder / "huge" / file_name),
            seconds={
                "writing the file": round(writing, 1),
                "plan, detection and summary": round(seconds, 1),
                "summary, with its start": round(summary, 1),
                "cuts": round(cut_seconds, 1),
            },
            ledger=ledger,
            image=read_csv(summary_file(results)),
            objects=pq.read_metadata(objects_file(results)).num_rows,
            drawn=len(range(0, arguments.side, _PITCH)) ** 2,
            peak_gb={
                "all processes": round(memory.peak / 1e9, 2),
                "each": sorted(
                    (round(rss / 1e9, 2) for rss in memory.at_peak.values()), reverse=True
                ),
                "summary": round(summary_memory.peak / 1e9, 2),
            },
            seconds_a_tile=round(a_tile, 3),
            seconds_a_cut=round(a_cut, 3),
            tile_against_cut=round(a_tile / a_cut, 3),
        )


if __name__ == "__main__":
    main()
