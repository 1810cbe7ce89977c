"""Packing: shards of decreasing cost that lose no image and are worth a model load."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.plan.cost import CostModel, fit_cost, guess_cost
from samfleet.plan.shards import OVERSUBSCRIPTION, ShardImage, pack_shards, read_shard, write_shard
from samfleet.sam.weights import MODEL_NAMES

SIZES = st.lists(st.integers(0, 10_000_000), max_size=200)
GPUS = st.integers(1, 20)
MINIMUM = st.sampled_from([0.0, 1.0, 10.0, 240.0])
COST = CostModel(constant=1.0, per_byte=1e-6)


def images(sizes: list[int]) -> list[ShardImage]:
    return [ShardImage(f"{n:032x}", size, f"{n}.tif") for n, size in enumerate(sizes)]


def seconds(shard: list[ShardImage], cost: CostModel = COST) -> float:
    return sum(cost.seconds(image.size) for image in shard)


@given(SIZES, GPUS, MINIMUM)
def test_every_image_is_in_one_shard_and_the_order_is_kept(sizes, gpus, minimum):
    shards = pack_shards(images(sizes), gpus, COST, minimum)
    assert [image for shard in shards for image in shard] == images(sizes)
    assert all(shards)


@given(SIZES, GPUS, MINIMUM)
def test_no_shard_is_shorter_than_the_minimum_unless_it_is_the_only_one(sizes, gpus, minimum):
    shards = pack_shards(images(sizes), gpus, COST, minimum)
    if len(shards) > 1:
        assert min(map(seconds, shards)) >= minimum - 1e-6


@given(SIZES, GPUS, MINIMUM)
def test_shards_get_smaller_up_to_the_cost_of_an_image(sizes, gpus, minimum):
    lengths = [seconds(shard) for shard in pack_shards(images(sizes), gpus, COST, minimum)]
    one = max((COST.seconds(size) for size in sizes), default=0)
    # the last one also takes what would be too short for a shard of its own
    allowed = [one] * (len(lengths) - 2) + [one + minimum]
    for before, after, more in zip(lengths, lengths[1:], allowed, strict=False):
        assert after <= before + more + 1e-6


@given(SIZES, GPUS, MINIMUM)
def test_a_shard_takes_its_part_of_what_remains_up_to_half_an_image(sizes, gpus, minimum):
    shards = pack_shards(images(sizes), gpus, COST, minimum)
    remaining = seconds(images(sizes))
    half = max((COST.seconds(size) for size in sizes), default=0) / 2
    for shard in shards[:-1]:
        part = remaining / (OVERSUBSCRIPTION * gpus)
        if (
            part > minimum + half and len(shard) > 1
        ):  # below the minimum, a shard takes another image
            assert abs(seconds(shard) - part) <= half + 1e-6
        remaining -= seconds(shard)


@given(st.integers(1, 3000), GPUS, st.sampled_from([1.0, 10.0]))
def test_the_number_of_shards_grows_with_the_logarithm_of_the_work(number, gpus, minimum):
    shards = pack_shards(images([0] * number), gpus, COST, minimum)
    parts = OVERSUBSCRIPTION * gpus
    assert len(shards) <= number / minimum + 1
    # each takes 1/parts of what remains until that is the minimum, the rest are minimal
    assert len(shards) <= parts * (max(0, math.log(number / (parts * minimum))) + 2) + 1


@given(st.integers(1, 20))
def test_every_gpu_has_a_shard_when_there_is_enough_work(gpus):
    assert len(pack_shards(images([0] * 2000), gpus, COST, 10)) >= gpus


def test_one_shard_for_little_work_and_none_for_no_work():
    assert pack_shards(images([0, 0, 0]), 8, COST, 240) == [images([0, 0, 0])]
    assert pack_shards([], 8, COST, 240) == []


def test_images_that_seem_to_cost_nothing_do_not_get_a_shard_each():
    assert len(pack_shards(images([0] * 1000), 4, CostModel(0, 0), 0)) == 1


def test_at_least_one_gpu_is_needed():
    with pytest.raises(ValueError, match="gpus: 0"):
        pack_shards(images([1]), 0, COST, 1)


def test_a_shard_list_is_read_as_it_was_written(tmp_path):
    planned = [ShardImage("ab" * 16, 3, os.fsdecode(b"caf\xe9\n.tif")), ShardImage("cd", 0, "b")]
    write_shard(tmp_path / "0001.tsv", planned)
    assert list(read_shard(tmp_path / "0001.tsv")) == planned


def test_the_measured_cost_replaces_the_guess():
    cost = fit_cost([(1.0, 0.2, 100, 1), (3.0, 0.4, 200, 1)], guess_cost("vit_h"))
    assert cost.constant == 2.0
    assert cost.per_byte == pytest.approx(0.6 / 300)
    assert cost.seconds(1000) == pytest.approx(2.0 + 2.0)


def test_the_guess_serves_while_nothing_is_measured():
    assert fit_cost([], guess_cost("vit_h")) == guess_cost("vit_h")
    assert (
        fit_cost([(1.0, 0.0, 0, 1)], guess_cost("vit_h")).per_byte == guess_cost("vit_h").per_byte
    )


def test_the_seconds_of_an_image_are_those_of_its_tiles():
    cost = fit_cost([(1.0, 0.0, 100, 2), (5.0, 0.0, 100, 4)], guess_cost("vit_h"))
    assert cost.constant == 1.0
    assert cost.seconds(0, tiles=7) == 7.0
    many = [ShardImage("a", 0, "a.tif", tiles=30), *images([0] * 30)]
    large, *others = pack_shards(many, 2, CostModel(1.0, 0.0), 1.0)
    assert large == many[:1] and len(others) >= 2


def test_larger_models_are_expected_to_take_longer():
    expected = [guess_cost(name).seconds(10**6) for name in MODEL_NAMES]
    assert expected == sorted(set(expected))
