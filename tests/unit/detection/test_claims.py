"""Claims: of many processes one gets a chunk, and none is lost with its holder."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samfleet.detection import claims
from samfleet.detection.claims import GONE_AFTER_SECONDS, Claims, Standing
from samfleet.detection.draw import Draw
from samfleet.plan.shards import Chunk

PROCESSES, SHARDS, CHUNKS = 64, 8, 20
HERE = [Chunk(f"{s:04d}", n, n - 1, 1, 1.0) for s in range(SHARDS) for n in range(1, CHUNKS + 1)]
CHUNK = Chunk("0001", 7, 0, 1, 1.0)

_JOB = """
import sys, time
from pathlib import Path
from samfleet.detection.claims import Claims
from samfleet.detection.draw import Draw
from samfleet.plan.shards import Chunk
folder, number, shards, count, patience = Path(sys.argv[1]), *map(int, sys.argv[2:])
chunks = [Chunk(f"{s:04d}", n, n - 1, 1, 1.0) for s in range(shards) for n in range(1, count + 1)]
shard = f"{number % shards:04d}"
while not (folder / "go").exists():
    time.sleep(0.005)
with Claims(folder / "chunks", f"{number:04d}x") as claims:
    draw = Draw(claims, shard, chunks)
    while taken := draw.take():
        chunk, generation = taken
        print(chunk.shard, chunk.number, generation, flush=True)
        time.sleep(patience)
        claims.finish(chunk)
"""


def start(folder: Path, number: int, patience: int = 0) -> subprocess.Popen:
    """A process that draws chunks and finishes each after so many seconds."""
    arguments = [folder, number, SHARDS, CHUNKS, patience]
    return subprocess.Popen(
        [sys.executable, "-c", _JOB, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def drawn(process: subprocess.Popen) -> list[tuple[str, int, int]]:
    """(shard, number of the chunk, number of the claim) of all that a process has drawn."""
    lines = process.communicate(timeout=600)[0].splitlines()
    return [(line.split()[0], *map(int, line.split()[1:])) for line in lines]


def everything() -> list[tuple[str, int]]:
    return sorted((chunk.shard, chunk.number) for chunk in HERE)


def test_sixty_four_processes_claim_every_chunk_once(tmp_path):
    processes = [start(tmp_path, number) for number in range(PROCESSES)]
    (tmp_path / "go").touch()
    got = [chunk for process in processes for chunk in drawn(process)]
    assert sorted((shard, number) for shard, number, _ in got) == everything()


def test_chunks_of_killed_processes_are_drawn_by_others_at_once(tmp_path):
    killed = [start(tmp_path, number, patience=600) for number in range(12)]
    (tmp_path / "go").touch()
    assert all(process.stdout.readline() for process in killed)
    for process in killed:
        process.send_signal(signal.SIGKILL)
        process.wait()
    others = [start(tmp_path, number) for number in range(20, 24)]
    got = [chunk for process in others for chunk in drawn(process)]
    assert sorted((shard, number) for shard, number, _ in got) == everything()
    assert sum(generation == 2 for _, _, generation in got) == len(killed)


@pytest.fixture
def two(tmp_path) -> tuple[Claims, Claims]:
    """The jobs of two shards."""
    return Claims(tmp_path, "0001"), Claims(tmp_path, "0002")


def standing(job: Claims) -> Standing | None:
    return job.standings("0001").get(7)


def claim_of(folder: Path) -> Path:
    return folder / "0001" / "7.1"


def elsewhere(folder: Path) -> None:
    """Let the first claim be one of another machine."""
    path = claim_of(folder)
    stat = path.stat()
    signature = json.loads(path.read_text())
    path.write_text(json.dumps(signature | {"machine": "another", "pid": 1}) + "\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_chunk_is_held_until_its_job_gives_it_up_and_then_another_gets_it_once(two):
    first, second = two
    assert standing(second) is None
    assert first.claim(CHUNK, 1)
    assert not second.claim(CHUNK, 1)
    assert standing(first) == standing(second) == Standing(1, done=False, held=True)
    first.give_up()
    assert standing(second) == Standing(1, done=False, held=False)
    assert second.claim(CHUNK, 2)
    assert not first.claim(CHUNK, 2)
    assert standing(first) == Standing(2, done=False, held=True)


def test_what_is_done_is_neither_held_nor_given_up(two):
    first, second = two
    first.claim(CHUNK, 1)
    first.finish(CHUNK)
    first.give_up()
    assert standing(second) == Standing(1, done=True, held=False)


def test_another_attempt_at_the_shard_has_what_the_first_one_left(two, tmp_path):
    two[0].claim(CHUNK, 1)
    again = Claims(tmp_path, "0001")
    assert standing(again) == Standing(1, done=False, held=False)


def test_the_holder_of_another_machine_is_known_by_its_touch_alone(two, tmp_path):
    first, second = two
    first.claim(CHUNK, 1)
    elsewhere(tmp_path)
    assert standing(second).held
    past = time.time() - GONE_AFTER_SECONDS - 60
    os.utime(claim_of(tmp_path), (past, past))
    assert not standing(second).held


def test_a_process_of_this_machine_holds_its_claim_as_long_as_it_is_there(two, tmp_path):
    """It may have been stopped for a while."""
    two[0].claim(CHUNK, 1)
    os.utime(claim_of(tmp_path), (0, 0))
    assert standing(two[1]).held


def test_the_number_of_an_ended_process_that_another_one_got_holds_nothing(two, tmp_path):
    two[0].claim(CHUNK, 1)
    signature = json.loads(claim_of(tmp_path).read_text())
    claim_of(tmp_path).write_text(json.dumps(signature | {"started": "1"}) + "\n")
    assert not standing(two[1]).held


def test_a_claim_counts_by_the_clock_of_the_file_system(two, tmp_path, monkeypatch):
    """A machine whose clock is an hour ahead takes nothing from anybody."""
    two[0].claim(CHUNK, 1)
    elsewhere(tmp_path)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    assert standing(two[1]).held


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"job": 3}', "\0\xff"])
def test_a_damaged_claim_is_held_while_it_is_fresh_and_then_free(two, tmp_path, content):
    two[0].claim(CHUNK, 1)
    claim_of(tmp_path).write_text(content)
    assert standing(two[1]).held
    past = time.time() - GONE_AFTER_SECONDS - 60
    os.utime(claim_of(tmp_path), (past, past))
    assert not standing(two[1]).held


def kill_holder(path: Path) -> None:
    """Let the process of a claim be one that has ended."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started": "1"}) + "\n")


