"""The configuration: the schema's defaults, errors that name the key, and its documentation."""

import copy
import subprocess
import sys

import pytest
import yaml

from samfleet.config.reference import reference_table
from samfleet.config.schema import (
    ConfigError,
    complete_config,
    read_config,
    refuse_repeated_keys,
    schema,
)
from samfleet.config.settings import in_micrometres
from samfleet.images.display import COLORMAPS
from samfleet.resources import ROOT
from samfleet.summary.filtering import FILTERS
from tests.builders import schema_leaves, setting

CONFIG = ROOT / "config"

WRONG = [
    ("images", 3),
    ("images", ""),
    ("evaluation.labels", 3),
    ("exports", ["png"]),
    ("tables.objects_csv", 1),
    ("tables.bom", "yes"),
    ("evaluation.sparse", "yes"),
    ("evaluation.marks", 3),
    ("image", "tif"),
    ("image.suffixes", []),
    ("image.suffixes", ".tif"),
    ("image.suffixes", ["tif"]),
    ("image.scenes", -1),
    ("image.scenes", []),
    ("image.times", "max"),
    ("image.times", [0.5]),
    ("image.slices", "min"),
    ("image.slices", -1),
    ("image.level", -1),
    ("image.channel_pattern", "(?P<image>.*)_w(\\d)"),
    ("image.channel_pattern", "(?P<image>.*"),
    ("image.pixel_size_um", 0),
    ("image.lookup_table", "on"),
    ("image.max_pixels", 0),
    ("image.timeout_seconds", 0),
    ("display.channel", -1),
    ("display.channel", 0.5),
    ("display.colormap", "grey"),
    ("display.percentiles", [1]),
    ("display.percentiles", [1, 2, 3]),
    ("display.percentiles", [-1, 50]),
    ("display.percentiles", [50, 101]),
    ("display.percentiles", [99, 1]),
    ("display.percentiles", [50, 50]),
    ("display.percentiles", [50, float("nan")]),
    ("sam", ["model"]),
    ("sam.model", "vit_x"),
    ("sam.checkpoint", 1),
    ("sam.cache_folder", 1),
    ("sam.precision", "double"),
    ("sam.points_per_side", 0),
    ("sam.points_per_side", 1.5),
    ("sam.points_per_side", True),
    ("sam.points_per_batch", 0),
    ("sam.points_per_batch", 3_000_000_000),
    ("sam.compile", "inductor"),
    ("sam.pred_iou_thresh", 1.1),
    ("sam.pred_iou_thresh", "0,75"),
    ("sam.stability_score_thresh", -0.1),
    ("sam.stability_score_offset", 0),
    ("sam.stability_score_offset", float("inf")),
    ("sam.box_nms_thresh", 2),
    ("sam.crop_n_layers", 5),
    ("sam.crop_nms_thresh", -1),
    ("sam.mask_nms_thresh", 1.1),
    ("sam.mask_nms_of", "larger"),
    ("sam.refine_with_boxes", "yes"),
    ("sam.refine_with_maps", 1),
    ("sam.crop_overlap_ratio", 1),
    ("sam.crop_n_points_downscale_factor", 0),
    ("sam.min_mask_region_area", -1),
    ("sam.skip_background", 1),
    ("sam.tile_size", 31),
    ("sam.tile_size", 3_000_000_000),
    ("sam.tile_size", "auto"),
    ("sam.tile_size", 512.5),
    ("sam.tile_overlap", -1),
    ("sam.tile_whole_image", "no"),
    ("sam.object_diameter", 0),
    ("sam.object_diameter", "large"),
    ("sam.object_diameter", "12 mm"),
    ("sam.object_diameter", "um"),
    ("sam.object_diameter", "-3 um"),
    ("sam.object_diameter", "0 um"),
    ("sam.prompts", "boxes"),
    ("sam.decoder", 1),
    ("sam.decoder_statistics", "batch"),
    ("sam.seeds.foreground", 1.1),
    ("sam.seeds.center_distance", -0.1),
    ("sam.seeds.boundary_distance", "low"),
    ("sam.seeds.smoothing", -1),
    ("sam.seeds.min_size", 0),
    ("sam.seeds.prominence", 0),
    ("fluorescence.channel", -1),
    ("fluorescence.channel", 0.5),
    ("fluorescence.white", 0),
    ("fluorescence.white", float("nan")),
    ("fluorescence.largest_part", 1),
    ("fluorescence.min_predicted_iou", 1.5),
    ("fluorescence.min_stability_score", -1),
    ("fluorescence.min_area", -1),
    ("fluorescence.max_area", 0),
    ("fluorescence.min_mean_intensity", 256),
    ("fluorescence.min_mean_intensity", float("nan")),
    ("fluorescence.min_contrast", -1),
    ("fluorescence.min_contrast", 256),
    ("fluorescence.min_circularity", 1.1),
    ("fluorescence.min_solidity", -0.1),
    ("fluorescence.exclude_edge", "yes"),
    ("fluorescence.max_overlap", 1.01),
    ("device", "gpu"),
    ("devices", "gpu0"),
    ("devices", ["a", "a"]),
    ("devices", ["a b"]),
    ("shard.min_seconds", -1),
    ("shard.max_hours", 0),
    ("shard.threads", 0),
    ("shard.mem_mb", 0),
    ("shard.flush_seconds", -1),
    ("report", "report.html"),
    ("on_error", "ignore"),
    ("retry_failed", "yes please"),
    ("rehash", 1),
]


