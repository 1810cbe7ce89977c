"""Identity is content: of images, of weights and of everything that can change a candidate."""

import hashlib
import os

import pytest

from samfleet.config.schema import complete_config
from samfleet.digests import digest_of, digest_of_rows, image_id, image_id_of_file
from samfleet.sam.model_key import (
    configured_model_key,
    model_key,
    model_settings,
    present_model_key,
    weights_digest,
)
from samfleet.sam.weights import OFFICIAL_WEIGHTS, CheckpointError
from tests.builders import make_config, schema_leaves, setting

OTHER_VALUES = {
    "image.page": 1,
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
    "sam.skip_background": True,
}
"""Keys that can change a candidate, with a value that is not the default."""

NEUTRAL_VALUES = {
    "images": "elsewhere",
    "image.suffixes": [".tif"],
    "image.max_pixels": 1000,
    "sam.checkpoint": "elsewhere.pth",
    "sam.cache_folder": "elsewhere",
    "sam.points_per_batch": 32,
    "fluorescence.channel": "red",
    "fluorescence.white": 4095,
    "fluorescence.min_predicted_iou": 0.9,
    "fluorescence.min_stability_score": 0.9,
    "fluorescence.min_area": 10,
    "fluorescence.max_area": 5000,
    "fluorescence.min_mean_intensity": 1,
    "fluorescence.max_overlap": 0.1,
    "evaluation.labels": "labels",
    "evaluation.sparse": True,
    "device": "cuda",
    "devices": ["a", "b"],
    "shard.min_seconds": 10,
    "shard.threads": 2,
    "shard.mem_mb": 1000,
    "shard.flush_seconds": 1,
    "on_error": "fail",
    "retry_failed": True,
    "rehash": True,
}
"""Keys that change no candidate, with a value that is not the default."""


def key_of(config: dict, weights: str = "0" * 64) -> str:
    return model_key(model_settings(config, weights))


def test_every_key_of_the_schema_is_either_neutral_or_part_of_the_model_key():
    assert sorted(schema_leaves()) == sorted(OTHER_VALUES | NEUTRAL_VALUES)


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_what_can_change_a_candidate_changes_the_model_key(key):
    config = complete_config(setting(key, OTHER_VALUES[key]))
    assert config != make_config("x")
    assert key_of(config) != key_of(make_config("x"))


@pytest.mark.parametrize("key", NEUTRAL_VALUES)
def test_what_changes_no_candidate_leaves_the_model_key_alone(key):
    config = complete_config(setting(key, NEUTRAL_VALUES[key]))
    assert config != make_config("x")
    assert key_of(config) == key_of(make_config("x"))


def test_other_weights_are_another_model_key():
    assert key_of(make_config(), "0" * 64) != key_of(make_config(), "1" * 64)


def test_a_new_version_of_the_algorithm_is_another_model_key(monkeypatch):
    before = key_of(make_config())
    monkeypatch.setattr("samfleet.sam.model_key.ALGORITHM_VERSION", 1000)
    assert key_of(make_config()) != before


def test_the_model_key_of_official_weights_needs_no_file(tmp_path):
    config = make_config(sam={"model": "vit_b", "cache_folder": str(tmp_path / "none")})
    key = configured_model_key(config, tmp_path)
    assert key == key_of(config, OFFICIAL_WEIGHTS["vit_b"].sha256)


def test_the_model_key_comes_from_the_content_of_the_users_weights(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    config = make_config(sam={"checkpoint": str(tmp_path / "a.pth")})
    key = configured_model_key(config, tmp_path / "results")
    assert key == key_of(config, hashlib.sha256(b"weights").hexdigest())
    assert key == present_model_key(config, tmp_path / "results")


def test_missing_weights_are_named(tmp_path):
    config = make_config(sam={"checkpoint": str(tmp_path / "none.pth")})
    with pytest.raises(CheckpointError, match=r"sam\.checkpoint: .*none\.pth cannot be read"):
        configured_model_key(config, tmp_path)


def test_an_image_id_is_the_digest_of_the_files_bytes(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "large").write_bytes(data)
    assert image_id_of_file(tmp_path / "large") == (image_id(data), len(data))
    assert image_id(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert image_id(b"a") != image_id(b"b")


def test_the_digest_of_a_value_does_not_depend_on_the_order_of_its_keys():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": 1, "b": [1, 2]}) != digest_of({"a": 1, "b": [2, 1]})


def test_the_digest_of_a_table_sees_where_a_row_ends():
    assert digest_of_rows([("a", "b"), ("c",)]) != digest_of_rows([("a",), ("b", "c")])


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
