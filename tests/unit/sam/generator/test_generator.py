"""The mask generator against segment_anything's own, on a small model with random weights."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils import amg

from samfleet.sam.generator import MaskGenerator
from samfleet.sam.generator.decoder import Decoder
from samfleet.sam.generator.encoder import encode_frames
from samfleet.sam.generator.fast_decoder import FastDecoder
from samfleet.sam.generator.generator import NotFiniteError
from samfleet.sam.masks.packed import PackedMask
from samfleet.sam.tiles import Tiles
from tests.small_sam import ALL, CHANNELS, PATCH, SIDE, SOME, build_sam, image, spotted_sam

FIELDS = {
    "segmentation",
    "area",
    "bbox",
    "predicted_iou",
    "point_coords",
    "stability_score",
    "crop_box",
}


@pytest.fixture(scope="module")
def sam() -> Sam:
    return build_sam()


@pytest.fixture(scope="module")
def spotted() -> Sam:
    return spotted_sam()


@pytest.fixture(scope="module")
def spotted_in_the_middle() -> Sam:
    return spotted_sam(part=0.4)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def vanilla(sam: Sam, rgb: np.ndarray, **parameters) -> list[dict]:
    parameters.setdefault("points_per_batch", 64)
    generator = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)
    return generator.generate(rgb)


@pytest.mark.parametrize("min_area", [0, 100])
@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (128, 128), (70, 90), (110, 50), (33, 151), (17, 12)]
)
def test_exact_gives_the_library_s_records(spotted, height, width, min_area):
    rgb = image(height, width)
    parameters = SOME | {"min_mask_region_area": min_area}
    theirs = vanilla(spotted, rgb, **parameters)
    assert len({tuple(record["bbox"]) for record in theirs}) >= 5
    ours = MaskGenerator(spotted, "exact", points_per_batch=64, **parameters).generate(rgb)
    assert ours == theirs
    assert set(ours[0]) == FIELDS


@pytest.mark.parametrize("min_area", [0, 100])
@pytest.mark.parametrize(
    ("height", "width", "layers"),
    [(220, 200, 1), pytest.param(260, 321, 2, marks=pytest.mark.slow)],
)
def test_exact_holds_with_crops(spotted_in_the_middle, height, width, layers, min_area):
    rgb = image(height, width)
    parameters = ALL | {
        "stability_score_thresh": 0.15,
        "crop_n_layers": layers,
        "min_mask_region_area": min_area,
    }
    theirs = vanilla(spotted_in_the_middle, rgb, **parameters)
    assert len({tuple(record["crop_box"]) for record in theirs}) >= 3
    generator = MaskGenerator(spotted_in_the_middle, "exact", points_per_batch=64, **parameters)
    assert generator.generate(rgb) == theirs


def test_exact_gives_every_mask(spotted):
    """Without suppression all candidates are compared, also those that overlap."""
    rgb = image(75, 93)
    theirs = vanilla(spotted, rgb, **ALL | {"stability_score_thresh": 1e-6})
    assert len(theirs) >= 80
    generator = MaskGenerator(
        spotted, "exact", points_per_batch=64, **ALL | {"stability_score_thresh": 1e-6}
    )
    assert generator.generate(rgb) == theirs


@pytest.mark.parametrize("points_per_batch", [1, 3, 7, 16, 63])
def test_exact_holds_at_any_batch(spotted, points_per_batch):
    rgb = image(60, 84)
    parameters = SOME | {"points_per_batch": points_per_batch}
    theirs = vanilla(spotted, rgb, **parameters)
    assert len(theirs) >= 5
    generator = MaskGenerator(spotted, "exact", **SOME)
    assert generator.generate(rgb, points_per_batch=points_per_batch) == theirs


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 4])
def test_exact_holds_with_several_threads(spotted, threads):
    torch.set_num_threads(threads)
    rgb = image(90, 70)
    theirs = vanilla(spotted, rgb, **SOME)
    assert len(theirs) >= 5
    assert MaskGenerator(spotted, "exact", points_per_batch=64, **SOME).generate(rgb) == theirs


def test_a_second_image_is_not_touched_by_the_first(spotted):
    """One prompt a batch once let a decoder write into the image it keeps."""
    generator = MaskGenerator(spotted, "exact", points_per_batch=1, **SOME)
    rgb = image(64, 64)
    first = generator.generate(rgb)
    generator.generate(image(40, 70, seed=5))
    assert generator.generate(rgb) == first


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("layers", [0, 1])
def test_no_survivors(sam, precision, layers):
    """With crops the library itself fails here."""
    parameters = SOME | {"crop_n_layers": layers, "min_mask_region_area": 10}
    for threshold in ({"pred_iou_thresh": 99.0}, {"stability_score_thresh": 2.0}):
        assert MaskGenerator(sam, precision, **parameters | threshold).generate(image(50, 60)) == []


def test_one_mask_covers_all():
    full = build_sam()
    for network in full.mask_decoder.output_hypernetworks_mlps:
        network.layers[-1].weight.zero_()
        network.layers[-1].bias.fill_(1.0)
    upscaling = full.mask_decoder.output_upscaling
    upscaling[3].weight.zero_()
    upscaling[3].bias.fill_(3.0)
    rgb = image(45, 77)
    parameters = SOME | {"min_mask_region_area": 100}
    theirs = vanilla(full, rgb, **parameters)
    assert [record["area"] for record in theirs] == [45 * 77]
    assert MaskGenerator(full, "exact", points_per_batch=64, **parameters).generate(rgb) == theirs


def test_point_grids_take_the_place_of_points_per_side(spotted):
    rgb = image(64, 80)
    grids = [np.array([[0.2, 0.3], [0.7, 0.6], [0.5, 0.9]])]
    parameters = ALL | {"points_per_side": None, "point_grids": grids}
    theirs = vanilla(spotted, rgb, **parameters | {"stability_score_thresh": 1e-6})
    assert len(theirs) >= 3
    ours = MaskGenerator(
        spotted, "exact", points_per_batch=64, **parameters | {"stability_score_thresh": 1e-6}
    )
    assert ours.generate(rgb) == theirs


def field_with_a_dark_half() -> np.ndarray:
    rgb = np.full((96, 160, 3), 9, np.uint8)
    rgb[:, 80:] = image(96, 80)
    return rgb


def test_skipped_prompts_change_nothing_about_the_others(spotted):
    rgb = field_with_a_dark_half()
    grid = amg.build_point_grid(8)
    parameters = ALL | {"stability_score_thresh": 1e-6}
    skipping = MaskGenerator(
        spotted, "exact", points_per_batch=64, skip_background=True, **parameters
    )
    ours = skipping.generate(rgb)
    # The cells of the left half are 20 pixels wide: all but the one that the blur reaches into.
    least = min(record["point_coords"][0][0] for record in ours)
    kept = [grid[grid[:, 0] * 160 >= least]]
    assert 60 <= least <= 80
    theirs = vanilla(spotted, rgb, **parameters | {"points_per_side": None, "point_grids": kept})
    assert len(theirs) >= 20 and ours == theirs


def test_skipping_prompts_with_crops(spotted_in_the_middle):
    """Each crop leaves out its own prompts."""
    rgb = np.full((240, 240, 3), 9, np.uint8)
    rgb[:100, :100] = image(100, 100)
    parameters = ALL | {"stability_score_thresh": 0.15, "crop_n_layers": 1}
    ours = MaskGenerator(
        spotted_in_the_middle, "exact", points_per_batch=64, skip_background=True, **parameters
    ).generate(rgb)
    crops = {tuple(record["crop_box"]) for record in ours}
    assert len(crops) >= 3
    # what is farther from the corner than the objects and one cell of the whole image's grid
    points = np.array([record["point_coords"][0] for record in ours])
    assert len(points) >= 10 and (points <= 100 + 240 / 8).all()


@pytest.mark.parametrize("layers", [0, 1])
def test_a_blank_image_is_done_without_the_model(sam, layers, monkeypatch):
    generator = MaskGenerator(sam, "fast", skip_background=True, **ALL | {"crop_n_layers": layers})
    monkeypatch.setattr(generator, "_encoded", lambda rgb: pytest.fail("encoded"))
    assert generator.generate(np.full((70, 90, 3), 30, np.uint8)) == []


def test_an_image_within_one_tile_gives_the_library_s_records(spotted):
    rgb = image(64, 73)
    generator = MaskGenerator(spotted, "exact", points_per_batch=64, tiles=Tiles(64), **SOME)
    assert generator.generate(rgb) == vanilla(spotted, rgb, **SOME)


def test_each_tile_gives_the_library_s_records_of_that_tile(spotted_in_the_middle):
    """Without suppression among tiles: all that the library finds there and the edges do not cut."""
    rgb = image(100, 230)
    parameters = ALL | {"stability_score_thresh": 0.15}
    tiles = Tiles(100, whole_image=False)
    theirs = []
    layout = tiles.lay((100, 230))
    for x0, y0, x1, y1 in layout.boxes:
        for record in vanilla(spotted_in_the_middle, rgb[y0:y1, x0:x1], **parameters):
            left, _, width, _ = record["bbox"]
            least, most = layout.inside((x0, y0, x1, y1))
            if left + x0 >= least[0] and left + x0 + width <= most[0]:
                x, y = record["point_coords"][0]
                mask = np.zeros((100, 230), np.uint8)
                mask[y0:y1, x0:x1] = coco.decode(record["segmentation"])
                counts = coco.encode(np.asfortranarray(mask))["counts"].decode()
                theirs.append((counts, record["predicted_iou"], [x + x0, y + y0], x0))
    generator = MaskGenerator(
        spotted_in_the_middle, "exact", points_per_batch=64, tiles=tiles, **parameters
    )
    ours = [
        (
            record["segmentation"]["counts"],
            record["predicted_iou"],
            record["point_coords"][0],
            record["crop_box"][0],
        )
        for record in generator.generate(rgb)
    ]
    assert len({crop for *_, crop in ours}) == len(layout.boxes) >= 3
    assert sorted(ours) == sorted(theirs)


def test_tiles_take_the_place_of_crops(sam):
    with pytest.raises(ValueError, match="crop_n_layers must be 0"):
        MaskGenerator(sam, tiles=Tiles(64), crop_n_layers=1)


@pytest.mark.slow
def test_fast_differs_by_rounding_only(sam):
    rgb = image(110, 83)
    parameters = ALL | {"points_per_side": 10, "stability_score_thresh": 1e-3}
    theirs = [record for record in vanilla(sam, rgb, **parameters) if record["area"] >= 20]
    ours = MaskGenerator(sam, "fast", **parameters).generate(rgb)
    ours = [record for record in ours if record["area"] >= 20]
    assert len(theirs) >= 100
    assert abs(len(ours) - len(theirs)) <= 0.01 * len(theirs)
    iou = coco.iou(
        [record["segmentation"] for record in theirs],
        [record["segmentation"] for record in ours],
        [0] * len(ours),
    )
    assert (iou.max(1) >= 0.99).mean() >= 0.995


@pytest.mark.parametrize("prompts", [1, 2, 5, 8])
@pytest.mark.parametrize("quantile", [0.0, 0.6, 0.9])
def test_decoders(sam, prompts, quantile):
    """What is rejected early changes nothing about the rest."""
    torch.manual_seed(prompts)
    with torch.no_grad():
        embedding = torch.randn(1, CHANNELS, SIDE // PATCH, SIDE // PATCH)
        points = torch.rand(prompts, 2, dtype=torch.float64) * SIDE
        labels = torch.ones(prompts, 1, dtype=torch.int)
        sparse, dense = sam.prompt_encoder((points[:, None], labels), None, None)
        position = sam.prompt_encoder.get_dense_pe()
        logits, iou = sam.mask_decoder(embedding, position, sparse, dense, True)
        threshold = max(float(iou.quantile(quantile)), 1e-3) + 1e-4
        passed = iou.flatten() > threshold
        exact, fast = Decoder(sam), FastDecoder(sam)
        for decoder in (exact, fast):
            decoder.set_image(embedding)
        exact, fast = (decoder.decode(points, threshold) for decoder in (exact, fast))
    assert exact.index.tolist() == fast.index.tolist() == passed.nonzero()[:, 0].tolist()
    assert torch.equal(exact.logits, logits.flatten(0, 1)[passed])
    assert torch.equal(exact.predicted_iou, iou.flatten()[passed])
    scale = logits.abs().max()
    torch.testing.assert_close(fast.logits, exact.logits, rtol=0, atol=1e-5 * float(scale))
    torch.testing.assert_close(fast.predicted_iou, exact.predicted_iou, rtol=1e-4, atol=1e-4)


def test_encoder(sam):
    torch.manual_seed(0)
    with torch.no_grad():
        frame = torch.randn(1, 3, SIDE, SIDE)
        theirs, ours = sam.image_encoder(frame), encode_frames(sam.image_encoder, frame)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_only_survivors_are_unpacked(spotted, monkeypatch):
    """Masks are drawn and run-length encoded after non-maximum suppression."""
    unpacked = []
    unpack = PackedMask.unpack
    monkeypatch.setattr(PackedMask, "unpack", lambda mask: unpacked.append(mask) or unpack(mask))
    generator = MaskGenerator(spotted, "exact", **SOME)
    records = generator.generate(image(70, 90))
    assert 5 <= len(records) == len(unpacked) < 3 * 64


def test_seconds_by_stage(sam):
    generator = MaskGenerator(sam, **SOME)
    generator.generate(image(64, 64))
    assert set(generator.seconds) == {"encoding", "decoding", "postprocessing"}
    assert all(seconds > 0 for seconds in generator.seconds.values())


def test_images_other_than_rgb(sam, monkeypatch):
    monkeypatch.setattr(sam, "image_format", "BGR")
    rgb = image(64, 64)
    assert MaskGenerator(sam, "exact", points_per_batch=64, **SOME).generate(rgb) == vanilla(
        sam, rgb, **SOME
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"precision": "fp8"}, "precision must be one of"),
        ({"precision": "tf32"}, "needs a CUDA device"),
        ({"precision": "bf16"}, "needs a CUDA device"),
        ({"points_per_side": None}, "exactly one of"),
        ({"point_grids": [np.zeros((1, 2))]}, "exactly one of"),
    ],
)
def test_parameters_that_cannot_work(sam, parameters, message):
    with pytest.raises(ValueError, match=message):
        MaskGenerator(sam, **parameters)


def decisive_weights(sam: Sam, place: str) -> torch.Tensor:
    """Weights that make the output overflow if they are large."""
    return {
        "image": sam.image_encoder.neck[2].weight,
        "scores": sam.mask_decoder.iou_prediction_head.layers[-1].weight,
        "masks": sam.mask_decoder.output_hypernetworks_mlps[1].layers[-1].weight,
    }[place]


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("place", ["image", "scores", "masks"])
def test_finite_weights_that_give_no_finite_output_are_told(precision, place):
    sam = build_sam()
    decisive_weights(sam, place).fill_(3e38)
    generator = MaskGenerator(sam, precision, **SOME | {"pred_iou_thresh": 0.0})
    with pytest.raises(NotFiniteError, match=r"not finite: the weights that sam\.checkpoint names"):
        generator.find(image(64, 64))


def test_an_image_is_not_blamed_for_the_one_before():
    sam = build_sam()
    generator, weight = MaskGenerator(sam, **SOME), sam.mask_decoder.iou_token.weight
    right = weight.clone()
    weight.fill_(torch.nan)
    with pytest.raises(NotFiniteError):
        generator.find(image(64, 64))
    weight.copy_(right)
    generator.find(image(64, 64))


@pytest.mark.parametrize("rgb", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint16)])
def test_images_of_another_kind(sam, rgb):
    with pytest.raises(ValueError, match="uint8"):
        MaskGenerator(sam).generate(rgb)
