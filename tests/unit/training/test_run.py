"""Training of `tiny`: its examples, its batched decoder, its losses and its run."""

import csv
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from segment_anything.modeling.image_encoder import add_decomposed_rel_pos

from samfleet.sam.model import TINY_INPUT_SIZE, TINY_PATCH_SIZE, build_tiny, load_model
from samfleet.sam.prompts.loading import load_map_decoder
from training import examples, run, trainee
from training import losses as loss_terms
from training.__main__ import main
from training.examples import make_example
from training.fields import Field
from training.initialisation import initialise
from training.losses import LOSS_WEIGHTS, collate, losses, map_losses
from training.pack import balanced, read_pack
from training.prompts import CENTRAL, NEAR_MISS, draw_prompts
from training.run import learning_rate, train
from training.settings import GRID, TrainingSettings
from training.targets import BETWEEN_WEIGHT, LARGEST_WEIGHT, SMALLEST_WEIGHT, target_maps
from training.trainee import Trainee

SHORT = TrainingSettings(small_steps=3, steps=1, full_steps=0, rounds=1, crops=1, prompts=4)


def _disc_image(height: int = 120, width: int = 160) -> Field:
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.uint16)
    for number, (cy, cx) in enumerate([(30, 40), (80, 110), (60, 30)], 1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 < 13**2] = number
    return Field(np.where(labels > 0, 200, 20).astype(np.uint8), labels)


def _depth(labels: np.ndarray) -> np.ndarray:
    return 1 - target_maps(labels)[0][2]


@pytest.fixture(scope="module")
def model() -> Trainee:
    torch.manual_seed(0)
    sam = build_tiny()
    with torch.no_grad():
        initialise(sam, 0)
    return Trainee(sam)


# --- examples -------------------------------------------------------------------------------


