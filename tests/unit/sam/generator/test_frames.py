"""Which images SAM can be shown: exactly those that its own transforms take."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from segment_anything.utils.amg import generate_crop_boxes
from segment_anything.utils.transforms import ResizeLongestSide

from samfleet.sam.generator import MaskGenerator
from samfleet.sam.tiles import Tiles


def why_not_shown(
    height: int, width: int, input_size: int, layers: int, ratio: float, tiles: Tiles | None = None
) -> str:
    encoder = SimpleNamespace(img_size=input_size)
    decoder = SimpleNamespace(num_multimask_outputs=3)
    sam = SimpleNamespace(
        image_encoder=encoder,
        prompt_encoder=None,
        mask_decoder=decoder,
        device=torch.device("cpu"),
    )
    generator = MaskGenerator(sam, crop_n_layers=layers, crop_overlap_ratio=ratio, tiles=tiles)
    return generator.why_not_shown(height, width)


def transforms_take(height: int, width: int, input_size: int, layers: int, ratio: float) -> bool:
    """Whether something is left of every crop of an image behind SAM's transform."""
    image = np.zeros((height, width, 3), np.uint8)
    transform = ResizeLongestSide(input_size)
    try:
        for left, top, right, bottom in generate_crop_boxes((height, width), layers, ratio)[0]:
            if not transform.apply_image(image[top:bottom, left:right]).size:
                return False
    except (ValueError, ZeroDivisionError):
        return False
    return True


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("ratio", [0.0, 512 / 1500])
def test_an_image_is_refused_when_sam_could_not_scale_it_or_a_crop(layers, ratio):
    shapes = [*itertools.product(range(1, 12), repeat=2), (1, 16), (1, 17), (33, 2), (40, 3)]
    shown = {shape: not why_not_shown(*shape, 8, layers, ratio) for shape in shapes}
    assert shown == {shape: transforms_take(*shape, 8, layers, ratio) for shape in shapes}
    assert {True, False} <= set(shown.values())


def test_the_reason_names_size_and_key():
    assert why_not_shown(5, 6, 1024, 2, 0.34).startswith("6 x 5 pixels are too few for sam.crop_n_")
    assert why_not_shown(1, 2049, 1024, 0, 0.34).startswith("2049 x 1 pixels are too narrow: SAM")


def test_a_long_strip_is_shown_in_tiles():
    assert why_not_shown(1, 2049, 1024, 0, 0.34, Tiles(1024)) == ""
    assert "too narrow" in why_not_shown(1, 2049, 1024, 0, 0.34, Tiles(4096))
