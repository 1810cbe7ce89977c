"""Prompts from maps go through the same generator and give the masks of SAM's own predictor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools.mask import decode
from segment_anything import SamPredictor
from segment_anything.utils.transforms import ResizeLongestSide

from samfleet.config.settings import SeedSettings
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.generator.fast_decoder import FastDecoder
from samfleet.sam.generator.generator import NotFiniteError
from samfleet.sam.generator.geometry import Geometry
from samfleet.sam.generator.upsampling import Upsampler
from samfleet.sam.model import TINY_INPUT_SIZE, load_model
from samfleet.sam.prompts.basins import Basins
from samfleet.sam.prompts.prompts import MapPrompts, Prompts
from samfleet.sam.prompts.unetr import UnetrDecoder
from tests.builders import disc, rle_counts

POINTS = np.array([(20.0, 30.0), (70.0, 41.0), (100.0, 12.0)])
SEEDS = SeedSettings(0.5, 0.5, 0.5, 0.0, 1)


class Given:
    """Stands in for a decoder: the same points and maps for every view, and what it was asked for."""

    seeds = SEEDS

    def __init__(self, maps=None):
        self.maps = maps

    def find(self, embedding, frame, unpadded, size):
        self.asked = (tuple(embedding.shape), tuple(frame.shape), unpadded, size)
        return Prompts(POINTS, embedding, self.maps)


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    random = np.random.default_rng(0)
    image = random.integers(0, 20, (64, 128, 3), dtype=np.uint8)
    for x, y in POINTS:
        image[disc(64, 128, y, x, 9)] += 180
    return image


def generate(rgb, precision="exact", prompts=None, **parameters):
    """The records of `tiny` on one thread, all of them, and the predictor of SAM with the same image."""
    sam = load_model("tiny")
    thresholds = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    generator = MaskGenerator(
        sam,
        precision,
        points_per_side=2,
        map_prompts=prompts or Given(),
        **thresholds | parameters,
    )
    predictor = SamPredictor(sam)
    # the predictor's own resizing is for 1024 pixels
    predictor.transform = ResizeLongestSide(TINY_INPUT_SIZE)
    predictor.set_image(rgb)
    return generator.generate(rgb), predictor


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def predicted(predictor: SamPredictor, **prompts: torch.Tensor | None):
    """(n, height, width) bool masks and (n,) scores of points or boxes in the encoder's frame."""
    points = prompts.get("points")
    masks, predicted_iou, _ = predictor.predict_torch(
        points if points is None else points[:, None],
        points if points is None else torch.ones(len(points), 1),
        prompts.get("boxes"),
        multimask_output=False,
    )
    return masks[:, 0].numpy(), predicted_iou[:, 0].tolist()


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("points_per_batch", [1, 2, 64])
@pytest.mark.parametrize("refined", [False, True])
def test_masks_are_those_of_the_predictor(rgb, precision, points_per_batch, refined, one_thread):
    """At these points, or in the boxes of the masks there, 1 % larger at each side."""
    prompts = Given()
    records, predictor = generate(
        rgb, precision, prompts, points_per_batch=points_per_batch, refine_with_boxes=refined
    )
    assert prompts.asked == ((1, 64, 64, 64), (1, 3, 512, 512), (256, 512), (64, 128))
    points = torch.from_numpy(predictor.transform.apply_coords(POINTS, rgb.shape[:2]))
    masks, scores = predicted(predictor, points=points)
    if refined:
        boxes = []
        for mask in masks:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            (x0, y0), (x1, y1) = (columns[0], rows[0]), (columns[-1], rows[-1])
            w, h = (x1 - x0) / 100, (y1 - y0) / 100
            boxes.append([max(x0 - w, 0), max(y0 - h, 0), min(x1 + w, 128), min(y1 + h, 64)])
        in_frame = predictor.transform.apply_boxes(np.array(boxes), rgb.shape[:2])
        masks, scores = predicted(predictor, boxes=torch.from_numpy(in_frame))
    found = {tuple(record["point_coords"][0]): record for record in records}
    assert found.keys() == {tuple(point) for point in POINTS.tolist()}
    for point, mask, score in zip(POINTS.tolist(), masks, scores, strict=True):
        record = found[tuple(point)]
        assert record["segmentation"]["counts"] == rle_counts(mask)
        assert record["predicted_iou"] == pytest.approx(score, abs=1e-5)


