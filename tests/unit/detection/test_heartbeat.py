"""What a job says of itself while it lives."""

import signal
import time

import pytest

from samfleet.detection.heartbeat import Heartbeat
from samfleet.detection.recording import Recorder
from samfleet.detection.stopping import Stopped
from samfleet.detection.unfinished import UnfinishedImages
from samfleet.plan.progress import read_beat
from tests.builders import stored_rows


def wait_for(path, state: str) -> None:
    for _ in range(500):
        if (beat := read_beat(path)) and beat.state == state:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} does not say {state}: {beat}")


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path / "store", "P", "0001", flush_seconds=1000)


@pytest.fixture
def unfinished(recorder) -> UnfinishedImages:
    return UnfinishedImages(recorder.store, 1000)


def record(recorder, *identities: str, **columns) -> None:
    for identity in identities:
        recorder.add(stored_rows(identity, 0, **columns), {})


def test_a_job_says_how_many_images_it_has_and_how_it_ends(tmp_path, recorder, unfinished):
    path = tmp_path / "beat.json"
    with Heartbeat(path, recorder, unfinished, "gpu0", "0001-a", every=0.01):
        assert read_beat(path).state == "loading"
        record(recorder, "A", "B")
        wait_for(path, "detecting")
        record(recorder, "C", status="error", reason="x")
        recorder.flush()
    beat = read_beat(path)
    assert (beat.state, beat.device) == ("ended", "gpu0")
    assert (beat.recorded, beat.failed, beat.written) == (3, 1, 3)
    assert beat.rate > 0


def test_a_job_that_is_at_a_large_image_says_at_which_tile(tmp_path, recorder, unfinished):
    path = tmp_path / "beat.json"
    with Heartbeat(path, recorder, unfinished, "gpu0", "0001-a", every=0.01):
        tiles = unfinished.begin("A", 30)
        tiles |= dict.fromkeys([(64, (x, 0, x + 64, 64)) for x in range(3)])
        wait_for(path, "detecting")
        assert read_beat(path).place == "3 of 30 tiles"
        tiles |= dict.fromkeys([(32, (x, 0, x + 32, 32)) for x in range(40)])
        assert unfinished.tiles == (43, 30)
        unfinished.end()
        path.unlink()
        wait_for(path, "detecting")  # its masks are measured
        record(recorder, "A")
    assert read_beat(path).place == ""


def test_the_next_attempt_counts_on_from_what_reached_the_disk(tmp_path, recorder, unfinished):
    path = tmp_path / "beat.json"
    with (
        pytest.raises(RuntimeError),
        Heartbeat(path, recorder, unfinished, "gpu0", "0001-a", every=0.01),
    ):
        record(recorder, "A", "B")
        recorder.flush()
        record(recorder, "C")
        wait_for(path, "detecting")
        raise RuntimeError("the device fails")
    assert read_beat(path).state == "failed"
    assert (read_beat(path).recorded, read_beat(path).written) == (3, 2)
    again = Recorder(tmp_path / "store", "P", "0001", flush_seconds=1000)
    with Heartbeat(path, again, unfinished, "gpu1", "0001-a", every=1000):
        assert read_beat(path).recorded == 2
        record(again, "C", "D")
    assert read_beat(path).recorded == 4


def test_a_job_that_a_signal_ends_has_not_failed(tmp_path, recorder, unfinished):
    path = tmp_path / "beat.json"
    with pytest.raises(Stopped), Heartbeat(path, recorder, unfinished, "gpu0", "0001-a"):
        raise Stopped(signal.SIGTERM)
    assert read_beat(path).state == "stopped"


def test_a_disk_that_cannot_be_written_to_ends_no_job(tmp_path, recorder, unfinished):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with Heartbeat(blocked / "beat.json", recorder, unfinished, "gpu0", "0001-a", every=0.01):
        time.sleep(0.05)