@pytest.mark.parametrize("patches", [GRID // 4, GRID // 2, GRID])
@pytest.mark.parametrize("synthetic", [0.0, 1.0])
def test_examples_are_whole_and_repeatable(patches, synthetic):
    settings = TrainingSettings(synthetic=synthetic, prompts=10)
    prompts = 20 if patches == GRID else 10
    for seed in range(3):
        one = make_example([_disc_image()], settings, patches, np.random.default_rng(seed))
        two = make_example([_disc_image()], settings, patches, np.random.default_rng(seed))
        side = patches * TINY_PATCH_SIZE
        assert one.image.shape == (side, side, 3) and one.image.dtype == np.uint8
        assert one.labels.shape == one.weights.shape == one.maps.shape[1:] == (side, side)
        assert one.points.shape == (prompts, 2) and one.targets.shape == (prompts,)
        assert all(0 <= c <= GRID - patches for c in one.corner)
        assert np.array_equal(one.image, two.image) and np.array_equal(one.points, two.points)


def test_image_and_labels_of_an_example_stay_together():
    settings = TrainingSettings(synthetic=0.0)
    contrasts = []
    for seed in range(12):
        example = make_example([_disc_image()], settings, GRID // 2, np.random.default_rng(seed))
        grey = example.image.max(axis=2).astype(float)
        inside, outside = grey[example.labels > 0], grey[example.labels == 0]
        if inside.size and outside.size:
            contrasts.append(abs(inside.mean() - outside.mean()))
    # Whatever the colours, the discs stand out; a few look-up tables flatten them.
    assert len(contrasts) > 6 and np.median(contrasts) > 30


def test_a_mirrored_field_holds_whole_objects():
    labels = np.zeros((6, 8), np.uint16)
    labels[1:3, 1:3], labels[4:6, 5:7] = 1, 2  # the second is cut by the lower edge
    image, mirrored = examples._mirrored(labels.astype(np.uint8), labels)
    assert image.shape == mirrored.shape == (12, 16)
    areas = np.bincount(mirrored.ravel())[1:]
    assert sorted(areas.tolist()) == [4, 4, 4, 4, 8, 8]
    assert np.array_equal(image > 0, mirrored > 0)


def test_prompts_mean_what_they_lie_on():
    labels = _disc_image().labels.astype(np.int32)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        points, targets = draw_prompts(labels, labels.shape, 40, rng, _depth(labels))
        x, y = points.astype(int).T
        meant = targets > 0
        assert 0.5 < meant.mean() < 0.9
        assert not meant[np.argmin(meant) :].any()  # those that mean an object come first
        assert not labels[y[~meant], x[~meant]].any()
        on = labels[y, x]
        assert (on[meant] == targets[meant])[on[meant] > 0].all()
        for px, py, target in zip(x[meant], y[meant], targets[meant], strict=True):
            ys, xs = np.nonzero(labels == target)
            assert np.hypot(ys - py, xs - px).min() <= NEAR_MISS + 0.5


def test_half_of_the_prompts_in_objects_are_where_the_maps_would_put_them():
    labels = _disc_image().labels.astype(np.int32)
    depth = _depth(labels)
    points, targets = draw_prompts(labels, labels.shape, 400, np.random.default_rng(0), depth)
    x, y = points[targets > 0].astype(int).T
    assert 0.4 < (depth[y, x] >= CENTRAL).mean() < 0.7


def test_prompts_of_an_empty_image_and_of_one_that_is_all_object():
    rng = np.random.default_rng(0)
    nothing = np.zeros((16, 16), np.int32)
    points, targets = draw_prompts(nothing, (16, 10), 5, rng, _depth(nothing))
    assert not targets.any() and (points[:, 0] < 10).all()
    everything = np.ones((16, 16), np.int32)
    _, targets = draw_prompts(everything, (16, 16), 5, rng, _depth(everything))
    assert targets[0] == 1


def test_pack_is_split_and_checked(tmp_path):
    content = {}
    for k in range(13):
        content[f"i{k}"] = np.full((4, 5), k, np.uint8)
        content[f"l{k}"] = np.zeros((4, 5), np.uint16)
    np.savez(tmp_path / "pack.npz", ids=np.array(["x"] * 13), **content)
    train_images, validation = read_pack(tmp_path / "pack.npz")
    assert [int(p.image[0, 0]) for p in validation] == [0, 12]
    assert len(train_images) == 11
    np.savez(tmp_path / "none.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"none\.npz"):
        read_pack(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="same 2-D shape"):
        Field(np.zeros((2, 2)), np.zeros((2, 3)))


def test_images_of_rare_sizes_recur():
    def images(number: int, side: int) -> list[Field]:
        blank = np.zeros((side, side), np.uint8)
        return [Field(blank, blank) for _ in range(number)]

    seen = balanced(images(64, 9) + images(16, 8) + images(1, 7))
    times = Counter(len(field.image) for field in seen)
    assert times == {
        9: 64,
        8: 32,
        7: 4,
    }  # as the square root: 16 of 64 twice each, and 1 as if it were 4
    assert len({id(field) for field in seen}) == 81
    assert balanced([]) == []


# --- the model ------------------------------------------------------------------------------


@pytest.mark.slow
def test_batched_passes_are_those_of_sam(model):
    """The training's own decoder and encoder give what SAM's modules give."""
    sam = model.sam
    torch.manual_seed(1)
    images = torch.rand(2, 3, TINY_INPUT_SIZE, TINY_INPUT_SIZE) * 255
    points = torch.rand(2, 3, 2) * TINY_INPUT_SIZE
    with torch.no_grad():
        embedding, encoding = model.embed(model.normalised(images), [(0, 0), (0, 0)])
        masks, ious = model.decode(embedding, encoding, points, torch.ones(6, dtype=torch.bool))
        for k in range(2):
            expected = sam.image_encoder(sam.preprocess(images[k])[None])
            assert torch.allclose(embedding[k], expected[0], atol=1e-4)
            ones = torch.ones(3, 1)
            sparse, dense = sam.prompt_encoder((points[k][:, None], ones), None, None)
            pe = sam.prompt_encoder.get_dense_pe()
            mask, iou = sam.mask_decoder.predict_masks(expected, pe, sparse, dense)
            mine = masks[3 * k : 3 * k + 3].flatten(4, 5).flatten(2, 3)
            assert torch.allclose(mine, mask, atol=1e-3)
            assert torch.allclose(ious[3 * k : 3 * k + 3], iou, atol=1e-4)


def test_masks_are_made_for_the_wanted_prompts_alone(model):
    torch.manual_seed(2)
    images, points = torch.rand(1, 3, 128, 128) * 255, torch.rand(1, 4, 2) * 128
    wanted = torch.tensor([False, True, False, True])
    with torch.no_grad():
        embedding, encoding = model.embed(model.normalised(images), [(3, 5)])
        some, _ = model.decode(embedding, encoding, points, wanted)
        every, _ = model.decode(embedding, encoding, points, torch.ones(4, dtype=torch.bool))
    assert torch.allclose(some, every[wanted], atol=1e-5)


def test_target_masks_lie_as_the_logits_do():
    labels = torch.zeros(1, 128, 128, dtype=torch.int32)
    labels[0, 10:30, 40:100] = 4
    masks = loss_terms._target_masks(labels, torch.tensor([0]), torch.tensor([4]))
    flat = masks.flatten(3, 4).flatten(1, 2)[0]
    assert flat.shape == (64, 64)
    assert flat[5:15, 20:50].min() == 1 and flat.sum() == 10 * 30


def test_losses_of_a_perfect_mask_are_least():
    truth = torch.zeros(1, 1, 64)
    truth[..., :9] = 1
    good, bad = 20 * (truth - 0.5), 20 * (0.5 - truth)
    logits = torch.cat([good, bad, torch.zeros_like(good)], dim=1)
    perfect, wrong, unsure = loss_terms._mask_losses(logits, truth)[0].tolist()
    assert perfect < 0.01 < unsure < wrong
    larger = good.clone()
    larger[..., 9:18] = 10  # twice as large, at logits of 10: an IoU of a half
    (loss,) = loss_terms._mask_losses(larger, truth)[0].tolist()
    assert loss == pytest.approx(0.5 * 9 * 10 / (9 + 16) + 1 - 10 / 19, rel=1e-3)
    assert loss_terms._true_iou(logits, truth)[0].tolist() == [1, 0, 0]


def test_target_maps_fall_to_0_at_the_centre():
    labels = np.zeros((40, 40), np.int32)
    labels[4:13, 8:17] = 3  # its centre is at row 8, column 12
    (foreground, to_centre, to_boundary), weights = target_maps(labels)
    assert np.array_equal(foreground, labels > 0)
    assert to_centre[8, 12] == to_boundary[8, 12] == 0
    assert to_centre[4, 8] == 1 and to_centre[8, 8] == pytest.approx(2**-0.5)
    assert to_boundary[4, 12] == pytest.approx(0.8)  # 1 of 5 pixels deep
    assert (to_centre[labels == 0] == 1).all() and (to_boundary[labels == 0] == 1).all()
    assert weights[0, 0] == SMALLEST_WEIGHT and weights[8, 12] == pytest.approx(
        24 / 10.155, rel=1e-3
    )
    labels[20, 20] = 4
    assert target_maps(labels)[1][20, 20] == LARGEST_WEIGHT


def test_pixels_weigh_more_where_two_objects_meet():
    labels = np.zeros((20, 40), np.int32)
    labels[:, :10], labels[:, 11:20], labels[:, 30:] = 1, 2, 3
    weights = target_maps(labels)[1]
    alone = [target_maps(np.where(labels == k, k, 0).astype(np.int32))[1] for k in (1, 2, 3)]
    apart = np.choose(labels, [np.full_like(weights, SMALLEST_WEIGHT), *alone])
    heavier = weights / apart
    assert np.allclose(heavier[:, 9:12], BETWEEN_WEIGHT)  # the gap and the pixels beside it
    assert np.allclose(heavier[:, :7], 1) and np.allclose(heavier[:, 14:], 1)


def test_an_object_that_the_frame_cuts_goes_on_behind_it():
    labels = np.zeros((20, 30), np.int32)
    labels[:10, 10:20] = 1
    to_boundary = target_maps(labels)[0][2]
    assert to_boundary[0].argmin() in (14, 15) and to_boundary[0, 14] == 0
    assert to_boundary[9, 14] == pytest.approx(0.8)


def test_map_losses_are_least_for_the_right_maps():
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 0, :4], maps[0, 1:, 4:] = 1, 1
    right, weights = 20 * (maps - 0.5), torch.ones(1, 8, 8)
    for name, value in map_losses(right, maps, weights).items():
        assert value < 0.02 < map_losses(-right, maps, weights)[name]
    beside = right.clone()
    beside[0, 0, 0] *= -1
    ignored = weights.clone()
    ignored[0, 0] = 0
    assert map_losses(beside, maps, ignored)["foreground"] < 0.02


def test_background_prompts_are_rated_0(model):
    """Without any object the IoU loss is the mean square of the predictions."""
    image = Field(np.full((128, 128), 30, np.uint8), np.zeros((128, 128), np.uint16))
    settings = TrainingSettings(synthetic=0.0, prompts=6)
    example = make_example([image], settings, GRID // 4, np.random.default_rng(0))
    batch = collate([example], torch.device("cpu"))
    with torch.no_grad():
        terms = losses(model, batch)
        images = model.normalised(batch.images)
        embedding, encoding = model.embed(images, batch.corners)
        embedding = embedding + model.maps(embedding, images)[1] * example.dense
        nothing = torch.zeros(6, dtype=torch.bool)
        _, ious = model.decode(embedding, encoding, batch.points, nothing)
    assert terms["mask"] == 0
    assert torch.allclose(terms["iou"], ious.square().mean())


def test_predicted_ious_are_trained_towards_the_true_ones(model):
    settings = TrainingSettings(synthetic=0.0, prompts=8)
    example = make_example([_disc_image()], settings, GRID // 4, np.random.default_rng(1))
    batch = collate([example], torch.device("cpu"))
    meant = batch.targets[0] > 0
    with torch.no_grad():
        sam = model.sam
        bias = sam.mask_decoder.output_upscaling[3].bias
        bias[0] -= 8.0  # as initialised, no mask would have a pixel, and every IoU would be 0
        terms = losses(model, batch)
        images = model.normalised(batch.images)
        embedding, encoding = model.embed(images, batch.corners)
        embedding = embedding + model.maps(embedding, images)[1] * example.dense
        masks, ious = model.decode(embedding, encoding, batch.points, meant)
        bias[0] += 8.0
    wanted = torch.zeros_like(ious)
    for row, target in zip(torch.nonzero(meant)[:, 0], batch.targets[0][meant], strict=True):
        truth = torch.nn.functional.avg_pool2d((batch.labels == target).float(), 2)[0] >= 0.5
        mask = masks[row].flatten(3, 4).flatten(1, 2) > 0
        wanted[row] = (mask & truth).sum((1, 2)) / (mask | truth).sum((1, 2)).clamp(min=1)
    assert wanted.max() > 0
    assert torch.allclose(terms["iou"], (ious - wanted).square().mean())


def test_bfloat16_changes_losses_little_and_no_position(model, monkeypatch):
    encoded = []

    def noting(*given, **named):
        encoded.append(original(*given, **named))
        return encoded[-1]

    settings = TrainingSettings(synthetic=0.0, prompts=8)
    example = make_example([_disc_image()], settings, GRID // 4, np.random.default_rng(2))
    batch = collate([example], torch.device("cpu"))
    terms, original = {}, model.sam.prompt_encoder._embed_points
    monkeypatch.setattr(model.sam.prompt_encoder, "_embed_points", noting)
    for in_bfloat16 in (False, True):
        monkeypatch.setattr(model, "in_bfloat16", in_bfloat16)
        with torch.no_grad():
            terms[in_bfloat16] = losses(model, batch)
    assert torch.equal(*encoded) and encoded[1].dtype == torch.float32
    for name in LOSS_WEIGHTS:
        exact, rounded = (terms[kind][name] for kind in (False, True))
        assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact), name
        assert float(rounded) == pytest.approx(float(exact), rel=0.1, abs=0.01), name


def test_relative_positions_are_cut_around_the_middle(model):
    block = model.sam.image_encoder.blocks[-1]
    cut = trainee._cropped_positions(block, GRID // 4)["attn.rel_pos_h"]
    whole = block.attn.rel_pos_h
    assert whole.shape[0] == 2 * GRID - 1 and cut.shape[0] == 2 * (GRID // 4) - 1
    assert cut[GRID // 4 - 1].data_ptr() == whole[GRID - 1].data_ptr()  # no displacement
    assert not trainee._cropped_positions(model.sam.image_encoder.blocks[0], GRID // 4)


@pytest.mark.parametrize(("depth", "distance"), [(0, 1), (2, 2), (4, 3)])
def test_heads_start_out_looking_at_their_neighbours(model, depth, distance):
    attention = model.sam.image_encoder.blocks[depth].attn
    grid = (attention.rel_pos_h.shape[0] + 1) // 2
    tokens = torch.randn(1, grid, grid, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        queries = attention.qkv(tokens).view(1, grid * grid, 3, 4, 32)[:, :, 0].transpose(1, 2)[0]
        queries[:, :, 3:] = 0  # the prior alone
        scores = torch.zeros(4, grid * grid, grid * grid)
        scores = add_decomposed_rel_pos(
            scores, queries, attention.rel_pos_h, attention.rel_pos_w, (grid, grid), (grid, grid)
        )
    y = x = grid // 2
    looked_at = [divmod(int(k), grid) for k in scores[:, y * grid + x].argmax(-1)]
    assert sorted(looked_at) == [
        (y + dy * distance, x + dx * distance) for dy in (-1, 1) for dx in (-1, 1)
    ]


def test_patches_start_out_as_their_cosine_transform(model):
    embedding = model.sam.image_encoder.patch_embed.proj
    flat = torch.full((1, 3, TINY_PATCH_SIZE, TINY_PATCH_SIZE), 6.0)
    with torch.no_grad():
        channels = (embedding(flat) - embedding.bias[:, None, None]).flatten()
    assert channels[0] == pytest.approx(6.0 * TINY_PATCH_SIZE)
    assert torch.allclose(channels[1:64], torch.zeros(63), atol=1e-4)


def test_a_few_steps_learn(model):
    """The loss on one batch falls when it is trained on."""
    trainee = Trainee(build_tiny())
    trainee.load_state_dict(model.state_dict())
    example = make_example(
        [_disc_image()], TrainingSettings(synthetic=0.0), GRID // 4, np.random.default_rng(1)
    )
    batch = collate([example], torch.device("cpu"))
    optimiser = torch.optim.AdamW(trainee.parameters(), lr=1e-3)
    values = []
    for _ in range(12):
        terms = losses(trainee, batch)
        total = sum(weight * terms[name] for name, weight in LOSS_WEIGHTS.items())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        values.append(float(total.detach()))
    assert values[-1] < 0.8 * values[0]


# --- the run --------------------------------------------------------------------------------


def test_learning_rate_rises_stays_and_falls_in_every_round():
    settings = TrainingSettings(
        small_steps=500, steps=300, full_steps=100, rounds=2, learning_rate=1.0
    )
    assert settings.total == 1800
    rates = [learning_rate(step, settings) for step in range(1800)]
    assert rates[0] == 1 / 100 and rates[100] == rates[450] == 1
    assert rates[675] == pytest.approx(0.5) and rates[899] == 0.02
    assert rates[900:] == rates[:900]


def test_crops_grow_within_every_round():
    settings = TrainingSettings(small_steps=2, steps=1, full_steps=1, rounds=2, crops=4)
    sizes = [settings.size(step) for step in range(settings.total)]
    assert sizes == 2 * [(4, GRID // 4), (4, GRID // 4), (2, GRID // 2), (1, GRID)]


@pytest.mark.slow
def test_run_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    images = [_disc_image()]
    whole = train(images, images, SHORT, tmp_path / "whole.pth", progress=False)

    update, seen = run._Run.update, []

    def stop_at_2(run, batch):
        if run.step == 2:
            raise KeyboardInterrupt
        seen.append(run.step)
        return update(run, batch)

    monkeypatch.setattr(run._Run, "update", stop_at_2)
    parts = tmp_path / "parts.pth"
    with pytest.raises(KeyboardInterrupt):
        train(images, images, SHORT, parts, save_every=1, progress=False)
    monkeypatch.undo()
    train(images, images, SHORT, parts, save_every=1, progress=False)
    assert seen == [0, 1]
    one, two = (
        torch.load(f"{path}.checkpoint", weights_only=True)["average"] for path in (whole, parts)
    )
    # the last bits depend on how memory is aligned, and single values more; a step more or less changes all of them more
    means = {key: float((one[key] - two[key]).double().abs().mean()) for key in one}
    assert max(means.values()) < 5e-7
    with (tmp_path / "parts.pth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert all(float(row["validation_mask"]) > 0 for row in rows)
    with pytest.raises(ValueError, match="another training"):
        train(images, [], TrainingSettings(steps=5), parts, progress=False)


def test_command_trains_on_synthetic_images_alone(tmp_path):
    out = tmp_path / "new" / "tiny.pth"
    values = {"small-steps": 1, "steps": 0, "full-steps": 0, "rounds": 1}
    values |= {"crops": 1, "prompts": 4, "seed": 5}
    arguments = [f"--{name}={value}" for name, value in values.items()]
    main(["--out", str(out), *arguments])
    assert load_model("tiny", out).state_dict() and load_map_decoder("tiny", out).state_dict()
    assert out.stat().st_size < 10_000_000


@pytest.mark.slow
def test_training_starts_from_given_weights(tmp_path):
    first = train([_disc_image()], [], SHORT, tmp_path / "first.pth", progress=False)
    still = replace(SHORT, small_steps=1, steps=0, learning_rate=1e-9)
    second = train([_disc_image()], [], still, tmp_path / "second.pth", start=first, progress=False)
    for load in (load_model, load_map_decoder):
        one, two = (load("tiny", path).state_dict() for path in (first, second))
        for key, value in one.items():
            if "running" not in key and "num_batches" not in key:
                assert torch.allclose(value, two[key], atol=1e-6), key


def test_a_frozen_encoder_stays_as_it_is(tmp_path):
    """New maps are trained beside it, whatever the decoder of the weights is."""
    settings = replace(SHORT, small_steps=1, steps=0, freeze_encoder=True)
    weights = {"model_state": build_tiny().state_dict(), "decoder_state": {"other": torch.ones(1)}}
    torch.save(weights, start := tmp_path / "start.pth")
    out = tmp_path / "out.pth"
    train([_disc_image()], [], settings, out, start=start, new_maps=True, progress=False)
    load_map_decoder("tiny", out)
    trained = load_model("tiny", out).state_dict()
    slower = replace(settings, sam_rate=0.0, weight_decay=0.0)
    still = train(
        [_disc_image()],
        [],
        slower,
        tmp_path / "still.pth",
        start=start,
        new_maps=True,
        progress=False,
    )
    same = load_model("tiny", still).state_dict()
    assert all(torch.equal(v.half().float(), same[k]) for k, v in weights["model_state"].items())
    changed = {
        key.split(".")[0]
        for key, value in weights["model_state"].items()
        if not torch.allclose(value.half().float(), trained[key], atol=0)
    }
    assert changed == {"mask_decoder", "prompt_encoder"}


@pytest.mark.parametrize(
    "fault",
    [
        {"small_steps": 0, "steps": 0, "full_steps": 0},
        {"steps": -1},
        {"crops": 0},
        {"prompts": 1},
        {"synthetic": 1.1},
        {"average": 1.0},
        {"learning_rate": 0},
        {"weight_decay": -1},
        {"sam_rate": -1},
    ],
)
def test_impossible_settings_are_refused(fault):
    with pytest.raises(ValueError):
        TrainingSettings(**fault)
