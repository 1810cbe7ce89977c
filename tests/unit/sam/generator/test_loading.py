"""The generator that a configuration asks for."""

import os
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from samfleet.config.settings import SamSettings
from samfleet.resources import TINY_WEIGHTS
from samfleet.sam.generator.loading import load_generator
from samfleet.sam.model import load_model
from samfleet.sam.prompts.tiny import TinyMapDecoder
from samfleet.sam.tiles import (
    BEST_DIAMETER,
    ENOUGH_DIAMETER,
    INPUT_SIZE,
    PixelSizeError,
    Tiles,
    configured_tiles,
)
from samfleet.store.segments import SCHEMA
from tests.builders import make_settings
from tests.pretended_cuda import pretended_cuda


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
        "mask_nms_thresh": 0.18,
        "mask_nms_of": "smaller",
        "skip_background": True,
    }
    places = {"checkpoint", "cache_folder", "compile"}
    tiles = {"tile_size", "tile_overlap", "tile_whole_image", "object_diameter"}
    prompts = {"prompts", "decoder", "decoder_statistics", "seeds"}
    prompts |= {"refine_with_boxes", "refine_with_maps"}
    names = {field.name for field in fields(SamSettings)}
    assert names == set(values) | places | tiles | prompts
    before = torch.get_num_threads()
    try:
        generator = load_generator(make_settings(sam=values).sam, "cpu", 1)
    finally:
        torch.set_num_threads(before)
    assert [len(grid) for grid in generator.point_grids] == [16, 4]
    for name in set(values) - {"model", "points_per_side", "crop_n_points_downscale_factor"}:
        assert getattr(generator, name) == values[name]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_decoder_is_compiled_for_a_gpu_and_its_code_kept(device, tmp_path, monkeypatch):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TORCHINDUCTOR")}
    monkeypatch.setattr(os, "environ", inherited)
    sam = {"model": "tiny", "compile": True, "cache_folder": str(tmp_path)}
    threads = torch.get_num_threads()
    with pretended_cuda():
        decoder = load_generator(make_settings(sam=sam).sam, device, threads)._decoder
    is_compiled = device == "cuda"
    assert type(decoder).__name__ == ("CompiledDecoder" if is_compiled else "FastDecoder")
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    assert folder == (str(tmp_path / "compiled") if is_compiled else None)


def test_a_decoder_gives_the_prompts_with_its_seeds(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "d.pt"
    torch.save(TinyMapDecoder().state_dict(), path)
    rgb = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    found = {}
    for foreground in (0.0, 1.0):
        seeds = {"foreground": foreground, "center_distance": 1, "boundary_distance": 1}
        sam = {"model": "tiny", "prompts": "decoder", "decoder": str(path), "seeds": seeds}
        sam |= {"pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1}
        generator = load_generator(make_settings(sam=sam).sam, "cpu", 1)
        found[foreground] = generator.generate(rgb)
        assert not generator.refine_with_boxes and not generator.refine_with_maps
        sam |= {
            "refine_with_boxes": True,
            "refine_with_maps": True,
            "checkpoint": str(TINY_WEIGHTS),
        }
        refining = make_settings(sam=sam).sam
        generator = load_generator(refining, "cpu", 1)
        assert generator.refine_with_boxes and generator.refine_with_maps
        # without a decoder's prompts there is nothing to refine
        generator = load_generator(replace(refining, prompts="grid"), "cpu", 1)
        assert not generator.refine_with_boxes and not generator.refine_with_maps
    # all maps lie between 0 and 1, so the whole image is one seed, or nothing is
    assert len(found[0.0]) == 1
    assert found[1.0] == []


@pytest.mark.parametrize(
    ("values", "tiles"),
    [
        ({}, None),
        ({"tile_size": 512}, Tiles(512)),
        ({"tile_size": 300, "tile_overlap": 50}, Tiles(300, 50)),
        ({"tile_size": 300, "tile_whole_image": False}, Tiles(300, None, False)),
        ({"object_diameter": BEST_DIAMETER["tiny"]}, Tiles(512)),
        ({"object_diameter": BEST_DIAMETER["tiny"] / 4}, Tiles(128)),
        ({"model": "vit_h", "object_diameter": BEST_DIAMETER["vit_h"] * 2}, Tiles(2048)),
        ({"object_diameter": 0.1}, Tiles(32)),
        ({"object_diameter": "auto"}, Tiles(512, enough=ENOUGH_DIAMETER["tiny"])),
        (
            {"model": "vit_b", "object_diameter": "auto"},
            Tiles(1024, enough=ENOUGH_DIAMETER["vit_b"]),
        ),
    ],
)
def test_tiles_are_those_that_the_configuration_asks_for(values, tiles):
    assert configured_tiles(make_settings(sam={"model": "tiny", **values}).sam) == tiles


def test_the_input_s_size_is_the_model_s():
    assert load_model("tiny").image_encoder.img_size == INPUT_SIZE["tiny"]


@pytest.mark.parametrize(
    ("diameter", "pixel", "tiles"),
    [
        ("14 um", 0.5, Tiles(512)),  # 28 pixels
        ("14 um", 1.0, Tiles(256)),
        ("3.5 um", 0.25, Tiles(256)),
        (14.0, 0.5, Tiles(256)),  # of pixels, whatever their size
    ],
)
def test_a_diameter_in_micrometres_counts_by_the_size_of_pixels(diameter, pixel, tiles):
    settings = make_settings(sam={"model": "tiny", "object_diameter": diameter}).sam
    assert configured_tiles(settings, pixel) == tiles
    assert load_generator(settings, "cpu", 1).tiles == (None if "um" in str(diameter) else tiles)


@pytest.mark.parametrize(
    ("pixel", "words"),
    [
        (None, "does not say how large its pixels are"),
        (352.8, "less than a pixel of 352.8 µm"),
        (1e-9, "more than any image has pixels of 1e-09 µm"),
        (5e-324, "more than any image has"),  # so small that the quotient is infinite
    ],
)
def test_a_diameter_in_micrometres_needs_a_size_of_pixels(pixel, words):
    settings = make_settings(sam={"model": "tiny", "object_diameter": "12 µm"}).sam
    with pytest.raises(PixelSizeError, match=words) as refusal:
        configured_tiles(settings, pixel)
    assert "sam.object_diameter is 12 µm" in str(refusal.value)
    assert "image.pixel_size_um" in str(refusal.value)


@pytest.mark.parametrize(
    "values",
    [
        {"object_diameter": 1e9},
        {"object_diameter": 1e308},
        {"object_diameter": "1000 um"},
    ],
)
def test_a_tile_is_never_larger_than_the_store_can_say(values):
    tiles = configured_tiles(make_settings(sam={"model": "tiny", **values}).sam, 1e-6)
    assert tiles is not None
    (stored,) = pa.array([tiles.size], SCHEMA.field("tile_size").type).to_pylist()
    assert stored >= 10**9 and len(tiles.lay((5000, 7000)).boxes) == 1
