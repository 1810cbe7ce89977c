"""Claims: small files by which the jobs of a plan agree who detects which chunk.

A claim is made with O_EXCL, of which every file system, also a shared one, lets one of several processes succeed.
It is never removed, and is taken over by making the next one of the same chunk, which again one process can do. Its
holder touches it now and then. A claim is a hint: the store decides what is detected, and a claim that is lost or
doubled costs work and no result.
"""

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from samfleet.files import writing
from samfleet.plan.shards import Chunk

BEAT_SECONDS = 20.0
"""How often a job touches its claims."""

GONE_AFTER_SECONDS = 180.0
"""After so long without a touch a claim of another machine may be taken over. NFS shows times that are up to a minute
old."""

DEATHS = 2
"""So many jobs may end over a chunk without giving it up, as for want of memory for one of its images, until it is
left to further attempts at their shards, which have more memory. Else it would end one job after the other."""

_LEFT = "left"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a chunk is that was claimed.

    Attributes:
        generation: the number of its last claim, from 1.
        done: whether it was carried out.
        held: whether a job that seems to be alive is at it, or others are to leave it alone.
        died: whether its last holder, a job of another shard, has ended without giving it up.
    """

    generation: int
    done: bool
    held: bool
    died: bool = False


class Claims:
    """The claims of one job; as a context manager it touches them, and gives up unfinished ones at its end.

    Args:
        folder: the folder of the plan's claims.
        shard: the shard that the job was started for.

    Attributes:
        job: a name that no other attempt at the shard has.
    """

    def __init__(self, folder: Path, shard: str):
        self._folder, self._shard = folder, shard
        self.job = f"{shard}-{secrets.token_hex(4)}"
        self._here = _process(os.getpid())
        self._held: dict[tuple[str, int], Path] = {}
        self._ended = threading.Event()

    def claim(self, chunk: Chunk, generation: int) -> bool:
        """Claim a chunk; whether no other job was faster.

        Raises:
            OSError: the disk is full or cannot be written to.
        """
        path = self._folder / chunk.shard / f"{chunk.number}.{generation}"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                return False
            try:
                os.write(file, f"{json.dumps({'job': self.job, **self._here})}\n".encode())
            finally:
                os.close(file)
        self._held[chunk.shard, chunk.number] = path
        return True

    def finish(self, chunk: Chunk) -> None:
        """Say that a chunk was carried out; its results must be on the disk."""
        path = self._folder / chunk.shard / f"{chunk.number}.done"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self._held.pop((chunk.shard, chunk.number), None)

    def standings(self, shard: str) -> dict[int, Standing]:
        """How far the chunks of a shard are, by number, without those that nobody has claimed yet."""
        last, done = _generations(self._folder / shard)
        found = {number: Standing(last.get(number, 0), True, False) for number in done}
        now: float | None = None
        for number in last.keys() - done:
            if (shard, number) in self._held:
                found[number] = Standing(last[number], False, True)
            else:
                now = self._now() if now is None else now
                found[number] = self._standing(self._folder / shard, number, last[number], now)
        return found

    def holders(self, chunk: Chunk) -> set[str]:
        """The shards of the jobs that have claimed a chunk, as far as the claims can be read."""
        found = set()
        for number, what in _names(self._folder / chunk.shard):
            if number == chunk.number and what.isdecimal():
                found.add(_shard_of(_read(self._folder / chunk.shard / f"{number}.{what}")[0]))
        return found - {""}

    def _now(self) -> float:
        """The time by the clock of the file system, which is not this machine's."""
        clock = self._folder / "clock"
        with writing(clock):
            self._folder.mkdir(parents=True, exist_ok=True)
            clock.touch()
            return clock.stat().st_mtime

    def _standing(self, folder: Path, number: int, generation: int, now: float) -> Standing:
        path = folder / f"{number}.{generation}"
        try:
            late = now - path.stat().st_mtime > GONE_AFTER_SECONDS
            signature, left = _read(path)
        except FileNotFoundError:
            return Standing(generation, False, False)
        # a shard's job is started again only when it has ended
        if left or _shard_of(signature) == self._shard:
            return Standing(generation, False, False)
        if self._is_alive(signature, late):
            return Standing(generation, False, True)
        claims = [_read(folder / f"{number}.{n}") for n in range(1, generation + 1)]
        deaths = sum(not left for _, left in claims)
        ours = self._shard in {_shard_of(signature) for signature, _ in claims}
        return Standing(generation, False, deaths >= DEATHS and not ours, died=True)

    def _is_alive(self, signature: dict, late: bool) -> bool:
        """Whether the process of a claim is there: on this machine by what it is, else by whether it is late."""
        if not self._here["machine"] or signature.get("machine") != self._here["machine"]:
            return not late
        return signature.get("started") == _started(signature.get("pid"))

    def give_up(self) -> None:
        """Leave unfinished chunks to other jobs."""
        for path in list(self._held.values()):
            with contextlib.suppress(OSError), path.open("a") as file:
                file.write(f"{_LEFT}\n")
        self._held.clear()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            for path in list(self._held.values()):
                with contextlib.suppress(OSError):
                    os.utime(path)

    def __enter__(self) -> Self:
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.give_up()


@dataclass(frozen=True, slots=True)
class Taken:
    """How far the chunks of a shard are, for people: nothing is decided by it.

    Attributes:
        done: how many were carried out.
        jobs: the `Claims.job` that has claimed each of those that are begun, whether it is alive or not.
    """

    done: int
    jobs: list[str]


def taken(folder: Path, shard: str) -> Taken:
    """How far the chunks of a shard are; only claims of chunks that are begun are read, and nothing is written.

    Args:
        folder: the folder of the plan's claims.
        shard: the name of the shard.
    """
    last, done = _generations(folder / shard)
    claims = [_read(folder / shard / f"{number}.{last[number]}") for number in last.keys() - done]
    return Taken(
        len(done), [str(signature.get("job", "")) for signature, left in claims if not left]
    )


def shard_of(job: str) -> str:
    """The shard that a job, by its name in claims, was started for."""
    return job.partition("-")[0]


def _names(folder: Path) -> Iterator[tuple[int, str]]:
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            number, _, what = name.partition(".")
            if number.isdecimal():
                yield int(number), what


def _generations(folder: Path) -> tuple[dict[int, int], set[int]]:
    """The number of the last claim of each chunk that was claimed, and which chunks were carried out."""
    last: dict[int, int] = {}
    done = set()
    for number, what in _names(folder):
        if what == "done":
            done.add(number)
        elif what.isdecimal():
            last[number] = max(int(what), last.get(number, 0))
    return last, done


def _read(path: Path) -> tuple[dict, bool]:
    """What a claim says of its holder, and whether that gave it up; of a claim just made it may be nothing."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        text = ""
    first, _, rest = text.partition("\n")
    try:
        signature = json.loads(first)
    except (ValueError, RecursionError):
        signature = {}
    return signature if isinstance(signature, dict) else {}, _LEFT in rest.split()


def _shard_of(signature: dict) -> str:
    """The shard of the job that has signed a claim; empty if it is not known."""
    return shard_of(str(signature.get("job", "")))


def _process(pid: int) -> dict[str, object]:
    """What tells a process from every other: its machine since that was started, its number, its start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine = f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        machine = ""
    return {"machine": machine, "pid": pid, "started": _started(pid)}


def _started(pid: object) -> str:
    """When a process of this machine was started, in ticks since that was; empty if there is none."""
    try:
        # the name of the program, in brackets, may have spaces
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""
