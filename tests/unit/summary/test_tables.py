"""The summary's tables: what they say of each image, and that they depend on nothing else."""

import csv
import dataclasses
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samfleet.cells import read_csv
from samfleet.detection.row import CandidateRow
from samfleet.plan.manifest import (
    KnownFile,
    ManifestRow,
    write_known_files,
    write_manifest,
)
from samfleet.planes import Description, Scene
from samfleet.store.segments import SegmentError, SegmentWriter
from samfleet.summary import tables
from samfleet.summary.filtering import FILTERS
from samfleet.summary.tables import Counts, write_summary
from tests.builders import (
    first_pixels,
    make_settings,
    stored_candidate,
    stored_rows,
    write_files,
    write_segment,
)

TABLES = ("summary.csv", "objects.parquet", "filtering.csv")


class Run:
    """Results of images, given as (path, image id), from a store that is built by hand."""

    def __init__(self, folder: Path, *files: tuple[str, str]):
        self.results = folder / "results"
        self.store = self.results / "store" / "key"
        self.images: str | Path = folder
        self.manifest([ManifestRow(path, identity, 1, 1) for path, identity in files])

    def manifest(self, rows: list[ManifestRow]) -> None:
        write_manifest(self.results / "manifest.tsv", rows)

    def segment(self, name: str, *images: list[dict], **options) -> None:
        write_segment(self.store, name, *images, **options)

    def summarize(self, **fluorescence) -> Counts:
        settings = make_settings(self.images, fluorescence=fluorescence)
        return write_summary(settings, self.results, self.store)

    def rows(self, name: str = "summary.csv") -> list[dict]:
        with (self.results / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def objects(self) -> list[dict]:
        return pq.read_table(self.results / "objects.parquet").to_pylist()

    def filtering(self) -> dict[str, int]:
        return {row["filter"]: int(row["count"]) for row in self.rows("filtering.csv")}

    def content(self) -> list[bytes]:
        return [(self.results / name).read_bytes() for name in TABLES]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, ("a.tif", "A"))


# what is said of an image


def test_an_image_with_objects_is_ok(run):
    candidates = [
        stored_candidate(0, area=2000, intensity_mean=[100.0] * 3),
        stored_candidate(1, area=3000, intensity_mean=[50.0] * 3),
    ]
    run.segment("s", stored_rows("A", candidates))
    run.summarize()
    (row,) = run.rows()
    assert row == {
        "image": "a.tif",
        "scene": "",
        "scene_name": "",
        "time": "",
        "slice": "",
        "image_id": "A",
        "status": "ok",
        "reason": "",
        "warning": "",
        "width": "400",
        "height": "300",
        "n_invalid_pixels": "0",
        "pixel_size_um": "",
        "acquired": "",
        "focus_score": "400",
        "saturated_fraction": "0",
        "zero_fraction": "0",
        "n_candidates": "2",
        "n_objects": "2",
        "object_area": "5000",
        "object_area_um2": "",
        "area_fraction": f"{5000 / 120000:.10g}",
        "intensity_mean": f"{(2000 * 100 + 3000 * 50) / 5000:g}",
        "integrated_intensity": "350000",
        "background": "10",
        "white": "255",
    }


def test_pixels_that_are_not_finite_count_for_no_mean_and_no_correction(run):
    known = stored_candidate(0, area=2000, intensity_mean=[100.0] * 3)
    holes = stored_candidate(
        1,
        area=2000,
        valid_pixels=[500] * 3,
        intensity_mean=[60.0] * 3,
        intensity_sum=[60.0 * 500] * 3,
    )
    image = {"dtype": "float32", "n_invalid_pixels": 1600, "image_maximum": [255.0] * 3}
    run.segment("s", stored_rows("A", [known, holes], **image))
    run.summarize()
    (row,) = run.rows()
    assert (row["status"], row["n_invalid_pixels"], row["object_area"]) == ("ok", "1600", "4000")
    assert float(row["integrated_intensity"]) == 2000 * 100 + 500 * 60
    assert float(row["intensity_mean"]) == pytest.approx((2000 * 100 + 500 * 60) / 2500)
    objects = run.objects()
    assert [found["n_invalid_pixels"] for found in objects] == [0, 1500]
    assert [found["ctcf"] for found in objects] == [2000 * (100 - 10), 500 * (60 - 10)]


@pytest.mark.parametrize("min_mean_intensity", [0, 8.1])
def test_a_candidate_without_a_finite_pixel_is_no_object(run, min_mean_intensity):
    nothing = dict.fromkeys(
        ("intensity_sum", "intensity_mean", "intensity_max", "intensity_std"), [None] * 3
    )
    unknown = dataclasses.replace(stored_candidate(1), valid_pixels=[0] * 3, **nothing)
    candidates = [stored_candidate(0), unknown]
    run.segment("s", stored_rows("A", candidates, dtype="float32", n_invalid_pixels=2000))
    run.summarize(min_mean_intensity=min_mean_intensity)
    assert [found["candidate"] for found in run.objects()] == [0]
    assert run.filtering()["min_mean_intensity"] == 1


