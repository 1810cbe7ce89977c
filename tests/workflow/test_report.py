"""The report in a run: it follows the tables, and Snakemake's own report carries it."""

import json
import re
import zipfile
from collections import Counter

import pytest

from samfleet.cells import read_csv
from tests.reported import data_of
from tests.workflow.conftest import Run

pytestmark = pytest.mark.slow


def jobs(run: Run) -> Counter:
    """All jobs of a run, by rule."""
    return Counter(re.findall(r"^(?:local)?rule (\w+):$", run.output, re.MULTILINE))


def test_the_report_follows_the_tables_and_marks_are_scored(first_run, detected):
    detected.config["report"] = True
    page = detected.results / "report.html"
    assert jobs(first_run.run)["report"] == 1
    before = data_of(page.read_text())
    assert {tile["image"] for tile in before["gallery"]} == set(detected.summary())
    assert jobs(detected.run())["report"] == 1  # its scores are gone with the evaluation
    assert detected.run().idle

    page.write_text("edited")
    did = jobs(detected.run())
    assert (did["report"], did["summary"]) == (1, 0)

    tile = next(tile for tile in before["gallery"] if tile["count"])
    marks = {"image": tile["image"], "image_id": tile["image_id"], "candidate": 0, "right": True}
    file = {"samfleet_marks": 1, "model_key": before["model_key"], "marks": [marks]}
    (detected.folder / "marks.json").write_text(json.dumps(file))
    detected.config["evaluation"] = {"marks": "marks.json"}
    did = jobs(detected.run())
    assert (did["evaluate_marks"], did["report"]) == (1, 0)  # the page does not show them
    detected.config["fluorescence"]["min_mean_intensity"] = 255
    did = jobs(detected.run())
    assert (did["summary"], did["evaluate_marks"], did["report"]) == (1, 1, 1)
    (scores,) = read_csv(detected.results / "evaluation_marks.csv")
    assert (scores["n_right"], scores["right_kept"], scores["recall"]) == ("1", "0", "0")
    assert data_of(page.read_text())["settings"]["min_mean_intensity"] == 255
    assert detected.run().idle

    (detected.folder / "marks.json").unlink()
    assert "evaluation.marks: there is no file marks.json" in detected.run(fails=True).output
    del detected.config["evaluation"]
    detected.config["report"] = False
    detected.config["fluorescence"]["min_mean_intensity"] = 0
    assert jobs(detected.run())["report"] == 0
    assert not page.exists()


def test_snakemakes_report_has_the_page_the_tables_and_pictures(detected):
    detected.config["report"] = True
    detected.run()
    detected.run("--report", "snakemake.zip")
    with zipfile.ZipFile(detected.folder / "snakemake.zip") as archive:
        names = archive.namelist()
        text = "\n".join(
            archive.read(n).decode(errors="replace")
            for n in names
            if n.endswith((".html", ".js", ".json"))
        )
    for name in ("report.html", "summary.csv", "filtering.csv", "1.jpg"):
        assert any(each.endswith(name) for each in names), names
    for word in ("Tables", "Pictures", "outlines of the objects"):
        assert word in text
