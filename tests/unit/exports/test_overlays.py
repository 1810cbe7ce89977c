"""Outlines drawn over images."""

import cv2
import numpy as np
import pandas as pd
import pytest

from samfleet.errors import UserError
from samfleet.exports.overlays import draw_outlines, write_overlays
from tests.builders import disc, make_settings, rle_counts


def test_outlines_lie_on_the_edge_of_their_masks_alone():
    masks = [disc(60, 80, 20, 20, 10).astype(np.uint8), disc(60, 80, 40, 55, 12).astype(np.uint8)]
    black = np.zeros((60, 80, 3), np.uint8)
    drawn = draw_outlines(black, masks)
    assert not black.any()
    colored = drawn.any(axis=2)
    for mask in masks:
        inside = cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)
        assert not colored[inside].any()
        assert colored[mask.astype(bool) & ~inside].any()
    assert not colored[(masks[0] | masks[1]) == 0].any()
    assert len({tuple(color) for color in drawn[colored]}) == 2


@pytest.fixture
def results(tmp_path):
    """Tables with one object in one of two images."""
    (tmp_path / "images" / "well").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images" / "well" / "a.png"), np.zeros((60, 80), np.uint8))
    rle = rle_counts(disc(60, 80, 20, 20, 10))
    row = {"image": "well/a.png", "width": 80, "height": 60, "rle": rle}
    (tmp_path / "results").mkdir()
    pd.DataFrame([row]).to_parquet(tmp_path / "results" / "objects.parquet")
    return tmp_path


def test_a_png_is_written_under_the_images_path(results):
    settings = make_settings(results / "images")
    assert write_overlays(settings, results / "results", results / "out", []) == 1
    drawn = cv2.imread(str(results / "out" / "well" / "a.png.png"))
    assert drawn.shape == (60, 80, 3)
    assert drawn.any()


def test_an_image_without_objects_is_named(results):
    settings = make_settings(results / "images")
    with pytest.raises(UserError, match=r"b\.png"):
        write_overlays(settings, results / "results", results / "out", ["b.png"])