def test_a_channel_without_a_finite_pixel_makes_an_empty_image_without_background(run):
    unknown = dataclasses.replace(
        stored_candidate(0),
        valid_pixels=[2000, 2000, 2000, 0],
        intensity_mean=[100.0, 100.0, 100.0, None],
        intensity_sum=[2e5, 2e5, 2e5, None],
        intensity_max=[150.0, 150.0, 150.0, None],
        intensity_std=[3.0, 3.0, 3.0, None],
    )
    image = {"dtype": "float32", "background": [10.0, 10.0, 10.0, None]}
    image |= {"image_maximum": [200.0, 200.0, 200.0, None], "warning": "no data in channel 1"}
    run.segment("s", stored_rows("A", [unknown], **image))
    run.summarize(channel=1)
    (row,) = run.rows()
    assert (row["status"], row["background"], row["n_objects"]) == ("empty", "", "0")
    assert row["warning"] == "no data in channel 1"
    run.summarize(channel=0)
    assert run.rows()[0]["status"] == "ok"


def test_an_image_without_a_finite_pixel_is_empty_and_changes_no_scale(tmp_path):
    run = Run(tmp_path, ("blank.tif", "A"), ("known.tif", "B"))
    unknown = dataclasses.replace(
        stored_candidate(0),
        valid_pixels=[0] * 3,
        intensity_sum=[None] * 3,
        intensity_mean=[None] * 3,
        intensity_max=[None] * 3,
        intensity_std=[None] * 3,
    )
    nothing = {"background": [None] * 3, "image_maximum": [None] * 3, "n_invalid_pixels": 120000}
    blank = stored_rows("A", [unknown], dtype="float32", **nothing)
    known = stored_rows("B", dtype="float32", image_maximum=[200.0] * 3)
    for images in ([blank], [blank, known]):
        run.segment("s", *images)
        run.summarize()
        row = run.rows()[0]
        assert (row["status"], row["background"], row["n_objects"]) == ("empty", "", "0")
        assert row["n_invalid_pixels"] == "120000"
    (found,) = run.objects()
    assert (found["image"], found["intensity_mean"]) == ("known.tif", 100)


def test_what_is_doubtful_about_an_image_is_in_its_row_and_in_the_log(tmp_path, caplog):
    run = Run(tmp_path, ("a.tif", "A"), ("b.tif", "B"))
    run.segment(
        "s", stored_rows("A", warning="channel 2 of 3 is not in the file"), stored_rows("B")
    )
    run.summarize()
    assert [row["warning"] for row in run.rows()] == ["channel 2 of 3 is not in the file", ""]
    assert "1 image: something is doubtful" in caplog.text


def test_each_image_of_a_file_has_its_row_and_its_objects(tmp_path):
    run = Run(tmp_path)
    scenes = Description((Scene("A1", times=2), Scene("", times=1, problem="it has no plane")))
    write_known_files(
        run.results / "plan" / "descriptions.tsv",
        [KnownFile("a.nd2", "f" * 32, 1, 1, scenes.to_json())],
    )
    run.manifest(
        [
            ManifestRow("a.nd2", "A", 1, 1, cells=("0", "0", "")),
            ManifestRow("a.nd2", "B", 1, 1, cells=("0", "1", "")),
            ManifestRow("a.nd2", "", 1, 1, "unsupported: it has no plane", ("1", "", "")),
            ManifestRow("b.tif", "C", 1, 1),
        ]
    )
    place = {"scene": 0, "slice": ""}
    first = stored_rows("A", 2, time=0, **place)
    run.segment("s", first, stored_rows("B", 1, time=1, **place), stored_rows("C"))
    run.summarize()
    rows = [
        tuple(row[name] for name in ("image", "scene", "scene_name", "time", "slice", "status"))
        for row in run.rows()
    ]
    assert rows == [
        ("a.nd2", "0", "A1", "0", "", "ok"),
        ("a.nd2", "0", "A1", "1", "", "ok"),
        ("a.nd2", "1", "", "", "", "unsupported"),
        ("b.tif", "", "", "", "", "ok"),
    ]
    assert [(o["image"], o["scene"], o["time"], o["label"]) for o in run.objects()] == [
        ("a.nd2", 0, 0, 1),
        ("a.nd2", 0, 0, 2),
        ("a.nd2", 0, 1, 1),
        ("b.tif", None, None, 1),
    ]


def test_an_image_without_objects_is_empty(tmp_path):
    run = Run(tmp_path, ("all_dropped.tif", "A"), ("no_candidate.tif", "B"))
    run.segment("s", stored_rows("A", [stored_candidate(0, area=10)]), stored_rows("B", 0))
    run.summarize()
    for row, candidates in zip(run.rows(), "10", strict=True):
        assert (row["status"], row["n_candidates"], row["n_objects"]) == ("empty", candidates, "0")
        assert (row["object_area"], row["area_fraction"], row["integrated_intensity"]) == (
            "0",
            "0",
            "0",
        )
        assert (row["intensity_mean"], row["background"], row["width"]) == ("", "10", "400")


