"""Outlines drawn over images."""

import csv
import json
import os
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from samfleet import cli
from samfleet.cells import guarded
from samfleet.digests import image_id
from samfleet.errors import UserError
from samfleet.exports.overlays import draw_outlines, write_overlays
from samfleet.files import escape_name, write_atomic
from samfleet.marker import MARKER
from samfleet.plan.collection import scan_collection
from samfleet.plan.record import Plan
from samfleet.results import (
    last_plan_file,
    store_folder,
    store_settings_file,
    summary_record_file,
    summary_tables,
)
from samfleet.sam.model_key import configured_model_settings, model_key
from samfleet.stamps import write_record
from tests.builders import disc, make_settings, rle_counts, weights_stub, write_files

DISC = disc(60, 80, 20, 20, 10)


def test_outlines_lie_on_the_edge_of_their_masks_alone():
    masks = [disc(60, 80, 20, 20, 10).astype(np.uint8), disc(60, 80, 40, 55, 12).astype(np.uint8)]
    black = np.zeros((60, 80, 3), np.uint8)
    drawn = draw_outlines(black, masks)
    assert not black.any()
    colored = drawn.any(axis=2)
    for mask in masks:
        inside = cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)
        assert not colored[inside].any()
        assert colored[mask.astype(bool) & ~inside].any()
    assert not colored[(masks[0] | masks[1]) == 0].any()
    assert len({tuple(color) for color in drawn[colored]}) == 2