def value_of(config: dict, key: str) -> object:
    for name in key.split("."):
        config = config[name]
    return config


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(key, value):
    with pytest.raises(ConfigError, match=rf"\n  {key}(\.\d)?: "):
        complete_config(setting(key, value))


def test_every_key_has_a_wrong_value_in_these_tests():
    assert {key for key, _ in WRONG} >= set(schema_leaves())


def test_images_must_be_set():
    for config in ({}, {"images": None}):
        with pytest.raises(ConfigError, match=r"\n  images: "):
            complete_config(config)


def test_unknown_keys_are_refused_with_those_that_are_known():
    with pytest.raises(ConfigError) as error:
        complete_config({"images": "x", "imges": 1, "sam": {"points": 3}})
    assert "2 errors" in str(error.value)
    assert "unknown key: imges (known: images, image," in str(error.value)
    assert "unknown key in sam: points (known: model," in str(error.value)


def test_all_errors_are_in_one_message():
    with pytest.raises(ConfigError) as error:
        complete_config({"images": "x", "device": "gpu", "sam": {"points_per_side": 0}})
    assert "device: 'gpu'" in str(error.value)
    assert "sam.points_per_side: 0" in str(error.value)


@pytest.mark.parametrize(
    ("config", "key", "other"),
    [
        ({"fluorescence": {"min_area": 11, "max_area": 10}}, "min_area", "fluorescence.max_area"),
        (
            {"sam": {"tile_size": 512, "object_diameter": "auto"}},
            "object_diameter",
            "sam.tile_size",
        ),
        ({"sam": {"tile_size": 512, "crop_n_layers": 1}}, "crop_n_layers", "sam.tile_size"),
        (
            {"sam": {"object_diameter": 20, "crop_n_layers": 1}},
            "crop_n_layers",
            "sam.object_diameter",
        ),
        ({"sam": {"tile_size": 512, "tile_overlap": 257}}, "tile_overlap", "sam.tile_size"),
        ({"fluorescence": {"min_predicted_iou": 0.7}}, "min_predicted_iou", "sam.pred_iou_thresh"),
        (
            {"fluorescence": {"min_stability_score": 0.7}},
            "min_stability_score",
            "sam.stability_score_thresh",
        ),
        (
            {
                "sam": {
                    "points_per_side": 7,
                    "crop_n_layers": 3,
                    "crop_n_points_downscale_factor": 2,
                }
            },
            "points_per_side",
            "sam.crop_n_points_downscale_factor",
        ),
        ({"sam": {"precision": "bf16"}, "device": "cpu"}, "precision", "device"),
        ({"sam": {"precision": "tf32"}, "devices": ["a"]}, "precision", "devices"),
        ({"sam": {"precision": "exact", "compile": True}}, "compile", "sam.precision exact"),
        ({"sam": {"refine_with_maps": True}}, "refine_with_maps", "sam.prompts"),
        ({"sam": {"refine_with_boxes": True}}, "refine_with_boxes", "sam.prompts"),
        (
            {"sam": {"model": "tiny", "prompts": "decoder", "refine_with_boxes": True}},
            "refine_with_boxes",
            "tiny",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_both_named(config, key, other):
    with pytest.raises(ConfigError) as error:
        complete_config({"images": "x", **config})
    assert f".{key}: " in str(error.value)
    assert other in str(error.value)


@pytest.mark.parametrize(
    "config",
    [
        {"fluorescence": {"min_area": 10, "max_area": 10}},
        {"fluorescence": {"min_predicted_iou": 0.75, "min_stability_score": 0.75}},
        {"sam": {"points_per_side": 8, "crop_n_layers": 3, "crop_n_points_downscale_factor": 2}},
        {"sam": {"precision": "bf16"}},
    ],
)
def test_limits_may_meet(config):
    complete_config({"images": "x", **config})


def test_what_is_not_set_has_the_schemas_default():
    config = complete_config({"images": "x"})
    for key, part in schema_leaves().items():
        assert value_of(config, key) == part.get("default", "x"), key
    assert complete_config(config) == config


@pytest.mark.parametrize("key", [*schema_leaves(), "image", "display", "sam", "fluorescence"])
def test_a_key_without_a_value_means_its_default(key):
    if key != "images":
        assert complete_config(setting(key, None)) == complete_config({"images": "x"})


def test_the_defaults_are_those_of_the_script_that_this_began_with():
    config = complete_config({"images": "x"})
    sam, fluorescence = config["sam"], config["fluorescence"]
    assert sam["model"] == "vit_h"
    assert sam["points_per_side"] == 64
    assert (sam["pred_iou_thresh"], sam["stability_score_thresh"]) == (0.75, 0.75)
    assert sam["min_mask_region_area"] == 100
    assert fluorescence["min_mean_intensity"] == 8.1
    assert (fluorescence["min_area"], fluorescence["max_area"]) == (1500, 150000)
    assert fluorescence["max_overlap"] == 0.5


def test_one_number_has_one_form_however_it_is_written():
    config = complete_config(
        {"images": "x", "sam": {"points_per_side": 32.0, "stability_score_offset": 1}}
        | {"fluorescence": {"channel": 1.0, "white": 4095}}
    )
    values = [
        config["sam"]["points_per_side"],
        config["sam"]["stability_score_offset"],
        config["fluorescence"]["channel"],
        config["fluorescence"]["white"],
    ]
    assert [repr(value) for value in values] == ["32", "1.0", "1", "4095.0"]


def test_completing_changes_neither_its_input_nor_the_defaults():
    given = {"images": "x", "sam": {"model": "tiny"}}
    before = copy.deepcopy(given)
    complete_config(given)["image"]["suffixes"].append(".xyz")
    assert given == before
    assert ".xyz" not in complete_config(given)["image"]["suffixes"]


def test_a_faulty_file_is_named(tmp_path):
    for content in ("images: [", "just text", "images: x\nfoo: 1", b"images: \xff"):
        path = tmp_path / "my.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ConfigError, match=r"my\.yaml: "):
            read_config(path)
    with pytest.raises(ConfigError, match=r"none\.yaml: "):
        read_config(tmp_path / "none.yaml")


REPEATED = "images: demo\nsam:\n  model: tiny\nfluorescence: {min_area: 5}\nsam:\n  model: vit_b\n"


@pytest.mark.parametrize("number", ["0200", "1:30", "-017"])
def test_a_number_that_yaml_reads_otherwise_than_people_is_refused(tmp_path, number):
    path = tmp_path / "my.yaml"
    path.write_text(f"images: demo\nfluorescence:\n  min_area: {number}\n")
    for read in (read_config, refuse_repeated_keys):
        with pytest.raises(ConfigError, match=rf"line 3: YAML does not read {number} as"):
            read(path)
    path.write_text(f"images: '{number}'\nfluorescence: {{min_area: 200, max_overlap: 0.2}}\n")
    assert read_config(path)["images"] == number


def test_a_section_or_key_that_stands_twice_is_refused_with_both_lines(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(REPEATED)
    for read in (read_config, refuse_repeated_keys):
        with pytest.raises(
            ConfigError, match=r"my\.yaml: `sam` stands in line 2 and again in line 5"
        ):
            read(path)
    path.write_text("images: demo\nsam: {model: tiny, model: vit_b}\n")
    with pytest.raises(ConfigError, match="`model` stands in line 2 and again in line 2"):
        read_config(path)


def test_keys_that_are_merged_may_be_set_again(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("images: demo\nsam: {<<: {model: vit_l, points_per_side: 8}, model: tiny}\n")
    sam = read_config(path)["sam"]
    assert (sam["model"], sam["points_per_side"]) == ("tiny", 8)
    refuse_repeated_keys(path)


def test_what_snakemake_alone_can_read_is_left_to_it(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "template.yaml").write_text("?if True:\n  - [\n")
    for path in (*tmp_path.iterdir(), tmp_path / "gone.yaml"):
        refuse_repeated_keys(path)


def test_numbers_that_come_as_text_from_the_command_line_are_read():
    """Snakemake reads ``--config 'sam={points_per_side: 8}'`` with a loader that makes text of all."""
    config = complete_config(
        {
            "images": "2024",
            "sam": {"model": "tiny", "points_per_side": "8", "skip_background": "true"},
            "fluorescence": {
                "white": "null",
                "channel": "1",
                "min_area": "",
                "max_overlap": "1e-1",
            },
            "display": {"channel": "max", "percentiles": ["1", "99.5"]},
            "devices": ["0", "1"],
            "rehash": "True",
        }
    )
    assert config == complete_config(
        {
            "images": "2024",
            "sam": {"model": "tiny", "points_per_side": 8, "skip_background": True},
            "fluorescence": {
                "channel": "1",
                "max_overlap": 0.1,
            },  # may be a name, and counts if none is
            "display": {"percentiles": [1, 99.5]},
            "devices": ["0", "1"],
            "rehash": True,
        }
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"sam": {"model=tiny": ""}}, "unknown key in sam: model=tiny"),
        ({"sam": {"model=tiny": ""}}, "write `key: value`"),
        ({"sam": "tiny"}, "sam: 'tiny' is not a section"),
        ({"sam": "tiny"}, "--config 'sam={model: …}'"),
        ({"images": 12}, "images: 12 is not text: put it in quotes or"),
        ({"sam": {"checkpoint": 1.5}}, "write ./1.5"),
        ({"sam": {"points_per_side": "nan"}}, "sam.points_per_side: "),
        ({"fluorescence": {"white": "inf"}}, "fluorescence.white: inf is not a finite number"),
    ],
)
def test_what_is_written_in_another_way_is_refused_with_the_right_one(config, words):
    with pytest.raises(ConfigError) as error:
        complete_config({"images": "x", **config})
    assert words in str(error.value)


def test_a_configuration_that_contains_itself_is_refused(tmp_path):
    (tmp_path / "my.yaml").write_text("images: &a [*a]\n")
    with pytest.raises(ConfigError, match=r"my\.yaml: the configuration contains itself"):
        read_config(tmp_path / "my.yaml")


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.name)
def test_the_configurations_that_come_with_samfleet_are_valid(path):
    if path.name != "config.schema.yaml":
        assert read_config(path)["images"]


def test_the_schema_offers_the_colormaps_that_there_are():
    assert schema_leaves()["display.colormap"]["enum"] == list(COLORMAPS)


def test_every_filter_is_a_key_of_fluorescence():
    assert set(FILTERS) < set(schema()["properties"]["fluorescence"]["properties"])


def test_every_key_of_the_schema_is_described():
    undescribed = [key for key, part in schema_leaves().items() if not part.get("description")]
    assert undescribed == []


def test_the_readme_documents_exactly_the_schemas_keys_and_defaults():
    table = [line for line in (CONFIG / "README.md").read_text().splitlines() if line[:1] == "|"]
    assert table == reference_table().splitlines()
    rows = {line.split("`")[1]: line.split(" | ")[2] for line in table[2:]}
    for key, part in schema_leaves().items():
        if "default" in part:
            assert yaml.safe_load(rows[key].strip("`")) == part["default"]
        else:
            assert rows[key] == "must be set"


def test_the_table_of_keys_is_printed_by_the_module():
    command = [sys.executable, "-m", "samfleet.config.reference"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CONFIG.parent)
    assert printed.stdout == reference_table()


@pytest.mark.parametrize("written", ["12 um", "12 µm", "12 μm", "12um", " 12.0 um "])
def test_a_diameter_in_micrometres_has_one_spelling(written):
    completed = complete_config({"images": "demo", "sam": {"object_diameter": written}})
    assert completed["sam"]["object_diameter"] == "12 um"
    assert in_micrometres(completed["sam"]["object_diameter"]) == 12
