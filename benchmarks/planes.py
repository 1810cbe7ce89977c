"""Plan an OME-TIFF of thousands of planes and detect ten of them: seconds, and the largest resident memory.

    python -m benchmarks.planes [--planes 4000] [--side 1024]

Most of the file is a hole, so it takes little of the disk; what is read of it is as large as it says.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from samfleet.config.schema import complete_config
from samfleet.config.settings import settings_of
from samfleet.detection.job import detect_shard
from samfleet.plan.planning import make_plan
from samfleet.results import done_file, shard_file
from samfleet.sam.model_key import configured_model_key

_DETECTED = 10


def write_stack(path: Path, planes: int, side: int) -> None:
    """A time series whose first ten planes have a bright square."""
    tifffile.imwrite(
        path,
        shape=(planes, side, side),
        dtype=np.uint16,
        bigtiff=True,
        ome=True,
        photometric="minisblack",
        metadata={"axes": "TYX"},
    )
    pixels = tifffile.memmap(path, mode="r+")
    pixels[:_DETECTED, side // 4 : side // 2, side // 4 : side // 2] = 3000
    pixels.flush()


def largest_mb() -> tuple[int, int]:
    """Resident memory of this process and of the largest worker, in MB, at their largest."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, worker = (resource.getrusage(kind).ru_maxrss // 1024 for kind in kinds)
    return own, worker


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planes", type=int, default=4000)
    parser.add_argument("--side", type=int, default=1024)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, results = Path(temporary) / "images", Path(temporary) / "results"
        folder.mkdir()
        write_stack(folder / "stack.ome.tif", arguments.planes, arguments.side)
        config = {
            "images": str(folder),
            "image": {"times": list(range(_DETECTED))},
            "sam": {"model": "tiny", "points_per_side": 4},
            "device": "cpu",
        }
        settings = settings_of(complete_config(config))
        began = time.perf_counter()
        plan = make_plan(settings, results, configured_model_key(settings, results), 1)
        planned = time.perf_counter() - began
        memory_of_plan, _ = largest_mb()
        (shard,) = plan.shards
        list_, done = (kind(results, plan.id, shard.name) for kind in (shard_file, done_file))
        detect_shard(settings, results, shard_list=list_, done=done, threads=2)
        record = json.loads(done.read_text())
        own, worker = largest_mb()
        print(
            json.dumps(
                {
                    "file_gb": round((folder / "stack.ome.tif").stat().st_size / 1e9, 2),
                    "planes": arguments.planes,
                    "detected": record["detected"],
                    "seconds_plan": round(planned, 1),
                    "seconds_a_plane": round(record["seconds"] / _DETECTED, 2),
                    "resident_mb_plan": memory_of_plan,
                    "resident_mb_job": own,
                    "resident_mb_worker": worker,
                }
            )
        )


if __name__ == "__main__":
    main()
