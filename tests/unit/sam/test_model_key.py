"""The model key: everything that can change a candidate, and nothing else."""

import errno
import hashlib
import os
import tempfile
from dataclasses import dataclass, field, replace

import pytest

from samfleet.config.schema import ConfigError, complete_config
from samfleet.config.settings import NEUTRAL, Settings, introduced_with, key_settings, settings_of
from samfleet.sam.model_key import (
    configured_model_key,
    model_key,
    model_settings,
    present_model_settings,
    weights_digest,
)
from samfleet.sam.weights import OFFICIAL_WEIGHTS, CheckpointError
from tests.builders import make_settings, schema_leaves, setting, weights_stub

OTHER_VALUES = {
    "image.level": 1,
    "image.lookup_table": "applied",
    "display.channel": 1,
    "display.colormap": "green",
    "display.percentiles": [1, 99],
    "sam.model": "vit_b",
    "sam.precision": "exact",
    "sam.points_per_side": 32,
    "sam.pred_iou_thresh": 0.5,
    "sam.stability_score_thresh": 0.5,
    "sam.stability_score_offset": 0.5,
    "sam.box_nms_thresh": 0.5,
    "sam.crop_n_layers": 1,
    "sam.crop_nms_thresh": 0.5,
    "sam.crop_overlap_ratio": 0.5,
    "sam.crop_n_points_downscale_factor": 2,
    "sam.min_mask_region_area": 50,
    "sam.mask_nms_thresh": 0.9,
    "sam.skip_background": True,
    "fluorescence.largest_part": False,
    "sam.tile_size": 512,
    "sam.tile_overlap": 64,
    "sam.tile_whole_image": False,
    "sam.object_diameter": "auto",
}
"""Keys that can change a candidate, with a value that is not the default."""

DECODER_VALUES = {
    "sam.decoder_statistics": "trained",
    "sam.seeds.foreground": 0.6,
    "sam.seeds.center_distance": 0.6,
    "sam.seeds.boundary_distance": 0.6,
    "sam.seeds.smoothing": 2.0,
    "sam.seeds.min_size": 5,
    "sam.seeds.prominence": 0.05,
    "sam.refine_with_boxes": True,
    "sam.refine_with_maps": True,
}
"""Keys that can change a candidate only with `sam.prompts: decoder`."""

NEUTRAL_VALUES = {
    "image.scenes": 0,
    "image.times": 0,
    "image.slices": "all",
    "image.channel_pattern": "(?P<image>.*)_w(?P<channel>.)",
    "image.pixel_size_um": 0.5,
    "images": "elsewhere",
    "image.suffixes": [".tif"],
    "image.max_pixels": 1000,
    "image.timeout_seconds": 5.0,
    "sam.checkpoint": "elsewhere.pth",
    "sam.cache_folder": "elsewhere",
    "sam.decoder": "elsewhere.pt",
    "sam.points_per_batch": 32,
    "sam.compile": True,
    "fluorescence.channel": "red",
    "fluorescence.white": 4095,
    "fluorescence.min_predicted_iou": 0.9,
    "fluorescence.min_stability_score": 0.9,
    "fluorescence.min_area": 10,
    "fluorescence.max_area": 5000,
    "fluorescence.min_mean_intensity": 1,
    "fluorescence.min_contrast": 1,
    "fluorescence.min_circularity": 0.5,
    "fluorescence.min_solidity": 0.5,
    "fluorescence.exclude_edge": True,
    "fluorescence.max_overlap": 0.1,
    "evaluation.labels": "labels",
    "evaluation.sparse": True,
    "evaluation.marks": "marks.json",
    "exports": ["labels"],
    "tables.bom": True,
    "tables.objects_csv": True,
    "report": False,
    "device": "cuda",
    "devices": ["a", "b"],
    "shard.min_seconds": 10,
    "shard.max_hours": 2,
    "shard.threads": 2,
    "shard.mem_mb": 1000,
    "shard.flush_seconds": 1,
    "on_error": "fail",
    "retry_failed": True,
    "rehash": True,
}
"""Keys that change no candidate, with a value that is not the default."""


def key_of(settings: Settings, weights: str = "0" * 64) -> str:
    return model_key(model_settings(settings, weights))