def test_the_second_pass_changes_masks(rgb, one_thread):
    masks = {
        refined: {r["segmentation"]["counts"] for r in generate(rgb, refine_with_boxes=refined)[0]}
        for refined in (False, True)
    }
    assert masks[False] != masks[True]


def test_thresholds_are_those_of_the_second_masks(rgb, one_thread):
    """A first mask of low predicted IoU still gives a box; what that gives is filtered."""
    every, _ = generate(rgb, refine_with_boxes=True)
    scores = sorted(record["predicted_iou"] for record in every)
    threshold = (scores[0] + scores[1]) / 2
    kept, _ = generate(rgb, refine_with_boxes=True, pred_iou_thresh=threshold)
    assert sorted(record["predicted_iou"] for record in kept) == scores[1:]


@pytest.mark.parametrize("empty", [[1], [0, 1, 2]])
def test_an_empty_mask_gives_no_box(rgb, empty, one_thread, monkeypatch):
    masks_of = Upsampler.masks
    calls = []

    def without_some(self, logits):
        calls.append(len(logits))
        if len(calls) == 1:
            logits[empty] = -9.0
        return masks_of(self, logits)

    monkeypatch.setattr(Upsampler, "masks", without_some)
    records, _ = generate(rgb, refine_with_boxes=True)
    left = [point for number, point in enumerate(POINTS.tolist()) if number not in empty]
    assert sorted(record["point_coords"][0] for record in records) == sorted(left)


def test_a_second_pass_needs_one_mask_for_each_prompt():
    with pytest.raises(ValueError, match="refine_with_boxes needs map_prompts"):
        MaskGenerator(load_model("tiny"), refine_with_boxes=True)


def one_object() -> torch.Tensor:
    """Maps of one object, around a pixel of the encoder's frame of 512 pixels."""
    maps = torch.ones(1, 3, 512, 512)
    maps[0, 1:, torch.from_numpy(disc(512, 512, 101, 201, 7))] = 0
    return maps


class Maps(torch.nn.Module):
    """A decoder as that of `tiny`, which adds a dense prompt."""

    def forward(self, embedding, frame):
        return one_object(), torch.full_like(embedding, frame.max())


