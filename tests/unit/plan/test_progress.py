"""How far a plan is, from the heartbeats of its jobs."""

import io
import itertools
import os
import time

import pytest

from samfleet import cli
from samfleet.cli.status import _counts as status_counts
from samfleet.detection import claims
from samfleet.detection.claims import Claims
from samfleet.plan.progress import (
    SILENT_SECONDS,
    Beat,
    duration,
    in_words,
    progress_of,
    read_beat,
    write_beat,
)
from samfleet.plan.record import PlannedShard
from samfleet.plan.shards import Chunk, write_chunks
from samfleet.plan.watching import ProgressLines
from samfleet.results import beat_file, chunks_file, chunks_folder, done_file, last_plan_file
from tests.builders import plan_of

SHARDS = tuple(PlannedShard(f"{n:04d}", 100, 60.0) for n in range(1, 5))
PLAN = plan_of(*SHARDS, images=400)


@pytest.fixture
def results(tmp_path):
    last_plan_file(tmp_path).parent.mkdir()
    last_plan_file(tmp_path).write_text(PLAN.to_json())
    return tmp_path


def beat(results, shard: int, ago: float = 0.0, **columns) -> None:
    """A heartbeat that was written so many seconds ago."""
    path = beat_file(results, "P", f"{shard:04d}")
    present = {"host": "node1", "device": f"gpu{shard}", "state": "detecting"}
    write_beat(path, Beat(**present | columns))
    os.utime(path, (time.time() - ago,) * 2)


def done(results, shard: int) -> None:
    path = done_file(results, "P", f"{shard:04d}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")


def test_jobs_are_added_up_and_the_time_left_follows_from_their_rates(results):
    beat(results, 1, recorded=60, failed=2, rate=2.0)
    beat(results, 2, recorded=40, rate=1.0)
    beat(results, 3, state="loading")
    progress = progress_of(results, PLAN)
    assert (progress.images, progress.recorded, progress.failed) == (400, 100, 2)
    assert progress.seconds_left == 300 / 3
    assert [job.state for job in progress.jobs] == ["detecting", "detecting", "loading", "waiting"]
    assert in_words(progress) == (
        "25%: 100 of 400 images, 3 a second, 2 min left, 2 images failed, by device gpu1: 2, gpu2: 1, "
        "1 loading the model, 1 waiting"
    )


def test_a_large_image_shows_how_far_it_is(results):
    beat(results, 1, tiles=(40, 361), recorded=1, rate=0.5)
    assert "gpu1" not in in_words(progress_of(results, PLAN))  # the only device
    assert "on 1 device, at an image with 40 of 361 tiles, 3 waiting" in in_words(
        progress_of(results, PLAN)
    )
    beat(results, 2, tiles=(500, 361))  # it is looked at again, in smaller tiles
    beat(results, 3, tiles=(3, 4))  # is done in a moment
    assert "at images with 40 of 361 tiles, 500 tiles" in in_words(progress_of(results, PLAN))


def test_a_job_that_stopped_breathing_is_silent_and_adds_no_speed(results):
    beat(results, 1, recorded=60, rate=2.0)
    beat(results, 2, ago=SILENT_SECONDS + 60, recorded=40, rate=1.0)
    progress = progress_of(results, PLAN)
    (silent,) = progress.in_state("silent")
    assert (silent.shard, progress.rate, progress.recorded) == ("0002", 2.0, 100)
    assert "1 silent for 3 min" in in_words(progress)
    done(results, 2)  # its record says more than its silence
    assert not progress_of(results, PLAN).in_state("silent")