def test_every_key_of_the_schema_is_either_neutral_or_part_of_the_model_key():
    listed = OTHER_VALUES | DECODER_VALUES | NEUTRAL_VALUES | {"sam.prompts": "decoder"}
    listed |= {"sam.mask_nms_of": "smaller"}
    assert sorted(schema_leaves()) == sorted(listed)


@pytest.mark.parametrize("key", DECODER_VALUES)
def test_what_concerns_a_decoder_counts_only_with_its_prompts(key):
    files = {"checkpoint": "elsewhere.pth", "decoder": "elsewhere.pt"}
    with_decoder = {"model": "tiny", "prompts": "decoder"} | files
    config = setting(key, DECODER_VALUES[key])
    config["sam"] |= with_decoder
    changed = settings_of(complete_config(config))
    prompted = key_of(make_settings("x", sam=with_decoder))
    assert key_of(changed) != prompted
    gridded = key_of(make_settings("x", sam=with_decoder | {"prompts": "grid"}))
    assert prompted != gridded
    assert key_of(replace(changed, sam=replace(changed.sam, prompts="grid"))) == gridded


def test_what_masks_share_is_measured_by_counts_only_where_they_are_compared():
    def key(**sam) -> str:
        return key_of(make_settings("x", sam=sam))

    assert key(mask_nms_of="smaller") == key()
    assert key(mask_nms_thresh=0.5, mask_nms_of="smaller") != key(mask_nms_thresh=0.5)


def test_the_content_of_a_decoder_counts_only_with_its_prompts(tmp_path):
    decoder, keys = tmp_path / "d.pt", {}
    for content in (b"a", b"b"):
        decoder.write_bytes(content)
        for prompts in ("grid", "decoder"):
            sam = {"model": "tiny", "prompts": prompts, "decoder": str(decoder)}
            keys[content, prompts] = configured_model_key(make_settings("x", sam=sam), tmp_path)
    assert keys[b"a", "grid"] == keys[b"b", "grid"]
    assert len(set(keys.values())) == 3
    decoder.unlink()
    with pytest.raises(CheckpointError, match=r"sam\.decoder: .*d\.pt cannot be read"):
        configured_model_key(make_settings("x", sam=sam), tmp_path)


def test_official_weights_have_no_decoder_and_those_of_tiny_have_one():
    with pytest.raises(ConfigError, match=r"the standard weights of vit_b have none; set sam\.ch"):
        make_settings("x", sam={"model": "vit_b", "prompts": "decoder"})
    assert make_settings("x", sam={"model": "tiny", "prompts": "decoder"})


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_what_can_change_a_candidate_changes_the_model_key(key):
    settings = settings_of(complete_config(setting(key, OTHER_VALUES[key])))
    assert settings != make_settings("x")
    assert key_of(settings) != key_of(make_settings("x"))


@pytest.mark.parametrize("key", NEUTRAL_VALUES)
def test_what_changes_no_candidate_leaves_the_model_key_alone(key):
    settings = settings_of(complete_config(setting(key, NEUTRAL_VALUES[key])))
    assert settings != make_settings("x")
    assert key_of(settings) == key_of(make_settings("x"))


def test_other_weights_are_another_model_key():
    assert key_of(make_settings(), "0" * 64) != key_of(make_settings(), "1" * 64)


def test_a_new_version_of_the_algorithm_is_another_model_key(monkeypatch):
    before = key_of(make_settings())
    monkeypatch.setattr("samfleet.sam.model_key.ALGORITHM_VERSION", 1000)
    assert key_of(make_settings()) != before


def test_a_new_version_of_a_refinement_concerns_only_those_who_refine(monkeypatch):
    def keys() -> list[str]:
        sam = {"model": "tiny", "prompts": "decoder"}
        ways = sam, sam | {"refine_with_maps": True}
        return [key_of(make_settings("x", sam=way)) for way in ways]

    plain, refined = keys()
    monkeypatch.setattr("samfleet.sam.model_key.REFINEMENT_VERSION", 1000)
    assert keys()[0] == plain and keys()[1] != refined


def test_the_model_key_of_official_weights_needs_no_file(tmp_path):
    settings = make_settings(sam={"model": "vit_b", "cache_folder": str(tmp_path / "none")})
    key = configured_model_key(settings, tmp_path)
    assert key == key_of(settings, OFFICIAL_WEIGHTS["vit_b"].sha256)