def test_every_image_has_a_row_with_its_status(tmp_path):
    failures = ["unreadable", "unsupported", "too_large", "out_of_memory", "error", "changed"]
    run = Run(tmp_path, *((f"{name}.tif", name) for name in [*failures, "pending"]))
    run.segment("s", *(stored_rows(name, status=name, reason=f"why {name}") for name in failures))
    counts = run.summarize()
    rows = {row["image"]: (row["status"], row["reason"]) for row in run.rows()}
    expected = {f"{name}.tif": (name, f"why {name}") for name in failures}
    assert rows == expected | {"pending.tif": ("pending", "not detected yet")}
    assert counts.statuses == dict.fromkeys([*failures, "pending"], 1)
    assert {row["n_objects"] for row in run.rows()} == {""}


def test_a_file_that_could_not_be_read_when_planning_is_unreadable_with_its_problem(run):
    run.manifest([ManifestRow("gone.tif", "", 0, 0, "cannot be read: Permission denied")])
    run.summarize()
    (row,) = run.rows()
    assert (row["status"], row["reason"]) == ("unreadable", "cannot be read: Permission denied")


def test_rows_are_in_the_order_of_the_manifest_and_names_are_printable(tmp_path):
    names = ["B.tif", "a\n,b.tif", "caf\udce9.tif", "ä.tif"]
    run = Run(tmp_path, *((name, "A") for name in names))
    run.segment("s", stored_rows("A"))
    run.summarize()
    expected = ["B.tif", r"a\u000a,b.tif", r"caf\xe9.tif", "ä.tif"]
    assert [row["image"] for row in run.rows()] == expected
    assert [row["image"] for row in run.objects()] == expected


def test_a_content_is_reported_for_each_of_its_files(tmp_path):
    run = Run(tmp_path, ("a.tif", "A"), ("b.tif", "B"), ("copy.tif", "A"))
    run.segment("s", stored_rows("A", 2), stored_rows("B", 1))
    counts = run.summarize()
    first, _, copy = run.rows()
    assert copy == first | {"image": "copy.tif"}
    assert [(o["image"], o["label"]) for o in run.objects()] == [
        ("a.tif", 1),
        ("a.tif", 2),
        ("b.tif", 1),
        ("copy.tif", 1),
        ("copy.tif", 2),
    ]
    assert counts.objects == run.filtering()["objects"] == 5


def test_stored_images_that_are_no_longer_there_are_left_out(run):
    run.segment("s", stored_rows("A", 1), stored_rows("removed", 3))
    run.summarize()
    assert [row["image_id"] for row in run.rows()] == ["A"]
    assert len(run.objects()) == run.filtering()["candidates"] == 1


def test_an_empty_store_leaves_pending_images_and_empty_tables(run):
    counts = run.summarize()
    assert [row["status"] for row in run.rows()] == ["pending"]
    assert run.objects() == []
    assert set(run.filtering().values()) == {0}
    assert (run.results / "ledger.csv").exists()
    assert str(counts) == "1 image (1 pending), 0 objects"


def test_the_best_result_of_an_image_is_the_one_that_counts(run):
    run.segment("a", stored_rows("A", status="out_of_memory", transient=True))
    run.segment("b", stored_rows("A", 2))
    run.segment("c", stored_rows("A", status="changed", transient=True))
    run.summarize()
    assert [(row["status"], row["n_objects"]) for row in run.rows()] == [("ok", "2")]


@pytest.mark.parametrize("flush_every", [0, 1])
def test_images_that_swapped_their_content_while_a_job_ran_are_detected(tmp_path, flush_every):
    run = Run(tmp_path, ("a.tif", "B"), ("b.tif", "A"))
    changed = {"status": "changed", "transient": True}
    run.segment(
        "s",
        stored_rows("B", 1),
        stored_rows("A", **changed),
        stored_rows("A", 2),
        stored_rows("B", **changed),
        flush_every=flush_every,
    )
    run.summarize()
    assert [(row["status"], row["n_objects"]) for row in run.rows()] == [("ok", "1"), ("ok", "2")]
    assert run.filtering()["candidates"] == 3


# the user's columns


def test_the_users_columns_follow_those_of_the_summary(tmp_path):
    run = Run(tmp_path, ("a.tif", "A"), ("b.tif", "B"))
    run.images = tmp_path / "images.csv"
    write_files(tmp_path, {"a.tif": b"", "b.tif": b""})
    run.images.write_text("well,image,dose\nB7,b.tif,\nA1,a.tif,0.50\n")
    run.segment("s", stored_rows("A"))
    run.summarize()
    assert [(row["well"], row["dose"]) for row in run.rows()] == [("A1", "0.50"), ("B7", "")]
    assert list(run.rows()[0])[-3:] == ["white", "well", "dose"]


