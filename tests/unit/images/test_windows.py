"""Windows of large images: blocks that are kept give the same pixels, and few reads of the file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samfleet.images.windows import KeptBlocks, WholeImage

PIXELS = np.random.default_rng(0).integers(0, 1 << 16, (1100, 2300, 3), np.uint16)


class Counted(WholeImage):
    """An image in memory that counts how often it is read."""

    reads = 0

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        object.__setattr__(self, "reads", self.reads + 1)
        return super().read(y0, y1, x0, x1)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_from_kept_blocks_has_the_pixels_of_the_image(data):
    kept = KeptBlocks(WholeImage(PIXELS, False))
    for _ in range(3):
        y0, y1 = sorted(
            data.draw(st.lists(st.integers(0, 1100), min_size=2, max_size=2, unique=True))
        )
        x0, x1 = sorted(
            data.draw(st.lists(st.integers(0, 2300), min_size=2, max_size=2, unique=True))
        )
        np.testing.assert_array_equal(kept.read(y0, y1, x0, x1), PIXELS[y0:y1, x0:x1])


@pytest.mark.parametrize("step", [40, 1000])
def test_windows_beside_each_other_read_the_file_once_for_many(step):
    counted = Counted(PIXELS, False)
    kept = KeptBlocks(counted)
    windows = [(y, x) for y in range(0, 1060, step) for x in range(0, 2260, step)]
    for y, x in windows:
        kept.read(y, y + 40, x, x + 40)
    assert counted.reads <= min(len(windows), 30)
