"""The generator that a configuration asks for."""

from dataclasses import fields

import pytest
import torch

from samfleet.config.settings import SamSettings
from samfleet.sam.generator.loading import load_generator
from tests.builders import make_settings


@pytest.mark.parametrize(("precision", "threads"), [("exact", 2), ("fast", 3)])
def test_exact_masks_take_a_power_of_two_of_the_threads(precision, threads):
    sam = make_settings(sam={"model": "tiny", "precision": precision}).sam
    before = torch.get_num_threads()
    try:
        load_generator(sam, "cpu", 3)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_every_setting_reaches_the_generator():
    values = {
        "model": "tiny",
        "precision": "exact",
        "points_per_side": 4,
        "points_per_batch": 3,
        "pred_iou_thresh": 0.11,
        "stability_score_thresh": 0.12,
        "stability_score_offset": 0.13,
        "box_nms_thresh": 0.14,
        "crop_n_layers": 1,
        "crop_nms_thresh": 0.15,
        "crop_overlap_ratio": 0.16,
        "crop_n_points_downscale_factor": 2,
        "min_mask_region_area": 17,
        "skip_background": True,
    }
    places = {"checkpoint", "cache_folder"}
    assert {field.name for field in fields(SamSettings)} == set(values) | places
    before = torch.get_num_threads()
    try:
        generator = load_generator(make_settings(sam=values).sam, "cpu", 1)
    finally:
        torch.set_num_threads(before)
    assert [len(grid) for grid in generator.point_grids] == [16, 4]
    for name in set(values) - {"model", "points_per_side", "crop_n_points_downscale_factor"}:
        assert getattr(generator, name) == values[name]