def test_no_cell_of_a_table_is_a_formula_and_read_csv_gives_the_names_of_the_objects(tmp_path):
    names = ["'=a.tif", "+b.tif", "-c.tif", "=d.tif", "@e/f.tif"]
    run = Run(tmp_path, *((name, "A") for name in names))
    run.images = tmp_path / "images.csv"
    write_files(tmp_path, dict.fromkeys(names, b""))
    values = ["-3.5", "-x", "=1+1", "\tb", "c;=1"]
    rows = [f'{name},"{value}"' for name, value in zip(names, values, strict=True)]
    run.images.write_text("\n".join(["image,@dose", *rows]) + "\n")
    run.segment("s", stored_rows("A"))
    run.summarize()
    written = [(row["image"], row["'@dose"]) for row in run.rows()]
    assert written == [
        ("''=a.tif", "-3.5"),
        ("'+b.tif", "'-x"),
        ("'-c.tif", "'=1+1"),
        ("'=d.tif", "'\tb"),
        ("'@e/f.tif", "c;'=1"),
    ]
    read = read_csv(run.results / "summary.csv")
    assert [row["image"] for row in read] == names == [o["image"] for o in run.objects()]
    assert [row["@dose"] for row in read] == values


def test_every_csv_table_begins_with_a_byte_order_mark_if_it_is_asked_for(run):
    run.segment("s", stored_rows("A"))
    for bom in (True, False):
        write_summary(make_settings(run.images, tables={"bom": bom}), run.results, run.store)
        for name in ("summary.csv", "filtering.csv", "ledger.csv"):
            content = (run.results / name).read_bytes()
            assert content.startswith(b"\xef\xbb\xbf") == bom, name
            assert len(read_csv(run.results / name)) == len(run.rows(name))


def test_columns_that_are_not_utf8_are_carried_in_words(tmp_path):
    run = Run(tmp_path, ("a.tif", "A"))
    run.images = tmp_path / "images.csv"
    run.images.write_bytes(b"image,dose in \xb5M\na.tif,3 \xb5M\n")
    run.summarize()
    assert run.rows()[0]["dose in \N{MICRO SIGN}M"] == "3 \N{MICRO SIGN}M"


def test_a_table_whose_images_were_removed_meanwhile_is_summarised(tmp_path):
    run = Run(tmp_path, ("gone.tif", "A"))
    run.images = tmp_path / "images.csv"
    run.images.write_text("image,well\ngone.tif,A1\n")
    run.segment("s", stored_rows("A"))
    run.summarize()
    assert (run.rows()[0]["status"], run.rows()[0]["well"]) == ("ok", "A1")


# intensities


def deep(image_id: str, **image) -> list[dict]:
    """A 16-bit image of three channels with one candidate."""
    candidate = stored_candidate(
        0,
        area=2000,
        intensity_sum=[6e6, 5e6, 4e6, 3e6, 2e6],
        intensity_mean=[3000.0, 2500.0, 2000.0, 1500.0, 1000.0],
        intensity_max=[4000.0, 3500.0, 3000.0, 2500.0, 2000.0],
        intensity_std=[50.0, 40.0, 30.0, 20.0, 10.0],
    )
    columns = {"dtype": "uint16", "is_color": True, "background": [100.0, 90.0, 80.0, 70.0, 60.0]}
    columns |= {"image_maximum": [4095.0, 4000.0, 4095.0, 3000.0, 2000.0]}
    return stored_rows(image_id, [candidate], **columns | image)


def test_intensities_are_on_the_scale_of_white_and_in_raw_units(run):
    run.segment("s", deep("A"))
    run.summarize(white=4095)
    (found,) = run.objects()
    factor = 255 / 4095
    raw = {
        "intensity_mean": 3000,
        "intensity_max": 4000,
        "intensity_std": 50,
        "integrated_intensity": 6e6,
    }
    for name, value in raw.items():
        assert found[f"raw_{name}"] == value
        assert found[name] == pytest.approx(value * factor)
    assert (found["raw_background"], found["raw_ctcf"]) == (100, 6e6 - 2000 * 100)
    assert found["ctcf"] == pytest.approx(found["raw_ctcf"] * factor)
    (row,) = run.rows()
    assert float(row["intensity_mean"]) == pytest.approx(3000 * factor)
    assert float(row["integrated_intensity"]) == pytest.approx(6e6 * factor)
    assert float(row["background"]) == pytest.approx(100 * factor)


@pytest.mark.parametrize(
    ("channel", "mean"),
    [("max", 3000), ("luminance", 2500), ("red", 2000), ("green", 1500), ("blue", 1000), (1, 1500)],
)
def test_the_configured_channel_is_measured(run, channel, mean):
    run.segment("s", deep("A"))
    run.summarize(channel=channel, min_mean_intensity=0)
    (found,) = run.objects()
    assert found["raw_intensity_mean"] == mean
    assert found["raw_ctcf"] == mean * 2000 - found["raw_background"] * 2000
    assert float(run.rows()[0]["background"]) == pytest.approx(found["background"])


def test_the_filter_of_intensity_sees_the_scale_and_the_channel(run):
    run.segment("s", deep("A"))
    for settings_, kept in [
        ({}, 1),
        ({"min_mean_intensity": 3000 * 255 / 4095 - 0.01}, 1),
        ({"min_mean_intensity": 3000 * 255 / 4095 + 0.01}, 0),
        ({"white": 65535}, 1),
        ({"white": 65535, "min_mean_intensity": 12}, 0),
        ({"white": 4095, "min_mean_intensity": 180}, 1),
        ({"white": 4095, "min_mean_intensity": 180, "channel": "blue"}, 0),
    ]:
        run.summarize(**settings_)
        assert len(run.objects()) == kept, settings_


