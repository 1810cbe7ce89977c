"""The scale of 0 to 255 in real runs: found, said, recorded, changed by an image, and pinned."""

import numpy as np
import pytest
import tifffile

from tests.workflow.conftest import Workspace


def add_camera_image(workspace: Workspace, name: str, brightest: int) -> None:
    """A 16-bit image of a camera with fewer bits: discs at two prompts, on a background of 100."""
    rows, columns = np.mgrid[:48, :64]
    pixels = np.full((48, 64), 100, np.uint16)
    for row, column in ((12, 16), (36, 48)):
        pixels[(rows - row) ** 2 + (columns - column) ** 2 <= 49] = brightest - row
    pixels[12, 16] = brightest
    tifffile.imwrite(workspace.images / name, pixels)


@pytest.mark.slow
def test_the_scale_is_found_said_recorded_and_pinned(workspace):
    workspace.config["fluorescence"] = {"min_area": 1}
    add_camera_image(workspace, "a.tif", 1900)  # 7.4 of 255 if 65535 were white
    first = workspace.run()
    assert first.detections == 1
    assert "4095 counts as 255 in 1 uint16 image, since no pixel exceeds it" in first.output
    assert "fluorescence:\n  white: 4095\n" in (workspace.results / "logs/summary.log").read_text()
    row = workspace.summary()["a.tif"]
    assert (row["status"], row["white"]) == ("ok", "4095")

    add_camera_image(workspace, "b.tif", 5000)
    second = workspace.run()
    assert second.detections == 1
    assert "4095 counted as 255 in the last summary, now it is 16383" in second.output
    assert "the brightest pixel is 5000 (b.tif)" in second.output
    assert {row["white"] for row in workspace.summary().values()} == {"16383"}

    workspace.config["fluorescence"]["white"] = 4095
    pinned = workspace.run()
    assert pinned.jobs == {"summary": 1}
    assert "counts as 255" not in pinned.output
    assert workspace.summary()["a.tif"] == row


@pytest.mark.slow
def test_the_largest_part_is_decided_at_detection(workspace):
    add_camera_image(workspace, "a.tif", 1900)
    assert workspace.run().detections == 1
    workspace.config["fluorescence"]["largest_part"] = False
    assert workspace.run("-n").jobs["plan"] == 1
    refused = workspace.command_line("summary", fails=True)
    assert "the last plan was made with another largest_part" in refused
    assert workspace.run().detections == 1
    workspace.config["fluorescence"]["largest_part"] = True
    again = workspace.run()
    assert (again.detections, again.jobs) == (0, {"plan": 1, "summary": 1})
