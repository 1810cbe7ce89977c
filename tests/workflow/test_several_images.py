"""Files that hold many images: a row for each, and another content costs its own file alone."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from samfleet.images.formats.image import Limits
from samfleet.images.sources.source import Reading, read
from samfleet.planes import Plane
from tests.microscopes import write_group, write_lif, write_nd2, write_ome_zarr

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(8)


def stack() -> np.ndarray:
    """Four slices of 32 rows, of which the third has edges and the others a plain band of 8 rows each."""
    slices = np.zeros((4, 32, 40), np.uint8)
    for z in (0, 1, 3):
        slices[z, 8 * z : 8 * z + 8] = 52
    slices[2, 16:20] = np.where(np.indices((4, 40)).sum(axis=0) % 2, 8, 255)
    return slices


def write_plate(folder: Path) -> list[str]:
    """A plate with two fields in each of two wells; the names of these."""
    wells = [{"path": "A/1"}, {"path": "B/2"}]
    write_group(folder, {"plate": {"wells": wells, "version": "0.4"}})
    names = []
    for well in wells:
        fields = [{"path": "0"}, {"path": "1"}]
        write_group(folder / well["path"], {"well": {"images": fields, "version": "0.4"}})
        for field in fields:
            names.append(f"{well['path']}/{field['path']}")
            data = RNG.integers(1, 200, (32, 40), np.uint8)
            write_ome_zarr(folder / names[-1], data, "yx")
    return names


def rows_of(workspace) -> dict[str, list[dict]]:
    """The rows of summary.csv of each file."""
    found: dict[str, list[dict]] = {}
    with (workspace.results / "summary.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["image"], []).append(row)
    return found


def replace_time(path: Path, time: int) -> None:
    """Write other pixels over those of one time point, which are stored as they are."""
    pixels = read(path, Plane(None, time, ""), Reading(Limits(10_000))).pixels
    data = path.read_bytes()
    assert data.count(pixels.tobytes()) == 1
    path.write_bytes(data.replace(pixels.tobytes(), pixels[::-1].tobytes()))


def test_every_image_of_every_file_has_its_row_and_another_time_point_costs_its_file(workspace):
    series, times = workspace.images / "series.nd2", 53
    write_nd2(series, RNG.integers(1, 200, (times, 1, 1, 32, 40), np.uint8), ["GFP"])
    copy = Path(shutil.copyfile(series, series.with_name(f"copy_{series.name}")))
    tifffile.imwrite(
        workspace.images / "stack.ome.tif", stack(), metadata={"axes": "ZYX"}, photometric="minisblack"
    )  # fmt: skip
    wells = write_plate(workspace.images / "plate.zarr")
    position = RNG.integers(1, 200, (1, 1, 1, 32, 40), np.uint8)
    write_lif(workspace.images / "a.lif", {"left": position, "right": position // 2})
    table = "image,scene,time,slice\n"
    table += f"{series.name},,,\n{copy.name},,3,\n{copy.name},,4,\nplate.zarr,,,\na.lif,,,\n"
    table += "".join(f"stack.ome.tif,,,{slice}\n" for slice in ("max", "mean", "sharpest", "all"))
    (workspace.images / "images.csv").write_text(table)
    workspace.config["images"] = "images/images.csv"
    workspace.config["sam"]["points_per_side"] = 1
    run = workspace.run()
    first = rows_of(workspace)
    assert {row["status"] for rows in first.values() for row in rows} <= {"ok", "empty"}
    counts = {series.name: times, copy.name: 2, "plate.zarr": 4, "a.lif": 2, "stack.ome.tif": 7}
    assert {name: len(rows) for name, rows in first.items()} == counts
    assert run.detections == sum(counts.values()) - 2  # a copy is what it is a copy of
    assert [row["time"] for row in first[series.name]] == [str(n) for n in range(times)]
    assert [row["time"] for row in first[copy.name]] == ["3", "4"]
    assert [row["scene_name"] for row in first["plate.zarr"]] == wells
    assert [row["scene_name"] for row in first["a.lif"]] == ["left", "right"]
    fractions = {
        row["slice"]: (float(row["zero_fraction"]), float(row["saturated_fraction"]))
        for row in first["stack.ome.tif"]
    }
    assert fractions == {
        "max": (4 / 32, 2 / 32),
        "mean": (4 / 32, 0),
        "sharpest": (28 / 32, 2 / 32),
        "0": (24 / 32, 0),
        "1": (24 / 32, 0),
        "2": (28 / 32, 2 / 32),
        "3": (24 / 32, 0),
    }

    replace_time(copy, 4)
    before = len(workspace.ledger())
    assert workspace.run().detections == 2
    again = rows_of(workspace)
    ids = [{row["image_id"] for row in rows[copy.name]} for rows in (first, again)]
    assert {row["image_id"] for row in workspace.ledger()[before:]} == ids[1]
    assert not ids[0] & ids[1]
    assert {name: rows for name, rows in again.items() if name != copy.name} == {
        name: rows for name, rows in first.items() if name != copy.name
    }
    assert workspace.run("-n").idle