def test_a_chunk_that_kills_its_jobs_is_left_to_those_of_its_shards_in_the_end(tmp_path):
    """A large image, say: another attempt at the same shard gets more memory."""
    jobs = {name: Claims(tmp_path, name) for name in ("0001", "0002", "0003", "0004")}
    for generation, name in enumerate(("0001", "0002"), start=1):
        assert jobs[name].claim(CHUNK, generation)
        kill_holder(tmp_path / "0001" / f"7.{generation}")
    for name in ("0003", "0004"):
        assert standing(jobs[name]).held
    for name in ("0001", "0002"):
        assert not standing(Claims(tmp_path, name)).held


def test_a_chunk_that_is_given_up_again_and_again_is_not_left_alone(tmp_path):
    for generation in range(1, 10):
        job = Claims(tmp_path, f"{generation:04d}")
        assert job.claim(CHUNK, generation)
        job.give_up()
    assert standing(Claims(tmp_path, "0099")) == Standing(9, done=False, held=False)


def test_a_chunk_over_which_a_job_died_comes_after_everything_else(tmp_path):
    long, short = Chunk("0001", 1, 0, 9, 100.0), Chunk("0001", 2, 9, 1, 1.0)
    Claims(tmp_path, "0001").claim(long, 1)
    kill_holder(tmp_path / "0001" / "1.1")
    draw = Draw(Claims(tmp_path, "0002"), "0002", [long, short, Chunk("0002", 1, 0, 1, 1.0)])
    assert [draw.take()[0].number for _ in range(3)] == [1, 2, 1]
    assert draw.take() is None


def test_files_that_are_no_claims_are_passed_over(two, tmp_path):
    two[0].claim(CHUNK, 1)
    for name in ("7.1.tmp", "7.damaged", "x.1", ".nfs0001", "99"):
        (tmp_path / "0001" / name).touch()
    assert two[1].standings("0001").keys() == {7}


def test_a_job_touches_what_it_holds_while_it_works(two, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    with two[0] as job:
        job.claim(CHUNK, 1)
        elsewhere(tmp_path)
        os.utime(claim_of(tmp_path), (0, 0))
        end = time.monotonic() + 60
        while not standing(two[1]).held:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert not standing(two[1]).held


def test_a_job_whose_claims_were_deleted_goes_on(two, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.02)
    with two[0] as job:
        job.claim(CHUNK, 1)
        claim_of(tmp_path).unlink()
        claim_of(tmp_path).parent.rmdir()
        time.sleep(0.1)
        job.finish(CHUNK)
    assert standing(two[1]).done


def test_who_has_claimed_a_chunk_is_known(two):
    two[0].claim(CHUNK, 1)
    two[1].claim(CHUNK, 2)
    assert two[0].holders(CHUNK) == {"0001", "0002"}


def order(shard: str, chunks: list[Chunk], folder: Path) -> list[tuple[str, int]]:
    draw = Draw(Claims(folder, shard), shard, chunks)
    taken = []
    with contextlib.suppress(TypeError):
        while True:
            chunk, _ = draw.take()
            taken.append((chunk.shard, chunk.number))
    return taken


def test_long_chunks_come_before_short_ones_and_ones_own_before_others(tmp_path):
    lengths = (60.0, 58.0, 15.0, 2.0)
    chunks = [
        Chunk(shard, n, n, 1, seconds)
        for shard in ("0001", "0002", "0003")
        for n, seconds in enumerate(lengths, start=1)
    ]
    own = [("0002", 1), ("0002", 2)]
    others = [("0003", 2), ("0003", 1), ("0001", 2), ("0001", 1)]
    short = [(shard, 3) for shard in ("0002", "0003", "0001")]
    shortest = [(shard, 4) for shard in ("0002", "0003", "0001")]
    assert order("0002", chunks, tmp_path) == [*own, *others, *short, *shortest]
    assert order("0001", chunks, tmp_path) == []


def test_a_chunk_that_is_given_up_while_a_job_works_is_drawn_in_the_end(tmp_path):
    first = Claims(tmp_path, "0001")
    first.claim(CHUNK, 1)
    chunks = [CHUNK, Chunk("0002", 1, 0, 1, 1.0)]
    draw = Draw(Claims(tmp_path, "0002"), "0002", chunks)
    assert draw.take() == (chunks[1], 1)
    assert draw.next() is None and draw.take() is None
    first.give_up()
    assert draw.next() == CHUNK
    assert draw.take() == (CHUNK, 2)
    assert draw.take() is None
