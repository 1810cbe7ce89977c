"""The ledger: one row for every detection of every job, also of jobs that were killed."""

import csv

from samfleet.results import LEDGER_COLUMNS, job_ledger_file
from samfleet.store.ledger import append_rows, collect_ledger


def row(image_id: str, when: str) -> dict:
    return dict.fromkeys(LEDGER_COLUMNS, "0") | {"image_id": image_id, "when": when}


def collected(results) -> list[dict]:
    with (results / "ledger.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_ledgers_of_all_jobs_are_joined_in_the_order_of_time(tmp_path):
    append_rows(job_ledger_file(tmp_path, "job2"), [row("B", "2026-01-01T00:00:02")])
    append_rows(job_ledger_file(tmp_path, "job1"), [row("C", "2026-01-01T00:00:03")])
    append_rows(job_ledger_file(tmp_path, "job2"), [row("A", "2026-01-01T00:00:01")])
    assert collect_ledger(tmp_path) == 3
    assert [found["image_id"] for found in collected(tmp_path)] == ["A", "B", "C"]
    assert collected(tmp_path)[0] == row("A", "2026-01-01T00:00:01")


def test_detections_at_one_time_stand_in_the_order_of_their_ids(tmp_path):
    for job, image_id in (("job1", "B"), ("job2", "A")):
        append_rows(job_ledger_file(tmp_path, job), [row(image_id, "2026-01-01T00:00:01")])
    collect_ledger(tmp_path)
    assert [found["image_id"] for found in collected(tmp_path)] == ["A", "B"]


def test_a_half_written_last_row_is_left_out(tmp_path):
    path = job_ledger_file(tmp_path, "job")
    append_rows(path, [row("A", "1"), row("B", "2")])
    path.write_bytes(path.read_bytes()[:-10])
    assert collect_ledger(tmp_path) == 1
    assert [found["image_id"] for found in collected(tmp_path)] == ["A"]


def test_a_cell_that_would_be_a_formula_gets_an_apostrophe(tmp_path):
    append_rows(
        job_ledger_file(tmp_path, "job"), [row("A", "1") | {"device": "=gpu", "host": "-3"}]
    )
    collect_ledger(tmp_path)
    assert (collected(tmp_path)[0]["device"], collected(tmp_path)[0]["host"]) == ("'=gpu", "-3")


def test_no_job_leaves_a_ledger_without_rows(tmp_path):
    assert collect_ledger(tmp_path) == 0
    assert (tmp_path / "ledger.csv").read_text().strip() == ",".join(LEDGER_COLUMNS)


def test_what_a_failed_image_lacks_stays_empty(tmp_path):
    append_rows(job_ledger_file(tmp_path, "job"), [{"image_id": "A", "when": "1"}])
    collect_ledger(tmp_path)
    assert collected(tmp_path)[0]["seconds_decoding"] == ""