def test_the_contrast_is_that_with_the_background_of_the_image_and_the_channel(run):
    run.segment("s", deep("A"))
    for channel, contrast in (("max", 2900), ("blue", 940)):
        limit = contrast * 255 / 4095
        options = {"channel": channel, "min_mean_intensity": 0}
        run.summarize(min_contrast=limit - 1e-9, **options)
        assert len(run.objects()) == 1
        run.summarize(min_contrast=limit + 1e-9, **options)
        assert run.filtering()["min_contrast"] == 1


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        ((1, 1, 498, 398), False),
        ((0, 1, 10, 10), True),
        ((1, 0, 10, 10), True),
        ((490, 1, 10, 10), True),
        ((489, 1, 10, 10), False),
        ((1, 390, 10, 10), True),
        ((1, 389, 10, 10), False),
        ((0, 0, 500, 400), True),
    ],
)
def test_an_object_touches_the_edge_if_a_pixel_is_in_an_outermost_row_or_column(run, box, touches):
    names = ("bbox_x", "bbox_y", "bbox_width", "bbox_height")
    candidate = stored_candidate(0, **dict(zip(names, box, strict=True)))
    run.segment("s", stored_rows("A", [candidate], width=500, height=400))
    run.summarize()
    assert [found["touches_edge"] for found in run.objects()] == [touches]
    run.summarize(exclude_edge=True)
    assert len(run.objects()) == (not touches)
    assert run.filtering()["exclude_edge"] == touches


def test_a_channel_beyond_the_images_channels_is_unsupported_there_and_nowhere_else(tmp_path):
    run = Run(tmp_path, ("grey.tif", "A"), ("colour.tif", "B"), ("grey2.tif", "A"))
    run.segment("s", stored_rows("A", 2), deep("B"))
    run.summarize(channel=2, min_mean_intensity=0)
    grey, colour, _ = run.rows()
    reason = "fluorescence.channel is 2, but the image has 1 channel, counted from 0"
    assert (grey["status"], grey["reason"], grey["width"]) == ("unsupported", reason, "400")
    assert colour["status"] == "ok"
    assert run.filtering()["candidates"] == run.filtering()["objects"] == 1


def image_of(name: str, maximum: float, dtype: str = "uint16", mean: float = 200.0, **columns):
    """An image of 400 × 300 pixels with one candidate."""
    candidate = stored_candidate(0, intensity_mean=[mean] * 3)
    return stored_rows(name, [candidate], dtype=dtype, image_maximum=[maximum] * 3, **columns)


def test_float_images_share_the_scale_of_the_brightest(tmp_path):
    run = Run(tmp_path, ("a.tif", "A"), ("b.tif", "B"))
    run.segment("a", image_of("A", 200.0, "float32", 80.0, pixels_above=[50_000]))
    run.segment("b", image_of("B", 0.5, "float32", 0.2))
    run.summarize(min_mean_intensity=0)
    assert [row["intensity_mean"] for row in run.objects()] == pytest.approx([80, 0.2])
    assert [row["white"] for row in run.rows()] == ["255", "255"]


def test_a_few_float_pixels_above_one_leave_the_scale_alone(tmp_path, caplog):
    run = Run(tmp_path, ("a.tif", "A"), ("overshoot.tif", "B"))
    run.segment("a", image_of("A", 0.8, "float32", 0.5))
    run.segment("b", image_of("B", 1.05, "float32", 0.5, pixels_above=[1]))
    run.summarize()
    assert [row["status"] for row in run.rows()] == ["ok", "ok"]
    assert [row["intensity_mean"] for row in run.objects()] == pytest.approx([127.5, 127.5])
    assert "1 counts as 255 in 2 float32 images. Above it are 1 of 240000 pixels" in caplog.text
    assert "up to 1.05 (overshoot.tif)" in caplog.text


def test_twelve_bits_in_sixteen_need_no_setting(run, caplog):
    run.segment("s", deep("A"))
    run.summarize()
    assert "4095 counts as 255 in 1 uint16 image" in caplog.text
    assert "fluorescence:\n  white: 4095" in caplog.text
    (row,) = run.rows()
    assert (row["status"], row["white"]) == ("ok", "4095")
    assert float(row["intensity_mean"]) == pytest.approx(3000 * 255 / 4095)
    before = run.content()
    caplog.clear()
    run.summarize(white=4095)
    assert caplog.text == ""
    assert run.content() == before


def test_types_have_scales_of_their_own_each_with_its_row(tmp_path, caplog):
    names = {"uint8": (200.0, 255), "uint16": (3000.0, 4095), "float32": (0.5, 1)}
    run = Run(tmp_path, *((f"{dtype}.tif", dtype) for dtype in sorted(names)))
    for dtype, (maximum, _) in names.items():
        run.segment(dtype, image_of(dtype, maximum, dtype, maximum / 2))
    run.summarize()
    rows = {row["image"].removesuffix(".tif"): row for row in run.rows()}
    for dtype, (maximum, white) in names.items():
        assert float(rows[dtype]["white"]) == white
        assert float(rows[dtype]["intensity_mean"]) == pytest.approx(maximum / 2 * 255 / white)
    assert "4095 counts as 255 in 1 uint16 image" in caplog.text
    assert "white:" not in caplog.text


