"""Packing: as many shards as devices, about as long, cut into chunks that get shorter; no image is lost."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.files import TableError
from samfleet.plan.cost import CostModel, fit_cost, guess_cost
from samfleet.plan.shards import (
    LONGEST_CHUNK_SECONDS,
    Chunk,
    ShardImage,
    cut_chunks,
    pack_shards,
    read_chunks,
    read_shard,
    write_chunks,
    write_shard,
)
from samfleet.sam.weights import MODEL_NAMES

SIZES = st.lists(st.integers(0, 10_000_000), max_size=200)
DEVICES = st.integers(1, 20)
SHORTEST = st.sampled_from([0.0, 1.0, 10.0, 240.0])
COST = CostModel(constant=1.0, per_byte=1e-6)


def images(sizes: list[int]) -> list[ShardImage]:
    return [ShardImage(f"{n:032x}", size, f"{n}.tif") for n, size in enumerate(sizes)]


def seconds(shard: list[ShardImage], cost: CostModel = COST) -> float:
    return sum(cost.seconds(image.size) for image in shard)


@given(SIZES, DEVICES, SHORTEST, st.sampled_from([50.0, math.inf]))
def test_every_image_is_in_one_shard_and_the_order_is_kept(sizes, devices, shortest, longest):
    shards = pack_shards(images(sizes), devices, COST, shortest, longest)
    assert [image for shard in shards for image in shard] == images(sizes)
    assert all(shards)


@given(SIZES.filter(bool), DEVICES)
def test_there_are_as_many_shards_as_devices_if_there_are_images_for_them(sizes, devices):
    assert len(pack_shards(images(sizes), devices, COST, 0)) == min(devices, len(sizes))


@given(SIZES.filter(bool), DEVICES, SHORTEST)
def test_shards_are_about_as_long_up_to_the_longest_image(sizes, devices, shortest):
    lengths = [seconds(shard) for shard in pack_shards(images(sizes), devices, COST, shortest)]
    longest = max(COST.seconds(size) for size in sizes)
    # each end is at most half an image away from where it should be, or at least one image is moved for others
    assert max(lengths) <= sum(lengths) / len(lengths) + longest + 1e-6


def test_a_thousand_images_make_eight_shards_for_eight_devices():
    shards = pack_shards(images([100_000] * 1000), 8, guess_cost("vit_h"), 22)
    assert [len(shard) for shard in shards] == [125] * 8


@pytest.mark.parametrize(
    ("number", "devices", "shards"),
    [(1, 8, 1), (9, 8, 1), (20, 8, 2), (45, 8, 4), (1000, 8, 8), (1000, 160, 100)],
)
def test_little_work_is_not_spread_so_thin_that_jobs_only_start(number, devices, shards):
    assert len(pack_shards(images([0] * number), devices, COST, 10)) == shards


@pytest.mark.parametrize(("longest", "shards"), [(math.inf, 8), (125, 8), (100, 10), (1, 1000)])
def test_more_work_than_a_job_has_time_for_makes_more_shards_than_devices(longest, shards):
    packed = pack_shards(images([0] * 1000), 8, COST, 10, longest)
    assert len(packed) == shards
    assert max(map(seconds, packed)) <= longest


def test_no_work_makes_no_shard_and_images_that_seem_to_cost_nothing_are_divided_by_number():
    assert pack_shards([], 8, COST, 240) == []
    shards = pack_shards(images([0] * 1000), 4, CostModel(0, 0), 0)
    assert [len(shard) for shard in shards] == [250] * 4


def test_at_least_one_device_is_needed():
    with pytest.raises(ValueError, match="devices: 0"):
        pack_shards(images([1]), 0, COST, 1)


@given(st.lists(st.floats(0, 1000), max_size=200), st.integers(1, 40), DEVICES)
def test_the_chunks_of_a_shard_have_every_image_once_and_are_in_order(costs, shards, devices):
    chunks = cut_chunks("0007", costs, shards, devices)
    assert [chunk.number for chunk in chunks] == list(range(1, len(chunks) + 1))
    position = 0
    for chunk in chunks:
        assert (chunk.shard, chunk.first) == ("0007", position)
        assert chunk.images >= 1
        position += chunk.images
        assert chunk.seconds == pytest.approx(sum(costs[chunk.first : position]), abs=0.06)
        if chunk.images > 1:
            most = max(costs[chunk.first : position])
            assert chunk.seconds <= LONGEST_CHUNK_SECONDS + most / 2 + 0.1
    assert position == len(costs)


def test_chunks_are_two_minutes_long_and_at_the_end_single_images():
    chunks = cut_chunks("0001", [2.0] * 10_000, 8, 8)
    assert {chunk.seconds for chunk in chunks[:100]} == {120.0}
    assert [chunk.images for chunk in chunks[-4:]] == [1] * 4
    lengths = [chunk.images for chunk in chunks]
    assert lengths == sorted(lengths, reverse=True)
    # the last rounds last longer than a chunk does on a device of a third of the speed
    assert sum(chunk.seconds for chunk in chunks if chunk.seconds < 120) > 3 * 120


def test_many_shards_for_few_devices_have_fewer_short_chunks_each():
    few = cut_chunks("0001", [2.0] * 1000, 8, 8)
    many = cut_chunks("0001", [2.0] * 1000, 80, 8)
    assert sum(chunk.seconds < 60 for chunk in many) < sum(chunk.seconds < 60 for chunk in few)


def test_an_image_that_takes_long_is_a_chunk_of_its_own():
    chunks = cut_chunks("0001", [1.0] * 10 + [500.0] + [1.0] * 10, 1, 1)
    (alone,) = [chunk for chunk in chunks if chunk.seconds >= 500]
    assert (alone.images, alone.first) == (1, 10)


def test_the_chunks_of_a_plan_are_read_as_they_were_written(tmp_path):
    chunks = cut_chunks("0001", [2.0] * 30, 2, 2) + cut_chunks("0002", [1.5], 2, 2)
    write_chunks(tmp_path / "chunks.tsv", chunks)
    assert read_chunks(tmp_path / "chunks.tsv", {"0001": 30, "0002": 1}) == chunks


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.replace("0002", "0003"),
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        lambda text: text.replace("\t5\t", "\t-5\t"),
        lambda text: text.replace("\t5\t", "\tfive\t"),
        lambda text: text + "0002\t0\t1.0\n",
    ],
    ids=["empty", "another shard", "cut", "negative", "no number", "no image"],
)
def test_damaged_chunks_are_refused_by_the_name_of_the_file(tmp_path, damage):
    path = tmp_path / "chunks.tsv"
    write_chunks(path, [Chunk("0001", 1, 0, 5, 9.0), Chunk("0002", 1, 0, 4, 8.0)])
    path.write_text(damage(path.read_text()))
    with pytest.raises(TableError, match=r"chunks\.tsv: .*; delete it and run again"):
        read_chunks(path, {"0001": 5, "0002": 4})


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
    large, others = pack_shards(many, 2, CostModel(1.0, 0.0), 1.0)
    assert (large, others) == (many[:1], many[1:])


def test_larger_models_are_expected_to_take_longer():
    expected = [guess_cost(name).seconds(10**6) for name in MODEL_NAMES]
    assert expected == sorted(set(expected))
