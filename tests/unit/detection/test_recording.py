"""Recording: results reach the disk as they come, each with its row of the ledger."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from samfleet.detection import recording
from samfleet.detection.recording import Recorder
from samfleet.resources import ROOT
from samfleet.store.index import segments_on_disk
from samfleet.store.segments import read_segment
from tests.builders import job_ledgers, stored_rows


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store" / "key"


def make_recorder(store: Path, flush_seconds: float = 1e9) -> Recorder:
    return Recorder(store, "plan7", "0003", flush_seconds)


def stored(store: Path) -> list[str]:
    rows = [
        row
        for name in segments_on_disk(store)
        for group in read_segment(store / name, ["image_id", "plan"])
        for row in group.to_pylist()
    ]
    assert {row["plan"] for row in rows} <= {"plan7"}
    return list(dict.fromkeys(row["image_id"] for row in rows))


def ledger(tmp_path: Path) -> list[dict]:
    return job_ledgers(tmp_path)


def test_every_fifty_images_reach_the_disk(tmp_path, store):
    recorder = make_recorder(store)
    for number in range(49):
        recorder.add(stored_rows(f"{number}"), {})
    assert stored(store) == ledger(tmp_path) == []
    recorder.add(stored_rows("49"), {})
    assert len(stored(store)) == len(ledger(tmp_path)) == 50


def test_images_reach_the_disk_after_the_configured_seconds(tmp_path, store, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(recording.time, "monotonic", lambda: clock[0])
    recorder = make_recorder(store, flush_seconds=30)
    recorder.add(stored_rows("A"), {})
    clock[0] += 29
    recorder.add(stored_rows("B"), {})
    assert stored(store) == []
    clock[0] += 1
    recorder.add(stored_rows("C"), {})
    assert stored(store) == ["A", "B", "C"]
    clock[0] += 29
    recorder.add(stored_rows("D"), {})
    assert stored(store) == ["A", "B", "C"]


def test_a_flush_brings_everything_to_the_disk(tmp_path, store):
    recorder = make_recorder(store)
    recorder.add(stored_rows("A"), {})
    recorder.flush()
    recorder.flush()
    assert stored(store) == ["A"]
    assert len(segments_on_disk(store)) == 1


def test_a_finished_job_leaves_one_segment(tmp_path, store):
    recorder = make_recorder(store, flush_seconds=0)
    for name in "ABC":
        recorder.add(stored_rows(name), {})
    assert len(segments_on_disk(store)) == 3
    recorder.finish()
    assert len(segments_on_disk(store)) == 1
    assert stored(store) == ["A", "B", "C"]


def test_two_jobs_of_one_shard_do_not_overwrite_each_other(tmp_path, store):
    for name in "AB":
        recorder = make_recorder(store)
        recorder.add(stored_rows(name), {})
        recorder.finish()
    assert sorted(stored(store)) == ["A", "B"]
    assert len(ledger(tmp_path)) == 2


def test_detected_and_failed_images_are_counted(tmp_path, store):
    recorder = make_recorder(store)
    recorder.add(stored_rows("A"), {})
    recorder.add(stored_rows("B", 0), {})
    recorder.add(stored_rows("C", status="unreadable"), {})
    assert (recorder.detected, recorder.failed) == (2, 1)


def test_the_ledger_says_what_was_detected_where_and_how_long_it_took(tmp_path, store):
    recorder = make_recorder(store)
    recorder.add(stored_rows("A", 2), {"device": "gpu0", "seconds_reading": 0.5})
    recorder.add(stored_rows("B", status="unreadable"), {"device": "gpu0"})
    recorder.finish()
    first, second = ledger(tmp_path)
    expected = {"image_id": "A", "status": "ok", "model_key": "key", "plan": "plan7"}
    expected |= {"shard": "0003", "device": "gpu0", "seconds_reading": "0.5"}
    assert expected.items() <= first.items()
    assert first["host"]
    assert first["when"].endswith("+00:00")
    assert (second["image_id"], second["status"]) == ("B", "unreadable")


KILLED = """
import os, signal, sys
from pathlib import Path
from samfleet.detection.recording import Recorder
from samfleet.store.segments import SegmentWriter
from tests.builders import stored_rows

def flush_and_die(writer):
    flush(writer)
    os.kill(os.getpid(), signal.SIGKILL)

flush, SegmentWriter.flush = SegmentWriter.flush, flush_and_die
recorder = Recorder(Path(sys.argv[1]), "plan7", "0003", 1e9)
recorder.add(stored_rows("A", 2), {"device": "gpu0"})
recorder.add(stored_rows("B", status="unreadable"), {"device": "gpu0"})
recorder.flush()
"""


def test_a_job_that_is_killed_at_the_moment_of_its_flush_leaves_no_result_without_a_row(
    tmp_path, store
):
    process = subprocess.run([sys.executable, "-c", KILLED, store], cwd=ROOT)
    assert process.returncode == -signal.SIGKILL
    assert stored(store) == ["A", "B"]
    rows = {row["image_id"]: (row["status"], row["device"]) for row in ledger(tmp_path)}
    assert rows == {"A": ("ok", "gpu0"), "B": ("unreadable", "gpu0")}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [False, True])
def test_whenever_a_job_ends_every_result_has_its_row_and_every_row_its_result(
    tmp_path, monkeypatch, after
):
    """It ends before or after one of five renamings and four removals of files."""
    left, whole = [0], {name: getattr(Path, name) for name in ("replace", "unlink")}

    def patch(name: str) -> None:
        def step(path, *arguments, **options):
            left[0] -= 1
            if left[0] or after:
                whole[name](path, *arguments, **options)
            if not left[0]:
                raise Killed

        monkeypatch.setattr(Path, name, step)

    for name in whole:
        patch(name)
    for moment in range(1, 10):
        results = tmp_path / f"{moment}"
        store, left[0] = results / "store" / "key", moment
        recorder = make_recorder(store, flush_seconds=0)
        with pytest.raises(Killed):
            for image in "ABCD":
                recorder.add(stored_rows(image, 2), {"device": "gpu0"})
            recorder.finish()
        left[0] = -1
        rows = [row["image_id"] for row in ledger(results)]
        assert sorted(rows) == sorted(stored(store)), moment
        assert len(rows) == min(moment - (not after), 4), moment
