"""How tiles are laid: what they cover, how large they are, and which masks they cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.sam.generator.tiled import reduction
from samfleet.sam.masks.boxes import held
from samfleet.sam.tiles import Tiles, spread
from tests.examples import examples

LENGTHS = st.integers(1, 30_000)
SIZES = st.integers(1, 2000)


@examples(300)
@given(LENGTHS, SIZES, st.floats(0, 0.5))
def test_tiles_cover_an_axis_evenly(length, tile, part):
    overlap = int(part * tile)
    spans = spread(length, tile, overlap)
    starts, ends = zip(*spans, strict=True)
    sizes = {end - start for start, end in spans}
    assert starts[0] == 0 and ends[-1] == length and len(sizes) == 1
    (size,) = sizes
    assert size <= tile * 115 // 100
    assert size >= min(tile, length)
    if len(spans) > 1:
        steps = np.diff(starts)
        assert steps.min() > 0 and steps.max() - steps.min() <= 1
        assert size - steps.max() >= overlap
    # one tile fewer would have to be stretched by more than 15 %, or share less with its neighbours
    fewer = len(spans) - 1
    if fewer:
        assert fewer * (tile * 115 // 100) - (fewer - 1) * overlap < length


@pytest.mark.parametrize(
    ("size", "tile", "count"),
    [
        ((520, 696), 512, 2),  # not four for 8 surplus pixels
        ((512, 512), 512, 1),
        ((588, 588), 512, 1),
        ((589, 588), 512, 2),
        ((1024, 1024), 512, 4),
        ((1049, 1024), 512, 6),
        ((100, 5000), 512, 11),
        ((1, 1), 1, 1),
    ],
)
def test_numbers_of_tiles(size, tile, count):
    assert len(Tiles(tile).lay(size).boxes) == count


@examples(100)
@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(16, 700),
    st.none() | st.integers(0, 900),
)
def test_tiles_cover_an_image_row_by_row(height, width, tile, overlap):
    layout = Tiles(tile, overlap).lay((height, width))
    assert layout == Tiles(tile, overlap).lay((height, width))
    assert layout.boxes == sorted(layout.boxes, key=lambda box: (box[1], box[0]))
    covered = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in layout.boxes:
        covered[y0:y1, x0:x1] = True
        assert max(x1 - x0, y1 - y0) <= layout.longest_side
    assert covered.all()


@examples(300)
@given(st.data())
def test_what_is_no_larger_than_the_overlap_is_whole_in_some_tile(data):
    """Anywhere in the image: an object as wide as the overlap allows lies clear of some tile's edges."""
    height, width = data.draw(st.tuples(st.integers(300, 2000), st.integers(300, 2000)))
    layout = Tiles(data.draw(st.integers(100, 600))).lay((height, width))
    side = layout.overlap - 2 * layout.tolerance
    x, y = (data.draw(st.integers(0, length - side)) for length in (width, height))
    assert held(layout, np.array([[x, y, x + side - 1, y + side - 1]])).all()


def test_edges_of_the_image_cut_nothing_and_those_of_tiles_do():
    layout = Tiles(512, 128).lay((512, 1000))
    (left, right), margin = layout.boxes, layout.tolerance
    assert (left, right, margin) == ((0, 0, 564, 512), (436, 0, 1000, 512), 11)
    boxes = [
        (0, 0, 500, 511),  # along three edges of the image
        (100, 0, 563 - margin, 100),
        (100, 0, 564 - margin, 100),  # ends where the left tile ends
        (436, 0, 500, 20),  # begins where the right tile begins, but the left one holds it
        (436, 0, 999, 20),
        (0, 0, 999, 511),
    ]
    expected = [True, True, False, True, False, False]
    assert held(layout, np.array(boxes)).tolist() == expected


def test_the_overlap_is_a_quarter_or_what_is_asked_for_but_never_more_than_half():
    assert Tiles(400).lay((900, 900)).overlap == 100
    assert Tiles(400, 30).lay((900, 900)).overlap == 30
    assert Tiles(400, 390).lay((900, 900)).overlap == 200
    assert Tiles(512, 200).half().lay((900, 900)).overlap == 128


@pytest.mark.parametrize(("size", "factor"), [((10, 4096), 1), ((4097, 9), 2), ((20000, 20000), 5)])
def test_the_whole_image_is_reduced_to_eight_inputs(size, factor):
    assert reduction(size, 512) == factor