class Detected:
    """Images with the tables of their detection: one object in each that is `ok`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.images: str | Path = folder / "images"
        self.results = folder / "results"
        self.rows: list[dict] = []
        self.results.mkdir()

    def add(self, name: str, status: str = "ok", grey: int = 0, place: str | None = None) -> Path:
        """A black or grey image, in `images/` or at `place`, and its row."""
        path = self.folder / "images" / (place or name)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = cv2.imencode(".png", np.full((60, 80), grey, np.uint8))[1].tobytes()
        path.write_bytes(content)
        row = {"image": escape_name(name), "image_id": image_id(content), "status": status}
        row |= {"reason": f"why {status}", "width": 80, "height": 60}
        self.rows.append(row)
        with (self.results / "summary.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerows(r | {"image": guarded(r["image"])} for r in self.rows)
        found = [r["image"] for r in self.rows if r["status"] == "ok"]
        objects = pd.DataFrame({"image": found, "rle": rle_counts(DISC)}, dtype=str)
        objects.to_parquet(self.results / "objects.parquet")
        return path

    def summarized(self, **config) -> None:
        """Let the tables be those that a run under this configuration wrote."""
        settings = make_settings(self.images, **config)
        explained = configured_model_settings(settings, self.results)
        key = model_key(explained)
        store = store_folder(self.results, key)
        write_atomic(store_settings_file(store), json.dumps(explained))
        for table in summary_tables(self.results):
            table.touch()
        made_under = {"model_key": key, "fluorescence": asdict(settings.fluorescence)}
        tables = summary_tables(self.results)
        write_record(summary_record_file(self.results), "origin", 1, tables, made_under)

    def overlays(self, *patterns: str, **config):
        settings = make_settings(self.images, **config)
        return write_overlays(settings, self.results, self.folder / "out", list(patterns))

    def names(self) -> list[str]:
        """The files in the folder of overlays."""
        out = self.folder / "out"
        return [str(path.relative_to(out)) for path in sorted(out.rglob("*.png"))]

    def written(self) -> dict[str, bool]:
        """The overlays, and whether something is drawn on each."""
        out = self.folder / "out"
        paths = [path for path in sorted(out.rglob("*")) if path.suffix.lower() == ".png"]
        return {str(p.relative_to(out)): bool(cv2.imread(str(p)).any()) for p in paths}


@pytest.fixture
def detected(tmp_path):
    return Detected(tmp_path)


def test_every_detected_image_has_its_overlay_also_without_objects(detected):
    detected.add("well/a.png")
    detected.add("empty.tif", "empty")
    detected.add("later.png", "pending")
    detected.add("broken.png", "unreadable")
    overlays = detected.overlays()
    assert overlays.written == 2
    assert overlays.without_result == {
        "later.png": "pending: why pending",
        "broken.png": "unreadable: why unreadable",
    }
    assert detected.written() == {"empty.tif.png": False, "well/a.png": True}
    assert cv2.imread(str(detected.folder / "out" / "well" / "a.png")).shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["a1.png"], ["a1.png"]),
        (["a*"], ["a1.png", "a2.png"]),
        (["[a].png", "b.png"], ["[a].png", "b.png"]),
        (["'=c.png"], ["=c.png"]),
        (["./a1.png"], ["a1.png"]),
        ([], ["=c.png", "[a].png", "a1.png", "a2.png", "b.png"]),
    ],
)
def test_images_are_named_as_in_the_tables_or_by_patterns(detected, patterns, names):
    for name in ("a1.png", "a2.png", "[a].png", "b.png", "=c.png"):
        detected.add(name)
    assert detected.overlays(*patterns).written == len(names)
    assert list(detected.written()) == names


def test_a_mistyped_image_is_named_before_anything_is_written(detected):
    detected.add("well/a.png")
    message = r"summary\.csv has no image well/b\.png \(did you mean well/a\.png\?\), nor \?\?z\*$"
    with pytest.raises(UserError, match=message):
        detected.overlays("well/a.png", "well/b.png", "??z*")
    assert not (detected.folder / "out").exists()


def test_images_anywhere_have_their_overlays_within_the_folder(detected):
    detected.images = detected.folder / "meta" / "table.csv"
    detected.images.parent.mkdir()
    detected.images.write_text("image\n")
    far = detected.folder / "far" / "scan01"
    detected.add("../images/a.png", place="a.png")
    detected.add(str(far), place=str(far))
    detected.add(f"{far}.png", place=f"{far}.png", grey=7)
    before = {path: path.read_bytes() for path in detected.folder.rglob("*") if path.is_file()}
    assert detected.overlays().written == 3
    assert len(detected.written()) == 3
    outside = {p for p in detected.folder.rglob("*") if p.is_file() and "out" not in p.parts}
    assert {path: path.read_bytes() for path in outside} == before


@pytest.mark.parametrize(
    "name", [f"{'x' * 251}.png", f"{'x' * 251}.tif", "caf\udce9.png", "=1.png"]
)
def test_images_of_any_name_have_their_overlays(detected, name):
    detected.add(name)
    assert detected.overlays().written == 1
    assert list(detected.written().values()) == [True]
    assert detected.overlays(escape_name(name)).written == 1
    assert len(detected.written()) == 1


def replaced(path: Path) -> None:
    path.write_bytes(cv2.imencode(".png", np.full((60, 80), 9, np.uint8))[1].tobytes())


def broken(path: Path) -> None:
    path.write_bytes(b"broken")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def smaller(path: Path) -> None:
    path.write_bytes(cv2.imencode(".png", np.zeros((60, 60), np.uint8))[1].tobytes())


@pytest.mark.parametrize("status", ["ok", "empty"])
@pytest.mark.parametrize(
    ("accident", "words"),
    [
        (replaced, "has changed since it was detected"),
        (smaller, "has changed since it was detected"),
        (broken, "has changed since it was detected"),
        (Path.unlink, "there is no file"),
        (a_pipe, "there is no file"),
    ],
)
def test_a_replaced_image_gets_no_outlines_and_loses_those_it_had(
    detected, accident, words, status
):
    path = detected.add("a.png", status)
    detected.add("b.png")
    detected.overlays()
    assert list(detected.written()) == ["a.png", "b.png"]
    accident(path)
    overlays = detected.overlays()
    assert overlays.written == 1
    assert words in overlays.outdated["a.png"]
    assert list(detected.written()) == ["b.png"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image.level", 1),
        ("image.lookup_table", "ignored"),
        ("fluorescence.min_area", 7),
        ("fluorescence.largest_part", False),
        ("sam.points_per_side", 9),
        ("display.channel", 0),
    ],
)
def test_objects_of_other_settings_are_not_drawn_as_if_they_were_the_configurations(
    detected, key, value
):
    detected.add("a.png")
    detected.summarized()
    # a later plan says nothing about the tables
    plan = Plan("P", 1, "images", "", "", "K", "", 1, 1, 0, ())
    write_atomic(last_plan_file(detected.results), plan.to_json())
    section, name = key.split(".")
    message = rf"objects are those of another {key}; run the workflow first, or set back"
    with pytest.raises(UserError, match=message):
        detected.overlays(**{section: {name: value}})
    assert not detected.written()
    assert detected.overlays(tables={"bom": True}, sam={"points_per_batch": 3}).written == 1
    detected.summarized(**{section: {name: value}})
    with pytest.raises(UserError, match=message):
        detected.overlays()


def test_objects_of_other_weights_are_not_drawn_and_weights_are_not_needed(detected):
    detected.add("a.png")
    weights = detected.folder / "my.safetensors"
    weights.write_bytes(weights_stub())
    sam = {"checkpoint": str(weights)}
    detected.summarized(sam=sam)
    assert detected.overlays(sam=sam).written == 1
    weights.write_bytes(weights_stub(note="trained on"))
    with pytest.raises(UserError, match=r"those of another sam\.checkpoint"):
        detected.overlays(sam=sam)
    weights.unlink()
    assert detected.overlays(sam=sam).written == 1
    with pytest.raises(UserError, match=r"those of another fluorescence\.white and image\.page;"):
        detected.overlays(sam=sam, image={"page": 1}, fluorescence={"white": 9})


def test_tables_without_their_record_are_drawn_with_a_warning(detected, caplog):
    detected.add("a.png")
    detected.summarized()
    detected.add("b.png")  # another table than recorded
    assert detected.overlays().written == 2
    assert "nothing says under which settings these tables were made" in caplog.text


def test_overlays_of_images_that_left_the_tables_are_removed_and_nothing_else(detected):
    for name in ("a.png", "well/b.png", "well/c.png", "well/d.png"):
        detected.add(name)
    detected.overlays()
    write_files(detected.folder / "out", {"well/mine.png": b"mine", "well/d.png": b"with my notes"})
    detected.rows = [row for row in detected.rows if row["image"] == "a.png"]
    detected.add("e.png")
    assert detected.overlays("e.png").removed == 0
    assert detected.overlays().removed == 2
    assert detected.names() == ["a.png", "e.png", "well/d.png", "well/mine.png"]


def test_raw_images_are_not_written_over_nor_beside(detected):
    path = detected.add("a.png")
    for folder in (detected.images, detected.folder):
        with pytest.raises(UserError, match="holds files that samfleet did not write"):
            write_overlays(make_settings(detected.images), detected.results, folder, [])
    assert image_id(path.read_bytes()) == detected.rows[0]["image_id"]
    assert not list(detected.images.rglob(MARKER))


@pytest.mark.parametrize("table", ["summary.csv", "objects.parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff", b"image,status\na.png,ok,1\n", b"a,b\n1,2\n"])
def test_a_damaged_table_is_named(detected, table, content):
    detected.add("a.png")
    (detected.results / table).write_bytes(content)
    with pytest.raises(UserError, match=rf"{table} .*; run the workflow again"):
        detected.overlays()


def test_overlays_among_the_images_are_not_detected(detected):
    detected.add("a.png")
    detected.add("well/b.png")
    settings = make_settings(detected.images)
    out = Path(detected.images) / "outlines"
    assert write_overlays(settings, detected.results, out, []).written == 2
    (detected.images / "well" / "linked").symlink_to(out / "well")
    (detected.images / "linked.png").symlink_to(out / "a.png")
    collection = scan_collection(str(detected.images), settings.image.suffixes, detected.results)
    assert [file.path for file in collection.files] == ["a.png", "well/b.png"]
    assert sorted(collection.own) == ["linked.png", "outlines", "well/linked"]
    # written again, they are the same
    assert write_overlays(settings, detected.results, out, []).written == 2


# the command


@pytest.fixture
def command(detected, monkeypatch, capsys):
    monkeypatch.setattr(cli, "configure_logging", lambda log: None)
    monkeypatch.chdir(detected.folder)
    Path("my.yaml").write_text("images: images\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(["overlays", "my.yaml", "out", *arguments])
        return status, *capsys.readouterr()

    return run


def test_the_command_says_what_was_not_drawn_and_ends_well_if_nothing_is_outdated(
    detected, command
):
    assert command()[0] == 2  # there are no tables yet
    detected.add("a.png")
    detected.add("b.png", "pending")
    status, out, error = command()
    assert (status, out) == (0, "1 image in out\n")
    assert error == "not drawn, since without a result:\n  b.png: pending: why pending\n"
    status, out, error = command("b.png")
    assert (status, out) == (2, "0 images in out\n")
    assert "none of these images has a result" in error


def test_the_command_fails_after_the_rest_if_an_image_is_not_what_was_detected(detected, command):
    replaced(detected.add("a.png"))
    detected.add("b.png")
    status, out, error = command()
    assert (status, out) == (2, "1 image in out\n")
    assert "a.png: the file has changed since it was detected; run the workflow again" in error


def test_the_command_says_that_it_removed_overlays(detected, command):
    detected.add("a.png")
    detected.add("b.png")
    assert command()[0] == 0
    detected.rows.clear()
    detected.add("a.png")
    assert command() == (
        0,
        "1 image in out\n",
        "removed 1 overlay of images that are no longer in the tables\n",
    )