class MapsInTheImage(UnetrDecoder):
    """One as that of micro-sam, which looks for seeds in the image itself."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def forward(self, embedding):
        return one_object()


@pytest.mark.parametrize("decoder, dense", [(Maps, 2.0), (MapsInTheImage, 0.0)])
def test_points_are_in_pixels_of_the_view(decoder, dense):
    prompts = MapPrompts(decoder(), SEEDS, 512)
    embedding, frame = torch.ones(1, 64, 64, 64), torch.full((1, 3, 512, 512), 2.0)
    found = prompts.find(embedding, frame, (256, 512), (64, 128))
    ((x, y),) = found.points
    assert found.maps is None and torch.equal(found.embedding, embedding + dense)
    keeping = MapPrompts(decoder(), SEEDS, 512, keeps_maps=True)
    kept = keeping.find(embedding, frame, (256, 512), (64, 128)).maps
    assert np.allclose(kept, one_object()[0, :, :256].numpy(), atol=1e-6)
    # four pixels of the frame for each of the view
    assert (x, y) == pytest.approx(((201.5 / 4) - 0.5, (101.5 / 4) - 0.5), abs=1)
    geometry = Geometry((256, 256), (512, 512), (256, 512), (64, 128))
    ((across, down),) = geometry.in_frame(found.points)
    assert (across, down) == pytest.approx((201, 101), abs=0.5 if decoder is Maps else 4)


def maps_of_halves() -> np.ndarray:
    """Maps of two objects that meet in the middle of the frame."""
    maps = np.zeros((3, 256, 512), np.float32)
    maps[0] = 1
    column = np.abs(np.arange(512) - 255.5)
    maps[1:] = 1 - column / column.max()
    return maps


def test_outlines_follow_the_maps(rgb, one_thread, monkeypatch):
    """Where SAM is not sure, with logits close to 0, a mask is its basin."""
    decode_ = FastDecoder.decode

    def unsure(self, prompts, threshold):
        decoded = decode_(self, prompts, threshold)
        return replace(decoded, logits=decoded.logits * 1e-6)

    monkeypatch.setattr(FastDecoder, "decode", unsure)
    records, _ = generate(rgb, "fast", Given(maps_of_halves()), refine_with_maps=True)
    masks = {tuple(r["point_coords"][0]): decode(r["segmentation"]) for r in records}
    assert masks.keys() <= {tuple(p) for p in POINTS.tolist()}
    left = masks[20.0, 30.0]
    assert left[:, :63].all() and not left[:, 65:].any()
    assert (sum(masks.values())[:, 66:] > 0).mean() > 0.9  # the others share the other half


def test_a_mask_without_its_basin_stays_as_it_is(rgb, one_thread, monkeypatch):
    maps = maps_of_halves()
    evidence = Basins.evidence
    monkeypatch.setattr(Basins, "evidence", lambda *given: 0 * evidence(*given))
    plain, _ = generate(rgb, prompts=Given(maps))
    bounded, _ = generate(rgb, prompts=Given(maps), refine_with_maps=True)
    same = {tuple(r["point_coords"][0]): r["segmentation"]["counts"] for r in plain}
    assert bounded
    for record in bounded:
        assert same[tuple(record["point_coords"][0])] == record["segmentation"]["counts"]


def test_of_masks_of_one_object_the_best_has_the_basin(rgb, one_thread, monkeypatch):
    """All masks are the same one here, so that only the best is asked for again; with stray pixels it is still the same."""
    decode_ = FastDecoder.decode

    def same(self, prompts, threshold):
        decoded = decode_(self, prompts, threshold)
        return replace(decoded, logits=decoded.logits[:1].expand_as(decoded.logits))

    monkeypatch.setattr(FastDecoder, "decode", same)
    whole = np.zeros((3, 256, 512), np.float32)
    whole[0] = 1
    records, _ = generate(rgb, "fast", Given(whole), refine_with_maps=True)
    assert len(records) == 1


def test_predicted_iou_is_the_mean_of_what_sam_and_the_maps_say(rgb, one_thread, monkeypatch):
    """Of a mask that is its basin the maps are sure; a threshold drops what falls below with both."""
    decode_ = FastDecoder.decode

    def half(self, prompts, threshold):
        """The left half of the frame for every prompt; SAM gives the first 0.7 and the last 0.2."""
        decoded = decode_(self, prompts, 0)
        logits = torch.full_like(decoded.logits, -99.0)
        logits[:, :128, :128] = 99.0
        scores = torch.linspace(0.7, 0.2, len(logits))
        passed = scores > threshold
        return replace(
            decoded,
            logits=logits[passed],
            index=decoded.index[passed],
            predicted_iou=scores[passed],
        )

    monkeypatch.setattr(FastDecoder, "decode", half)
    ways = {"prompts": Given(maps_of_halves()), "refine_with_maps": True}
    (record,) = generate(rgb, "fast", pred_iou_thresh=0.8, **ways)[0]
    assert record["predicted_iou"] == pytest.approx((0.7 + 1) / 2, abs=0.02)
    assert generate(rgb, "fast", pred_iou_thresh=0.88, **ways)[0] == []


def test_outlines_from_maps_need_maps():
    with pytest.raises(ValueError, match="refine_with_maps needs map_prompts"):
        MaskGenerator(load_model("tiny"), refine_with_maps=True)


def test_nothing_seen_gives_no_mask(rgb):
    class Nothing:
        def find(self, embedding, *_):
            return Prompts(np.zeros((0, 2)), embedding)

    generator = MaskGenerator(load_model("tiny"), points_per_side=2, map_prompts=Nothing())
    assert generator.generate(rgb) == []


def test_maps_that_are_no_numbers_are_an_error_and_not_an_empty_image(rgb):
    class Broken(Maps):
        def forward(self, embedding, frame):
            maps, dense = super().forward(embedding, frame)
            return maps * float("nan"), dense

    prompts = MapPrompts(Broken(), SEEDS, 512)
    generator = MaskGenerator(load_model("tiny"), points_per_side=2, map_prompts=prompts)
    with pytest.raises(NotFiniteError, match="output is not finite"):
        generator.generate(rgb)
