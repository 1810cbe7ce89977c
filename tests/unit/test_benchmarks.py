"""Benchmarks that fill a store by hand go on doing so when the store has more columns."""

from benchmarks.report import measure, prepare
from samfleet.cells import read_csv
from samfleet.results import summary_file
from tests.reported import data_of


def test_the_benchmark_of_the_report_writes_one_with_pictures(tmp_path):
    prepare(tmp_path, 30, 4)
    assert measure(tmp_path)["page_mb"] > 1
    rows = read_csv(summary_file(tmp_path / "results"))
    assert [row["n_candidates"] for row in rows] == ["4"] * 30
    data = data_of((tmp_path / "results" / "report.html").read_text())
    assert sum(data["candidates"]["counts"]) == 120
    assert all(tile["picture"] is not None and tile["outlines"] for tile in data["gallery"])
