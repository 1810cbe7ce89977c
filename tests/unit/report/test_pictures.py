"""The outlines of the gallery."""

import os
import re
import subprocess
import sys

import numpy as np

from samfleet.opened.masks import Region
from samfleet.report.pictures import SUBPIXELS, outline
from samfleet.resources import ROOT

OF_A_LARGE_IMAGE = """
import resource, sys
from pathlib import Path
from samfleet.report.pictures import outlines
from samfleet.store.segments import best_results
from tests.builders import first_pixels, stored_candidate, stored_rows, write_segment

side = 30_000
masks = {"area": side, "bbox_width": 1, "bbox_height": side, "bbox_x": 0, "bbox_y": 0}
candidates = [stored_candidate(number, **masks) for number in range(3)]
store = Path(sys.argv[1])
write_segment(store, "large", stored_rows("A", candidates, width=side, height=side))
best = best_results(store)
outlines(store, {}, {})
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 300 * 2**20, resource.RLIM_INFINITY))
print([len(paths) for paths in outlines(store, best, {"A": 1024 / side}).values()])
"""


def test_outlines_of_a_large_image_need_no_memory_for_its_pixels(tmp_path):
    """Its 900 million pixels would take 900 MB; the masks are single columns."""
    child = subprocess.run(
        [sys.executable, "-c", OF_A_LARGE_IMAGE, str(tmp_path / "store")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
    )
    assert child.stdout == "[3]\n", child.stderr


def test_an_outline_goes_through_the_centres_of_the_outermost_pixels():
    square = Region(10, 20, np.ones((3, 5), bool))
    numbers = [int(each) for each in re.findall(r"-?\d+", outline(square, 1))]
    corners = np.cumsum(np.reshape(numbers, (-1, 2)), axis=0) / SUBPIXELS
    assert {*map(tuple, corners.tolist())} == {
        (10.5, 20.5),
        (14.5, 20.5),
        (14.5, 22.5),
        (10.5, 22.5),
    }


def test_an_empty_mask_has_no_outline():
    assert outline(Region(0, 0, np.zeros((0, 0), bool)), 1) == ""
