"""Outlines drawn over images."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from samfleet import cli
from samfleet.digests import image_id
from samfleet.errors import UserError
from samfleet.exports.job import export
from samfleet.exports.overlays import draw_outlines, round_length
from samfleet.files import escape_name, write_atomic
from samfleet.marker import MARKER
from samfleet.opened.masks import Region
from samfleet.plan.collection import scan_collection
from samfleet.plan.record import Plan
from samfleet.results import last_plan_file
from tests.builders import disc, make_settings, weights_stub, write_files
from tests.detected import Detected, object_row


def test_outlines_lie_on_the_edge_of_their_masks_alone():
    masks = [disc(60, 80, 20, 20, 10).astype(np.uint8), disc(60, 80, 40, 55, 12).astype(np.uint8)]
    black = np.zeros((60, 80, 3), np.uint8)
    drawn = draw_outlines(black, [Region(0, 0, mask.astype(bool)) for mask in masks])
    assert not black.any()
    colored = drawn.any(axis=2)
    for mask in masks:
        inside = cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)
        assert not colored[inside].any()
        assert colored[mask.astype(bool) & ~inside].any()
    assert not colored[(masks[0] | masks[1]) == 0].any()
    assert len({tuple(color) for color in drawn[colored]}) == 2


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
    assert len(detected.overlays(escape_name(name)).files) == 1
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
    assert list(overlays.files) == ["b.png"]
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
    plan = Plan("P", 1, "images", "", "", "", "", "K", "", 1, 1, 0, ())
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
    assert detected.overlays(sam=sam).files
    weights.write_bytes(weights_stub(note="trained on"))
    with pytest.raises(UserError, match=r"those of another sam\.checkpoint"):
        detected.overlays(sam=sam)
    weights.unlink()
    assert detected.overlays(sam=sam).files
    with pytest.raises(UserError, match=r"those of another fluorescence\.white and image\.level;"):
        detected.overlays(sam=sam, image={"level": 1}, fluorescence={"white": 9})


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
            export(make_settings(detected.images), detected.results, "overlays", folder)
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
    assert export(settings, detected.results, "overlays", out).written == 2
    (detected.images / "well" / "linked").symlink_to(out / "well")
    (detected.images / "linked.png").symlink_to(out / "a.png")
    collection = scan_collection(str(detected.images), settings.image.suffixes, detected.results)
    assert [file.path for file in collection.files] == ["a.png", "well/b.png"]
    assert sorted(collection.own) == ["linked.png", "outlines", "well/linked"]
    # they are not written again
    again = export(settings, detected.results, "overlays", out)
    assert (again.written, again.unchanged) == (0, 2)


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
    assert error == "not exported, since without a result:\n  b.png: pending: why pending\n"
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
        "removed 1 file of images that are no longer in the tables\n",
    )


@pytest.mark.parametrize(
    ("longest", "length"),
    [(123, 100), (99, 50), (50, 50), (20.5, 20), (1, 1), (0.3, 0.2), (0.07, 0.05)],
)
def test_a_scale_bar_has_a_round_length(longest, length):
    assert round_length(longest) == pytest.approx(length)


def test_a_scale_bar_is_drawn_where_the_size_of_a_pixel_is_known(detected):
    for name, size in (("a.png", "0.5"), ("b.png", "")):
        detected.add(name, "empty", pixels=np.zeros((300, 400), np.uint8), pixel_size_um=size)
    detected.overlays()
    bar, none = (cv2.imread(str(detected.folder / "out" / n)) for n in ("a.png", "b.png"))
    assert not none.any()
    rows = (bar == 255).all(axis=2).sum(axis=1)
    assert rows.max() == 40  # 20 µm are the longest round length in a fifth of 200 µm
    assert not bar[:, :200].any() and not bar[:150].any()


def test_a_long_side_is_scaled_and_its_outlines_with_it(detected):
    mask = disc(500, 8192, 250, 6000, 200)
    row = object_row(mask)
    detected.add("a.png", pixels=np.zeros(mask.shape, np.uint8), objects=[row])
    detected.overlays()
    drawn = cv2.imread(str(detected.folder / "out" / "a.png"))
    assert drawn.shape == (250, 4096, 3)
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert (columns.min(), columns.max()) == pytest.approx((2900, 3100), abs=1)
    assert (rows.min(), rows.max()) == pytest.approx((25, 225), abs=1)
