"""An image in tiles on two pretended devices, killed in the middle and gone on with on one."""

import shutil
import time

import numpy as np
import pytest
import tifffile

from tests.builders import disc
from tests.workflow.conftest import Workspace, table_bytes

pytestmark = pytest.mark.slow

PATIENCE = 1800
SIZE = (150, 200)


def add_large_image(workspace: Workspace, name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(90, 110, (2, *SIZE), np.uint16)
    for y in range(20, SIZE[0], 36):
        for x in range(20, SIZE[1], 36):
            pixels[:, disc(*SIZE, y, x, random.integers(7, 14))] += 3000
    tifffile.imwrite(
        workspace.images / name, pixels, tile=(64, 64), ome=True, metadata={"axes": "CYX"}
    )


def configure(workspace: Workspace, *devices: str) -> None:
    add_large_image(workspace, "one.ome.tif", 1)
    add_large_image(workspace, "two.ome.tif", 2)
    workspace.config["sam"] |= {"points_per_side": 3, "tile_size": 96}
    workspace.config["image"] = {"max_pixels": 20_000}  # of which no image has so few
    workspace.config["shard"] = {"min_seconds": 0, "flush_seconds": 0}
    workspace.config["devices"] = list(devices)


def test_killed_in_the_middle_of_images_and_gone_on_with_the_tables_are_the_same(
    workspace, tmp_path
):
    configure(workspace, "a", "b")
    snakemake = workspace.start("--resources", "gpu=2", cores=2)
    unfinished = workspace.results / "store"
    end = time.monotonic() + PATIENCE
    while len({path.parent for path in unfinished.glob("*/unfinished/*/*.npz")}) < 2:
        assert snakemake.poll() is None and time.monotonic() < end, workspace.output.read_text()
        time.sleep(0.05)
    workspace.stop()
    kept = len(list(unfinished.glob("*/unfinished/*/*.npz")))
    assert not list(unfinished.glob("*/*.parquet"))
    workspace.run("--unlock")
    workspace.command_line("summary", "--partial")
    assert {row["status"] for row in workspace.summary().values()} == {"pending"}

    workspace.config["devices"] = ["a"]
    workspace.run()
    rows = workspace.ledger()
    assert {row["device"] for row in rows} == {"a"}
    tiles = sum(int(row["tiles"]) for row in rows)
    assert 2 <= kept < tiles
    assert not list(unfinished.glob("*/unfinished"))

    alone = Workspace(tmp_path / "alone")
    configure(alone)
    for (
        path
    ) in workspace.images.iterdir():  # OME metadata have another UUID each time they are written
        shutil.copy(path, alone.images)
    alone.config["image"] = {}  # read whole, and not interrupted
    alone.run()
    assert int(alone.summary()["one.ome.tif"]["n_objects"]) > 2
    assert table_bytes(alone) == table_bytes(workspace)