def test_an_image_that_changes_the_scale_of_the_others_is_named(tmp_path, caplog):
    run = Run(tmp_path, ("a.tif", "A"), ("b.tif", "B"))
    usual = [120_000, 90_000, 50_000]
    run.segment("a", image_of("A", 3000.0, mean=1000.0, pixels_above=usual))
    run.summarize()
    assert "changed" not in caplog.text
    for name in TABLES:  # as Snakemake does before the rule runs
        (run.results / name).unlink()
    run.segment("b", image_of("B", 5000.0, mean=1000.0, pixels_above=[*usual, 5]))
    run.summarize()
    assert "4095 counted as 255 in the last summary, now it is 16383" in caplog.text
    assert "the brightest pixel is 5000 (b.tif)" in caplog.text
    assert "All but 5 of 240000 pixels (0.0021 %) are at most 4095" in caplog.text
    caplog.clear()
    run.summarize()
    assert "changed" not in caplog.text


def test_a_damaged_note_of_the_last_scale_is_written_again(run, caplog):
    run.segment("s", deep("A"))
    for damaged in ('{"uint16": "x"}', '{"uint16": 4', "[]"):
        run.summarize()
        note = run.results / "plan" / "scale.json"
        written = note.read_text()
        note.write_text(damaged)
        run.summarize()
        assert note.read_text() == written
    assert "changed" not in caplog.text


def test_a_channel_that_is_not_measured_counts_for_the_scale(run):
    run.segment("s", deep("A", pixels_above=[9, 9, 9, 9], image_maximum=[5000.0] + [100.0] * 4))
    run.summarize(channel=1, min_mean_intensity=0)
    assert run.rows()[0]["white"] == "16383"


# a run without an object


def hints(caplog) -> str:
    return caplog.text.partition("every image that was detected is empty: ")[2]


def test_a_run_without_a_candidate_is_told_to_look_at_the_model(tmp_path, caplog):
    run = Run(tmp_path, ("a.tif", "A"), ("b.tif", "B"), ("c.tif", "C"), ("d.tif", "D"))
    failed = stored_rows("C", status="unreadable", reason="truncated")
    run.segment("s", stored_rows("A", 0), stored_rows("B", 0), failed)
    run.summarize()
    for words in ("found no mask", "sam.checkpoint", "sam.pred_iou_thresh (0.75)", "display"):
        assert words in hints(caplog)


def test_a_run_without_an_object_is_told_which_filters_dropped_what(run, caplog):
    small = [stored_candidate(n, area=9) for n in range(3)]
    run.segment("s", stored_rows("A", [*small, stored_candidate(3, intensity_mean=[2.0] * 3)]))
    run.summarize()
    text = hints(caplog)
    assert (
        "of 4 candidates\n  min_area dropped 3: the objects may have fewer than 1500 pixels" in text
    )
    assert "\n  min_mean_intensity dropped 1: they are darker than 8.1" in text
    assert "255 counts as 255 in uint8 images, whose brightest pixel is 200 on that scale" in text
    assert "sam.checkpoint" in text
    caplog.clear()
    run.summarize(white=65535, min_area=0)
    assert "65535 counts as 255 in uint8 images, whose brightest pixel is 0.778" in hints(caplog)


def dropped_by_one_filter_each() -> list[CandidateRow]:
    """A candidate for each filter, in the filters' order, but those of contrast and overlap."""
    return [
        stored_candidate(0, predicted_iou=0.76),
        stored_candidate(1, stability_score=0.76),
        stored_candidate(2, area=1499),
        stored_candidate(3, area=150001),
        stored_candidate(4, intensity_mean=[8.0] * 3),
    ]


ALL_FILTERS = {"min_predicted_iou": 0.8, "min_stability_score": 0.8, "min_contrast": 20}
ALL_FILTERS |= {"min_circularity": 0.5, "min_solidity": 0.5, "exclude_edge": True}


def test_every_filter_has_a_hint(run, caplog):
    candidates = [
        *dropped_by_one_filter_each(),
        stored_candidate(5, intensity_mean=[29.0] * 3),
        stored_candidate(6, circularity=0.2),
        stored_candidate(7, solidity=0.2),
        stored_candidate(8, bbox_x=450),
    ]
    run.segment("s", stored_rows("A", candidates, width=500, height=400))
    run.summarize(**ALL_FILTERS)
    for name in FILTERS[:-1]:
        assert f"\n  {name} dropped 1: " in hints(caplog)


def test_a_run_of_black_images_is_told_so(run, caplog):
    run.segment("s", image_of("A", 0.0, mean=0.0))
    run.summarize()
    assert "no pixel of any image is above 0" in hints(caplog)
    assert run.rows()[0]["white"] == "255"


