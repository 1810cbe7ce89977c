"""The ledger: one row for every detection of every job, also of jobs that were killed."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from samfleet.files import write_atomic
from samfleet.results import LEDGER_COLUMNS
from samfleet.store.ledger import collect_ledger
from samfleet.store.segments import SCHEMA
from tests.builders import PLAN, stored_rows, write_segment

SECONDS = [column for column in LEDGER_COLUMNS if column.startswith("seconds_")]


def store(results: Path, key: str = "key") -> Path:
    return results / "store" / key


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}.000+00:00"


def collected(results: Path) -> list[dict]:
    count = collect_ledger(results)
    with (results / "ledger.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    return rows


def test_a_row_says_what_was_detected_when_where_and_how_long_it_took(tmp_path):
    seconds = {name: number + 0.25 for number, name in enumerate(SECONDS)}
    where = {"host": "n1", "device": 'GPU 0, "left"', "shard": "0003", "points_per_batch": 64}
    write_segment(store(tmp_path), "a", stored_rows("A", 3, when=at(1), **where, **seconds))
    (row,) = collected(tmp_path)
    assert list(row) == list(LEDGER_COLUMNS)
    assert {name: float(row[name]) for name in SECONDS} == seconds
    expected = {"when": at(1), "image_id": "A", "model_key": "key", "plan": PLAN, "status": "ok"}
    expected |= {name: str(value) for name, value in where.items()}
    assert expected.items() <= row.items()


def test_the_jobs_of_all_model_keys_are_joined_in_the_order_of_time(tmp_path):
    write_segment(store(tmp_path), "job2", stored_rows("B", when=at(2)))
    write_segment(store(tmp_path), "job1", stored_rows("C", when=at(3)))
    write_segment(store(tmp_path, "other"), "job3", stored_rows("A", 0, when=at(1)))
    rows = [(row["image_id"], row["model_key"]) for row in collected(tmp_path)]
    assert rows == [("A", "other"), ("B", "key"), ("C", "key")]


def test_detections_at_one_time_stand_in_the_order_of_their_ids(tmp_path):
    for job, image_id in (("job1", "B"), ("job2", "A")):
        write_segment(store(tmp_path), job, stored_rows(image_id, when=at(1)))
    assert [row["image_id"] for row in collected(tmp_path)] == ["A", "B"]


def test_every_detection_of_an_image_has_a_row(tmp_path):
    again = stored_rows("A", 2, when=at(3))
    changed = stored_rows("A", status="changed", when=at(2))
    write_segment(store(tmp_path), "a", stored_rows("A", 2, when=at(1)), changed)
    write_segment(store(tmp_path), "b", again)
    assert [row["status"] for row in collected(tmp_path)] == ["ok", "changed", "ok"]


def test_what_a_job_left_when_it_was_killed_while_it_merged_counts_once(tmp_path):
    images = [stored_rows("A", 2, when=at(1)), stored_rows("B", when=at(2))]
    write_segment(store(tmp_path), "a", *images, flush_every=1)
    write_segment(store(tmp_path), "a", images[0])  # a flush that is there still
    assert len(list(store(tmp_path).iterdir())) == 2
    assert [row["image_id"] for row in collected(tmp_path)] == ["A", "B"]


def test_what_a_job_merges_meanwhile_is_in_the_ledger(tmp_path, monkeypatch):
    images = [stored_rows("A", 2, when=at(1)), stored_rows("B", when=at(2))]
    write_segment(store(tmp_path), "a", *images, flush_every=1)
    listed = {"a-00000.parquet": 9, "a-00001.parquet": 9}
    monkeypatch.setattr("samfleet.store.ledger.segments_on_disk", lambda _: listed)
    assert [row["image_id"] for row in collected(tmp_path)] == ["A", "B"]


def test_segments_that_cannot_be_read_are_left_out_and_said_in_one_line(tmp_path, caplog):
    write_segment(store(tmp_path), "a", stored_rows("A", when=at(1)))
    older = SCHEMA.empty_table().drop_columns(["when", "host"])
    for name in ("b", "c"):
        write_atomic(store(tmp_path, "older") / f"{name}.parquet", "")
        pq.write_table(older, store(tmp_path, "older") / f"{name}.parquet")
    assert [row["image_id"] for row in collected(tmp_path)] == ["A"]
    (line,) = [r.message for r in caplog.records if "not in the ledger" in r.message]
    assert "2 segments" in line
    assert len(list(store(tmp_path, "older").iterdir())) == 2


def test_a_cell_that_would_be_a_formula_gets_an_apostrophe(tmp_path):
    write_segment(store(tmp_path), "a", stored_rows("A", when=at(1), device="=gpu", host="-3"))
    assert (collected(tmp_path)[0]["device"], collected(tmp_path)[0]["host"]) == ("'=gpu", "-3")


def test_no_job_leaves_a_ledger_without_rows(tmp_path):
    assert collected(tmp_path) == []
    assert (tmp_path / "ledger.csv").read_text().strip() == ",".join(LEDGER_COLUMNS)


def test_what_a_failed_image_lacks_stays_empty(tmp_path):
    write_segment(store(tmp_path), "a", stored_rows("A", status="unreadable", when=at(1)))
    (row,) = collected(tmp_path)
    assert row["seconds_decoding"] == row["points_per_batch"] == ""


def test_the_ledgers_numbers_keep_their_precision(tmp_path):
    write_segment(store(tmp_path), "a", stored_rows("A", when=at(1), seconds_encoding=0.1234567))
    assert collected(tmp_path)[0]["seconds_encoding"] == "0.1234567"
    assert pa.types.is_float64(SCHEMA.field("seconds_encoding").type)