def test_the_model_key_comes_from_the_content_of_the_users_weights(tmp_path):
    (tmp_path / "a.pth").write_bytes(weights_stub())
    settings = make_settings(sam={"checkpoint": str(tmp_path / "a.pth")})
    key = configured_model_key(settings, tmp_path / "results")
    assert key == key_of(settings, hashlib.sha256(weights_stub()).hexdigest())
    assert key == model_key(present_model_settings(settings, tmp_path / "results"))


def test_missing_weights_are_named(tmp_path):
    settings = make_settings(sam={"checkpoint": str(tmp_path / "none.pth")})
    with pytest.raises(CheckpointError, match=r"sam\.checkpoint: .*none\.pth cannot be read"):
        configured_model_key(settings, tmp_path)


def test_the_key_of_the_defaults_is_what_it_always_was():
    """Results that are stored under it belong to it for ever: mend the code, not this literal."""
    assert key_of(make_settings()) == "91dc7ae6b8ff929a"


def test_a_key_that_is_added_later_counts_only_when_it_differs_from_its_introductory_value():
    @dataclass(frozen=True)
    class Section:
        old: int
        place: str = field(default="", metadata=NEUTRAL)
        new: int | None = field(default=None, metadata=introduced_with(None))

    assert key_settings(Section(1, "here")) == {"old": 1}
    assert key_settings(Section(1, "there", 512)) == {"old": 1, "new": 512}


def test_weights_are_hashed_again_only_when_their_stat_changed(tmp_path):
    weights, cache = tmp_path / "w.pth", tmp_path / "cache" / "weights.json"
    weights.write_bytes(b"one")
    os.utime(weights, ns=(10**18, 10**18))
    first = weights_digest(weights, cache)
    assert first == hashlib.sha256(b"one").hexdigest()
    weights.write_bytes(b"two")
    os.utime(weights, ns=(10**18, 10**18))
    assert weights_digest(weights, cache) == first
    os.utime(weights, ns=(10**18, 2 * 10**18))
    assert weights_digest(weights, cache) == hashlib.sha256(b"two").hexdigest()


def test_a_damaged_cache_of_digests_costs_only_time(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"one")
    (tmp_path / "cache.json").write_text("{half")
    digest = weights_digest(tmp_path / "w.pth", tmp_path / "cache.json")
    assert digest == hashlib.sha256(b"one").hexdigest()


def test_a_relative_path_of_missing_weights_is_said_with_the_folder_it_was_looked_for_in(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        configured_model_key(make_settings(sam={"checkpoint": "none.pth"}), tmp_path)
    assert f"(No such file or directory) (looked for in {tmp_path})" in str(error.value)


def test_official_weights_that_a_machine_does_not_see_are_not_blamed_on_the_checkpoint(tmp_path):
    settings = make_settings(sam={"model": "vit_b", "cache_folder": str(tmp_path / "none")})
    with pytest.raises(CheckpointError, match=r"^sam\.cache_folder: .*every machine that detects"):
        present_model_settings(settings, tmp_path / "results")


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_results_that_cannot_be_written_to_are_not_blamed_on_the_weights(
    tmp_path, monkeypatch, fault
):
    (tmp_path / "w.pth").write_bytes(weights_stub())

    def refuse(*_, **__):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    settings = make_settings(sam={"checkpoint": str(tmp_path / "w.pth")})
    key = configured_model_key(settings, tmp_path / "results")
    assert key == key_of(settings, hashlib.sha256(weights_stub()).hexdigest())


def test_weights_for_another_model_are_told_before_anything_is_planned(tmp_path):
    (tmp_path / "w.pth").write_bytes(weights_stub(768))
    settings = make_settings(sam={"model": "vit_h", "checkpoint": str(tmp_path / "w.pth")})
    with pytest.raises(CheckpointError, match=r"sam\.checkpoint: .*w\.pth looks like vit_b"):
        configured_model_key(settings, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_the_size_of_pixels_counts_where_tiles_depend_on_it():
    def key(diameter: object, size: float | None) -> str:
        sam, image = {"object_diameter": diameter}, {"pixel_size_um": size}
        return key_of(make_settings(sam=sam, image=image))

    assert key("12 um", None) == key("12 µm", None) != key(12, None)
    assert len({key("12 um", None), key("12 um", 0.5), key("12 um", 0.25), key("6 um", None)}) == 4
    assert key(12, None) == key(12, 0.5)
