"""The report of a run: what it says agrees with the tables, and it is made of nothing else."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from samfleet import cli
from samfleet.cells import read_csv
from samfleet.errors import UserError
from samfleet.evaluation.job import evaluate_tables
from samfleet.report.job import write_report
from samfleet.report.stamp import report_stamp
from samfleet.results import (
    objects_file,
    report_file,
    report_pictures,
    report_record_file,
    summary_file,
)
from samfleet.summary.filtering import FILTERS
from tests.builders import disc
from tests.reported import HEIGHT, WIDTH, Collection, data_of

BRIGHT, DIM = (30, 40, 12, 200), (60, 90, 9, 40)
NEAR = (34, 44, 11, 210)
"""A disc that shares most of its pixels with BRIGHT."""


@pytest.fixture
def collection(tmp_path):
    collection = Collection(tmp_path)
    collection.add("a.png", BRIGHT, DIM)
    collection.add("well/b.png", BRIGHT, NEAR, DIM, scores=[(0.8, 0.9), (0.9, 0.9), (0.7, 0.9)])
    collection.add("empty.png")
    collection.add("bad.png", status="unreadable", reason="the PNG is truncated")
    return collection


def test_a_pictures_values_are_those_of_the_table_of_objects(collection):
    data = data_of(collection.report())
    objects = pq.read_table(objects_file(collection.results)).to_pylist()
    columns, tiles = (
        data["candidates"]["columns"],
        {tile["image"]: tile for tile in data["gallery"]},
    )
    assert len(objects) == 4
    for row in objects:
        index = tiles[row["image"]]["start"] + row["candidate"]
        for name in ("area", "intensity_mean", "predicted_iou", "stability_score", "circularity"):
            if name in columns:
                assert columns[name][index] == row[name], name
    assert tiles["well/b.png"]["count"] == 3
    assert sum(data["candidates"]["counts"]) == len(columns["area"]) == 5


def test_an_outline_encloses_the_pixels_of_its_object(collection):
    data = data_of(collection.report())
    tile = next(tile for tile in data["gallery"] if tile["image"] == "a.png")
    assert (tile["width"], tile["height"]) == (WIDTH, HEIGHT)
    for path, (y, x, radius, _) in zip(tile["outlines"], (BRIGHT, DIM), strict=True):
        numbers = np.array([int(each) for each in re.findall(r"-?\d+", path)]).reshape(-1, 2)
        corners = np.cumsum(numbers, axis=0) / data["subpixels"] - 0.5
        area = cv2.contourArea(corners.astype(np.float32))
        assert area == pytest.approx(np.pi * radius**2, rel=0.15)
        assert corners.mean(axis=0) == pytest.approx((x, y), abs=1.5)
        distance = np.hypot(*(corners - (x, y)).T)
        assert distance.min() > radius - 1.5
        assert distance.max() < radius + 0.5


def test_pairs_are_the_pixels_that_two_share(collection):
    data = data_of(collection.report())
    start = next(tile["start"] for tile in data["gallery"] if tile["image"] == "well/b.png")
    ((first, second, shared),) = zip(
        *(data["candidates"][name] for name in ("first", "second", "shared")), strict=True
    )
    assert (first, second) == (start, start + 1)
    assert 0.5 * np.pi * 11**2 < shared < np.pi * 11**2


def test_copies_weigh_as_many_files_as_there_are(collection):
    (collection.images / "copy.png").write_bytes((collection.images / "a.png").read_bytes())
    data = data_of(collection.report())
    kept = dict(zip(data["candidates"]["counts"], data["candidates"]["weights"], strict=True))
    assert kept == {2: 2, 3: 1}
    assert data["candidates"]["total"] == 7
    assert data["candidates"]["exact"]


def test_the_page_says_what_was_run_and_what_failed(collection):
    page = collection.report()
    assert "the PNG is truncated" in page
    assert "tiny" in page
    assert re.search(r"<dt>Model key</dt><dd><code>[0-9a-f]{16}</code>", page)
    assert re.search(r"<strong>4</strong> objects in\s+<strong>3</strong> of 4 images", page)
    for name in FILTERS:
        assert f"<code>{name}</code>" in page


def test_names_and_values_stay_text(tmp_path):
    collection = Collection(tmp_path)
    hostile = "<img src=x onerror=alert(1)>.png"
    collection.add(hostile, BRIGHT)
    collection.add("</script><script>alert(2)</script>.png".replace("/", "∕"), BRIGHT)
    collection.add("c.png", status="error", reason="<b>why</b>")
    page = collection.report()
    outside = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert "<img" not in outside
    assert "&lt;b&gt;why&lt;/b&gt;" in outside
    assert "alert(" not in outside.replace("onerror=alert(1)&gt;", "")
    names = {tile["image"] for tile in data_of(page)["gallery"]}
    assert hostile in names


def test_the_page_may_ask_for_nothing(collection):
    page = collection.report()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.replace("&#39;", "'").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "unsafe" not in rules["script-src"]
    assert "connect-src" not in rules
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_an_image_that_has_changed_or_gone_has_outlines_and_a_word_but_no_picture(
    collection, caplog
):
    settings = collection.summarize()
    (collection.images / "a.png").unlink()
    (collection.images / "empty.png").write_bytes(b"other")
    write_report(settings, collection.results)
    tiles = {
        tile["image"]: tile
        for tile in data_of(report_file(collection.results).read_text())["gallery"]
    }
    assert "there is no file" in tiles["a.png"]["note"]
    assert tiles["a.png"]["picture"] is None
    assert len(tiles["a.png"]["outlines"]) == 2
    assert "has changed" in tiles["empty.png"]["note"]
    assert tiles["well/b.png"]["picture"] == 0
    assert "no picture of 2 images" in caplog.text


def test_a_few_pictures_are_left_for_snakemakes_report(collection):
    collection.report()
    drawn = sorted(report_pictures(collection.results).glob("*.jpg"))
    assert [path.name for path in drawn] == ["1.jpg", "2.jpg", "3.jpg"]
    image = cv2.imread(str(drawn[0]))
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert np.ptp(image.astype(int), axis=2).max() > 50  # grey images, coloured outlines


def test_the_same_tables_give_the_same_page_and_need_no_new_one(collection):
    settings = collection.summarize()
    write_report(settings, collection.results)
    first, number = (
        report_file(collection.results).read_text(),
        report_stamp(settings, collection.results),
    )
    write_report(settings, collection.results)
    assert report_file(collection.results).read_text() == first
    assert report_stamp(settings, collection.results) == number
    report_file(collection.results).write_text("edited")
    assert report_stamp(settings, collection.results) == number + 1


def test_another_summary_removes_the_report(collection):
    collection.report()
    collection.summarize(fluorescence={"min_mean_intensity": 100})
    assert not report_file(collection.results).exists()
    assert not report_record_file(collection.results).exists()


def test_scores_are_shown_as_long_as_the_configuration_asks_for_them(collection):
    """The tables of an evaluation stay when `evaluation.labels` is switched off; they are not of this run then."""
    labels = collection.folder / "labels"
    labels.mkdir()
    mask = disc(HEIGHT, WIDTH, *BRIGHT[:3]).astype(np.uint8)
    cv2.imwrite(str(labels / "a.png"), mask)
    settings = collection.summarize(evaluation={"labels": str(labels)})
    evaluate_tables(settings, collection.results)
    write_report(settings, collection.results)
    number = report_stamp(settings, collection.results)
    page = report_file(collection.results)
    assert "F1 at IoU 0.5" in page.read_text()
    without = replace(settings, evaluation=collection.settings().evaluation)
    assert report_stamp(without, collection.results) == number + 1
    write_report(without, collection.results)
    assert "F1 at IoU 0.5" not in page.read_text()
    assert report_stamp(without, collection.results) == number


def test_tables_that_are_not_there_or_of_other_settings_are_refused(collection):
    settings = collection.settings()
    with pytest.raises(UserError, match="run the workflow first"):
        write_report(settings, collection.results)
    collection.summarize()
    other = collection.settings(fluorescence={"min_area": 7}, display={"colormap": "green"})
    with pytest.raises(UserError, match=r"another display\.colormap and fluorescence\.min_area;"):
        write_report(other, collection.results)
    assert not report_file(collection.results).exists()


def test_the_command_says_where_the_page_is(collection, tmp_path, capsys):
    collection.summarize()
    config = tmp_path / "my.yaml"
    config.write_text(
        f"images: {collection.images}\nfluorescence: {{min_area: 1, min_mean_intensity: 0}}\n"
    )
    command = ["report", str(config), "--results", str(collection.results)]
    assert cli.main(command) == 0
    assert "report.html: open it in a browser" in capsys.readouterr().out
    assert report_file(collection.results).exists()
    summary_file(collection.results).write_text("edited")
    assert cli.main(command) == 2
    assert "not as samfleet wrote them" in capsys.readouterr().err


@pytest.mark.slow
def test_two_hundred_pictures_of_noise_stay_below_fifteen_megabytes(tmp_path):
    collection = Collection(tmp_path)
    random = np.random.default_rng(0)
    for number in range(210):
        collection.add(f"{number:03}.png", BRIGHT, DIM)
    settings = collection.summarize()
    noise = random.integers(0, 256, (5 * HEIGHT, 5 * WIDTH, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "samfleet.report.job.shown_image", lambda *_: noise[: 14 * HEIGHT, : 10 * WIDTH]
        )
        write_report(settings, collection.results)
    page = report_file(collection.results)
    assert page.stat().st_size < 15e6
    assert sum(tile["picture"] is not None for tile in data_of(page.read_text())["gallery"]) == 200


def test_a_collection_in_which_nothing_was_found_has_a_report(tmp_path):
    collection = Collection(tmp_path)
    collection.add("a.png", status="error", reason="why")
    page = collection.report()
    assert "nothing was detected" not in page  # the failed attempt has its row of the ledger
    assert data_of(page)["candidates"]["total"] == 0
    assert len(read_csv(summary_file(collection.results))) == 1