def test_a_run_with_an_object_or_without_a_detection_is_told_nothing(tmp_path, caplog):
    run = Run(tmp_path, ("a.tif", "A"), ("b.tif", "B"), ("c.tif", "C"))
    run.segment("c", stored_rows("C", status="unreadable", reason="truncated"))
    run.summarize()
    run.segment("s", stored_rows("A", 1), stored_rows("B", 0))
    run.summarize()
    assert caplog.text == ""


def test_images_that_failed_have_no_part_in_the_scale(tmp_path, caplog):
    run = Run(tmp_path, ("a.tif", "A"), ("b.tif", "B"))
    run.segment("s", stored_rows("A", status="error"), stored_rows("B"))
    run.summarize()
    assert [row["status"] for row in run.rows()] == ["error", "ok"]
    assert caplog.text == ""


# the filters' audit


def test_every_dropped_candidate_is_counted_under_the_filter_that_dropped_it(tmp_path):
    run = Run(tmp_path, ("a.tif", "A"), ("copy.tif", "A"))
    candidates = [
        *dropped_by_one_filter_each(),
        stored_candidate(5, overlapping=[6, 7], shared_pixels=[1001, 1000]),
        stored_candidate(6, predicted_iou=0.95, overlapping=[5], shared_pixels=[1001]),
        stored_candidate(7, overlapping=[5], shared_pixels=[1000]),
        stored_candidate(8, intensity_mean=[29.0] * 3),
        stored_candidate(9, circularity=0.2),
        stored_candidate(10, solidity=0.2),
        stored_candidate(11, bbox_y=360),
    ]
    run.segment("s", stored_rows("A", candidates, width=500, height=400))
    run.summarize(**ALL_FILTERS)
    assert run.filtering() == {"candidates": 24, **dict.fromkeys(FILTERS, 2), "objects": 4}
    assert [row["candidate"] for row in run.objects()] == [6, 7] * 2
    assert run.rows()[0]["n_objects"] == "2"


def test_objects_count_all_of_their_own_pixels_also_shared_ones(run):
    both = {"area": 2000, "shared_pixels": [1000]}
    candidates = [
        stored_candidate(0, overlapping=[1], **both),
        stored_candidate(1, overlapping=[0], **both),
    ]
    run.segment("s", stored_rows("A", candidates))
    run.summarize()
    assert run.rows()[0]["object_area"] == "4000"


def test_what_an_object_was_as_a_candidate_goes_with_it(run):
    candidate, kept = stored_candidate(0, area=10), stored_candidate(1, n_parts=3)
    run.segment("s", stored_rows("A", [candidate, kept]))
    run.summarize()
    (found,) = run.objects()
    same = ["candidate", "bbox_x", "bbox_y", "bbox_width", "bbox_height", "centroid_x"]
    same += ["centroid_y", "area", "n_parts", "perimeter_crofton", "circularity", "solidity", "rle"]
    same += ["predicted_iou", "stability_score"]
    assert {name: found[name] for name in same} == {name: getattr(kept, name) for name in same}
    assert (found["label"], found["width"], found["height"]) == (1, 400, 300)


# the same store, the same bytes


def a_collection() -> tuple[list[tuple[str, str]], list[list[dict]]]:
    chance = random.Random(3)
    images = [deep("deep"), stored_rows("none", 0)]
    images += [stored_rows(name, status=name, reason=name) for name in ("unreadable", "error")]
    for number in range(6):
        candidates = [
            stored_candidate(
                n,
                area=chance.choice([100, 1600, 3000]),
                predicted_iou=chance.choice([0.8, 0.9, 0.95]),
                intensity_mean=[chance.uniform(5, 200)] * 3,
                overlapping=[o for o in range(7) if o != n],
                shared_pixels=[chance.choice([10, 900]) for o in range(7) if o != n],
            )
            for n in range(7)
        ]
        images.append(stored_rows(f"{number}", candidates))
    files = [(f"{rows[0]['image_id']}.tif", rows[0]["image_id"]) for rows in images]
    return sorted([*files, ("copy.tif", "3"), ("waiting.tif", "waiting")]), images


@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_tables_do_not_depend_on_how_images_are_split_into_segments(data, tmp_path_factory):
    files, images = a_collection()
    one = Run(tmp_path_factory.mktemp("one"), *files)
    one.segment("all", *images)
    one.summarize()
    other = Run(tmp_path_factory.mktemp("other"), *files)
    order = data.draw(st.permutations(images))
    while order:
        size = data.draw(st.integers(1, len(order)))
        name = f"{data.draw(st.integers(0, 999))}-{len(order)}"
        other.segment(name, *order[:size], flush_every=data.draw(st.integers(0, 3)))
        order = order[size:]
    other.summarize()
    assert one.content() == other.content()
    assert len(one.objects()) > 10


def test_a_second_summary_gives_the_same_bytes(run):
    run.segment("s", stored_rows("A", 3))
    run.summarize()
    before = run.content()
    run.summarize(min_area=2001)
    assert run.content() != before
    run.summarize()
    assert run.content() == before