def test_jobs_that_were_stopped_or_failed_are_counted_apart_from_images_that_failed(
    results, capsys
):
    beat(results, 1, recorded=60, failed=2, rate=2.0)
    beat(results, 2, recorded=20, state="stopped")
    beat(results, 3, recorded=20, state="stopped")
    beat(results, 4, state="failed")
    words = in_words(progress_of(results, PLAN))
    assert words.endswith("2 min left, 2 images failed, on 1 device, 2 jobs stopped, 1 job failed")
    beat(results, 4, state="a word of another version")
    assert cli.main(["status", "--results", str(results)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(" 0")]
    assert [line[0] for line in lines] == ["0002", "0003", "0001", "0004"]


def test_a_plan_that_was_carried_out_is_done_whatever_heartbeats_say(results):
    for shard in range(1, 5):
        done(results, shard)
    beat(results, 1, state="ended", recorded=70)
    progress = progress_of(results, PLAN)
    assert progress.is_done
    assert (progress.recorded, progress.seconds_left) == (400, None)


def test_images_that_a_killed_job_detects_again_do_not_count_twice(results):
    for shard in range(1, 5):
        beat(results, shard, recorded=120)
    assert progress_of(results, PLAN).recorded == 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"host": 1}',
        '{"host": "a", "device": "b", "state": "x", "recorded": "7"}',
        '{"host": "a", "device": "b", "state": "x", "job": ["7"]}',
    ],
)
def test_a_damaged_heartbeat_is_none(results, text):
    path = beat_file(results, "P", "0001")
    beat(results, 1)
    path.write_text(text)
    assert read_beat(path) is None
    assert progress_of(results, PLAN).jobs[0].state == "waiting"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (91, "2 min"),
        (3599, "1 h 0 min"),
        (12000, "3 h 20 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_lines_of_a_log_come_when_something_has_changed_and_ever_more_seldom(results, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    said: list[str] = []
    lines = ProgressLines(results, said.append)
    lines.look()
    assert not said  # no job is at work
    moments = []
    for second in range(1, 2000):
        now[0] += 1
        beat(results, 1, recorded=second // 20, rate=0.05)
        before = len(said)
        lines.look()
        moments += [second] * (len(said) - before)
    assert moments[0] == 10
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert min(gaps) >= 10 and gaps[-1] >= 90
    assert said[-1].startswith("samfleet: 24%: ")


def test_a_bar_is_kept_up_on_a_terminal_and_makes_way(results):
    screen = io.StringIO()
    lines = ProgressLines(results, lambda line: None, screen)
    beat(results, 1, recorded=200, rate=2.0)
    lines.look()
    assert "━" * 10 + "─" * 10 + " 50%: 200 of 400 images" in screen.getvalue()
    assert screen.getvalue().endswith("\r")
    lines.end()
    assert screen.getvalue().endswith("\x1b[2K")


def test_the_status_of_a_run_names_every_job(results, capsys):
    beat(results, 1, recorded=60, failed=2, rate=2.0)
    beat(results, 2, ago=1000, device="[red]odd[/]")
    assert cli.main(["status", "--results", str(results)]) == 0
    out = capsys.readouterr().out
    assert "15%: 60 of 400 images" in out
    lines = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(" 0")
    }
    assert lines["0001"] == ["detecting", "node1", "gpu1", "60", "2", "2"]
    assert lines["0002"][:5] == ["silent", "for", "17", "min", "node1"]
    assert "[red]odd[/]" in out
    assert out.index("0002") < out.index("0001")  # what to look at comes first
    for shard in range(1, 5):
        done(results, shard)
    assert cli.main(["status", "--results", str(results), "--watch"]) == 0
    assert "100%: 400 of 400" in capsys.readouterr().out


def chunks(results, *counts: int) -> dict[str, list[Chunk]]:
    """The chunks of the shards, so many of each, ten images long."""
    found = {
        f"{shard:04d}": [
            Chunk(f"{shard:04d}", n, 10 * (n - 1), 10, 60.0) for n in range(1, count + 1)
        ]
        for shard, count in enumerate(counts, start=1)
    }
    write_chunks(chunks_file(results, "P"), [chunk for each in found.values() for chunk in each])
    return found


def rows_of_status(results, capsys) -> dict[str, str]:
    """What the status says of each shard."""
    assert cli.main(["status", "--results", str(results)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    return {line[0]: line[1].rstrip() for line in lines if len(line) > 1 and line[0].isdecimal()}


def test_the_status_says_how_far_the_chunks_of_each_shard_are_and_who_else_is_at_them(
    results, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    planned = chunks(results, 3, 5, 4, 2)
    folder = chunks_folder(results, "P")
    one, two, gone = (Claims(folder, shard) for shard in ("0001", "0002", "0003"))
    for job in (one, two, gone):
        beat(results, int(job.job[:4]), job=job.job)
    for chunk in planned["0001"]:
        assert one.claim(chunk, 1)
        one.finish(chunk)
    assert one.claim(planned["0002"][4], 1)  # its own are done
    assert two.claim(planned["0002"][0], 1) and two.claim(planned["0002"][1], 1)
    two.finish(planned["0002"][0])
    assert gone.claim(planned["0003"][0], 1) and gone.claim(planned["0003"][1], 1)
    gone.finish(planned["0003"][0])
    beat(results, 3, ago=SILENT_SECONDS + 60, job=gone.job)
    told = rows_of_status(results, capsys)
    assert told["0001"].endswith(" 3 of 3 done")
    assert told["0002"].endswith(" 1 of 5 done, 2 at work (1 by job 0001)")
    assert told["0003"].endswith(" 1 of 4 done")  # its job is silent: what it had is free
    assert told["0004"].endswith(" 0 of 2 done")

    assert one.claim(planned["0003"][1], 2)  # taken over
    two.give_up()
    beat(results, 2, state="failed", job=two.job)
    again = Claims(folder, "0002")  # claims of its earlier attempt are not its own
    told = rows_of_status(results, capsys)
    assert told["0002"].endswith(" 1 of 5 done, 1 at work (1 by job 0001)")
    assert told["0003"].endswith(" 1 of 4 done, 1 at work (1 by job 0001)")
    beat(results, 2, job=again.job)
    assert again.claim(planned["0002"][1], 2)
    assert rows_of_status(results, capsys)["0002"].endswith(
        " 1 of 5 done, 2 at work (1 by job 0001)"
    )


def test_many_helpers_of_a_shard_are_counted_and_claims_that_cannot_be_read_are_nobodys(
    results, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    (results / "plan" / "last.json").write_text(
        plan_of(*(PlannedShard(f"{n:04d}", 90, 60.0) for n in range(1, 7)), images=540).to_json()
    )
    planned = chunks(results, 9, 9, 9, 9, 9, 9)
    folder = chunks_folder(results, "P")
    for shard in range(2, 7):
        job = Claims(folder, f"{shard:04d}")
        assert job.claim(planned["0001"][shard], 1)
        beat(results, shard, job=job.job)
    (folder / "0001" / "1.1").write_text("{")
    told = rows_of_status(results, capsys)
    assert told["0001"].endswith(" 0 of 9 done, 5 at work (5 by 5 other jobs)")

    (folder / "0002").write_text("no folder")
    assert rows_of_status(results, capsys)["0002"].endswith(" 0")  # failed; of its chunks nothing

    chunks_file(results, "P").write_text("damaged")
    status_counts.cache_clear()
    assert rows_of_status(results, capsys)["0001"].split() == ["waiting", "0"]


def test_of_thousands_of_chunks_the_status_reads_only_those_that_are_begun(
    results, capsys, monkeypatch
):
    planned = chunks(results, 500)
    job = Claims(chunks_folder(results, "P"), "0001")
    beat(results, 1, job=job.job)
    for chunk in planned["0001"][:400]:
        assert job.claim(chunk, 1)
    for chunk in planned["0001"][:398]:
        job.finish(chunk)
    read = []
    original = claims._read
    monkeypatch.setattr(claims, "_read", lambda path: read.append(path) or original(path))
    before = sorted((results / "plan").rglob("*"))
    monkeypatch.setenv("COLUMNS", "200")
    assert rows_of_status(results, capsys)["0001"].endswith(" 398 of 500 done, 2 at work")
    assert len(read) == 2
    assert sorted((results / "plan").rglob("*")) == before  # a status leaves no trace


def test_without_a_plan_there_is_no_status(tmp_path, capsys):
    assert cli.main(["status", "--results", str(tmp_path)]) == 2
    assert "there is no plan" in capsys.readouterr().err
