"""Prompts from maps go through the same generator and give the masks of SAM's own predictor."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.utils.transforms import ResizeLongestSide

from samfleet.config.settings import SeedSettings
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.model import TINY_INPUT_SIZE, load_model
from samfleet.sam.prompts.prompts import MapPrompts
from samfleet.sam.prompts.unetr import UnetrDecoder
from tests.builders import disc, rle_counts

POINTS = np.array([(20.0, 30.0), (70.0, 41.0), (100.0, 12.0)])
SEEDS = SeedSettings(0.5, 0.5, 0.5, 0.0, 1)


class Given:
    """Stands in for a decoder: the same points for every view, and what it was asked for."""

    def points(self, embedding, unpadded, size):
        self.asked = (tuple(embedding.shape), unpadded, size)
        return POINTS


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    random = np.random.default_rng(0)
    image = random.integers(0, 20, (64, 128, 3), dtype=np.uint8)
    for x, y in POINTS:
        image[disc(64, 128, y, x, 9)] += 180
    return image


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_masks_are_those_of_the_predictor_at_these_points(rgb, precision):
    sam, prompts = load_model("tiny"), Given()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generator = MaskGenerator(
            sam,
            precision,
            points_per_side=2,
            pred_iou_thresh=0.0,
            stability_score_thresh=0.0,
            box_nms_thresh=1.0,
            map_prompts=prompts,
        )
        records = generator.generate(rgb)
        predictor = SamPredictor(sam)
        # the predictor's own resizing is for 1024 pixels
        predictor.transform = ResizeLongestSide(TINY_INPUT_SIZE)
        predictor.set_image(rgb)
        points = torch.from_numpy(predictor.transform.apply_coords(POINTS, rgb.shape[:2]))
        masks, predicted_iou, _ = predictor.predict_torch(
            points[:, None], torch.ones(len(points), 1), multimask_output=False
        )
    finally:
        torch.set_num_threads(threads)
    assert prompts.asked == ((1, 64, 64, 64), (256, 512), (64, 128))
    found = {tuple(record["point_coords"][0]): record for record in records}
    assert found.keys() == {tuple(point) for point in POINTS.tolist()}
    for point, mask, score in zip(POINTS.tolist(), masks[:, 0], predicted_iou[:, 0], strict=True):
        record = found[tuple(point)]
        assert record["segmentation"]["counts"] == rle_counts(mask.numpy())
        assert record["predicted_iou"] == pytest.approx(float(score), abs=1e-5)


class Maps(torch.nn.Module):
    """A decoder that sees one object, around a pixel of the encoder's frame of 512 pixels."""

    def forward(self, embedding):
        maps = torch.ones(1, 3, 512, 512)
        seed = torch.from_numpy(disc(512, 512, 101, 201, 7))
        maps[0, 1:, seed] = 0
        return maps


class MapsInTheImage(Maps, UnetrDecoder):
    """The same, looked for in the image itself, as micro-sam does."""

    def __init__(self):
        torch.nn.Module.__init__(self)


@pytest.mark.parametrize("decoder", [Maps, MapsInTheImage])
def test_points_are_in_pixels_of_the_view(decoder):
    prompts = MapPrompts(decoder(), SEEDS, 512)
    ((x, y),) = prompts.points(torch.zeros(1, 64, 64, 64), (256, 512), (64, 128))
    # four pixels of the frame for each of the view
    assert (x, y) == pytest.approx(((201.5 / 4) - 0.5, (101.5 / 4) - 0.5), abs=1)


def test_nothing_seen_gives_no_mask(rgb):
    class Nothing:
        def points(self, *_):
            return np.zeros((0, 2))

    generator = MaskGenerator(load_model("tiny"), points_per_side=2, map_prompts=Nothing())
    assert generator.generate(rgb) == []