def test_a_segment_damaged_where_only_the_summary_looks_is_set_aside(run, caplog):
    run.segment("s", stored_rows("A", 2))
    run.summarize()
    (path,) = run.store.glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[content.index(stored_candidate(0).rle.encode())] ^= (
        1  # the index knows the segment and does not read it again
    )
    path.write_bytes(content)
    with pytest.raises(SegmentError, match=r"s-00000\.parquet: damaged"):
        run.summarize()
    assert "detected again" in caplog.text
    assert [path.name for path in run.store.glob("*.parquet*")] == ["s-00000.parquet.damaged"]
    run.summarize()
    assert [row["status"] for row in run.rows()] == ["pending"]


def doubled(rows: list[dict]) -> list[dict]:
    return [*rows, *rows]


def with_column(name: str, value: object):
    """Changes a column in the last of an image's rows."""
    return lambda rows: [*rows[:-1], rows[-1] | {name: value}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (doubled, "candidates stand in it twice"),
        (lambda rows: rows[1:], "candidates stand in it twice, or are missing"),
        (lambda rows: rows[:-1], "or are missing"),
        (with_column("candidate", -1), "or are missing"),
        (with_column("n_candidates", 7), "or are missing"),
        (with_column("area", -2000), "a size or an area in it is impossible"),
        (with_column("height", -300), "a size or an area in it is impossible"),
        (with_column("bbox_width", -3), "a size or an area in it is impossible"),
        (with_column("width", 0), "a mask in it is larger than its image"),
        (with_column("bbox_x", 351), "a mask in it is larger than its image"),
        (with_column("area", 120_001), "a mask in it is larger than its image"),
        (with_column("area", 2001), "a mask in it is impossible"),
        (with_column("area", 1999), "intensities of a candidate in it contradict each other"),
        (with_column("intensity_sum", [3e9] * 3), "contradict each other"),
        (with_column("intensity_max", [1.0] * 3), "contradict each other"),
        (with_column("valid_pixels", [-1] * 3), "contradict each other"),
        (with_column("rle", first_pixels(2000, 300, 401)), "a mask in it is impossible"),
        (with_column("rle", first_pixels(2000, 300, 400)[:-1]), "a mask in it is impossible"),
        (with_column("rle", "\N{MICRO SIGN} and so on"), "a mask in it is impossible"),
        (with_column("rle", ""), "a mask in it is impossible"),
        (with_column("rle", "o" * 30 + "0"), "a mask in it is impossible"),
        (with_column("rle", None), "measurements of a candidate are missing"),
        (with_column("predicted_iou", None), "measurements of a candidate are missing"),
        (with_column("intensity_sum", [1.0]), "intensities of a candidate are missing"),
        (with_column("overlapping", [3]), "overlaps in it are impossible"),
        (with_column("shared_pixels", [3]), "overlaps in it are impossible"),
        (with_column("dtype", "complex256"), "pixels of an unknown type"),
        (with_column("image_maximum", []), "intensities of an image are missing"),
        (with_column("background", []), "intensities of an image are missing"),
    ],
)
def test_a_segment_that_is_whole_and_impossible_is_set_aside(run, caplog, change, words):
    """Nothing but the numbers is wrong: the columns, their types and the checksums are right."""
    run.segment("good", stored_rows("B", 2))
    run.segment("poisoned", change(stored_rows("A", 3)))
    with pytest.raises(SegmentError, match=rf"poisoned-00000\.parquet: damaged: .*{words}"):
        run.summarize()
    assert "set aside: its images will be detected again" in caplog.text
    names = {path.name for path in run.store.glob("*.parquet*")}
    assert names == {"good-00000.parquet", "poisoned-00000.parquet.damaged"}
    run.summarize()
    assert run.rows()[0]["status"] == "pending"


def test_an_empty_mask_is_possible(run):
    """SAM makes some, with low thresholds."""
    empty = stored_candidate(1, area=0, bbox_width=0, bbox_height=0)
    run.segment("s", stored_rows("A", [stored_candidate(0), empty, stored_candidate(2)]))
    run.summarize(min_area=0)
    assert [row["area"] for row in run.objects()] == [2000, 0, 2000]


def test_an_image_in_two_groups_of_a_segment_is_impossible(run):
    run.segment("s", stored_rows("A", 2), stored_rows("A", 2), flush_every=1)
    with pytest.raises(SegmentError, match="an image stands in it twice"):
        run.summarize()


@pytest.mark.parametrize("moment", ["rebuild_index", "best_results"])
def test_a_summary_beside_a_job_that_merges_its_flushes_says_what_it_says_after_it(
    tmp_path, monkeypatch, moment
):
    run = Run(tmp_path, *((f"{name}.tif", name) for name in "ABC"))
    writer = SegmentWriter(run.store, "job")
    for name in "ABC":
        writer.add(stored_rows(name, 2))
        writer.flush()
    before = getattr(tables, moment)

    def merge_behind(store):
        found = before(store)
        writer.finish()
        return found

    monkeypatch.setattr(tables, moment, merge_behind)
    run.summarize()
    beside = run.content()
    assert {row["status"] for row in run.rows()} == {"ok"}
    assert len(run.rows("ledger.csv")) == 3
    monkeypatch.undo()
    run.summarize()
    assert run.content() == beside
