"""How far the jobs of a plan are, from the small files in which each says now and then that it lives.

A job writes its file anew every few seconds, so hundreds of jobs cost a network file system little, and whoever
sees the folder of results can read how far they are. Nothing depends on these files: what is detected is decided by
the store. Standard library only, since the Snakefile imports this.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from samfleet.files import read_object, write_atomic
from samfleet.plan.record import Plan
from samfleet.results import beat_file, beats_folder, done_file
from samfleet.wording import counted

BEAT_SECONDS = 10.0
"""How often a job says that it lives."""

SILENT_SECONDS = 120.0
"""After so long a job that has said nothing is shown as silent. NFS shows times that are up to a minute old."""

_MANY_TILES = 20  # of an image that takes long
_NAMED_TILES = 8  # images of which it is said


@dataclass(frozen=True, slots=True)
class Beat:
    """What a job says of itself.

    Attributes:
        host, device: where it runs.
        state: "loading" the model, "detecting", "ended", "failed", or "stopped" by a signal.
        recorded: images that it has recorded, with those of `earlier`.
        failed: how many of these have no masks for a reason.
        written: how many of these are on the disk.
        rate: images a second, since the first one was recorded; 0 before.
        tiles: how many tiles of the image at hand are finished, and of how many; 0 without tiles.
        job: what it calls itself where it claims chunks; no other attempt at its shard has that name.
    """

    host: str
    device: str
    state: str
    recorded: int = 0
    failed: int = 0
    written: int = 0
    rate: float = 0.0
    tiles: tuple[int, int] = (0, 0)
    job: str = ""

    @property
    def place(self) -> str:
        """The tile of a large image that the job is at, in words; nothing where there are a few or none."""
        done, count = self.tiles
        if max(done, count) < _MANY_TILES:
            return ""
        # smaller tiles may follow, the number of which is not known before
        return f"{done} of {count} tiles" if done <= count else f"{done} tiles"


def write_beat(path: Path, beat: Beat) -> None:
    """Write what a job says of itself; a disk that is full or read-only is no reason to end it."""
    with contextlib.suppress(OSError):
        write_atomic(path, json.dumps(asdict(beat)) + "\n")


def read_beat(path: Path) -> Beat | None:
    """What a job said last; None if it said nothing, or nothing that can be read."""
    content = read_object(path)
    try:
        beat = Beat(**content)
        done, count = beat.tiles
        whole = min(beat.recorded, beat.failed, beat.written, done, count) + 0
        named = isinstance(beat.state, str) and isinstance(beat.job, str)
        return beat if whole >= 0 and beat.rate >= 0 and named else None
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Job:
    """How far the job of a shard is.

    Attributes:
        shard: its name.
        images: number of images that were planned for it.
        state: that of its `Beat`, or "waiting", "silent" or "done".
        beat: what it said last; None if it has said nothing.
        silent: seconds since it said something.
    """

    shard: str
    images: int
    state: str
    beat: Beat | None
    silent: float

    @property
    def rate(self) -> float:
        """Images a second at the moment."""
        return self.beat.rate if self.beat and self.state == "detecting" else 0.0

    @property
    def recorded(self) -> int:
        """Images that were recorded, of its shard or drawn from others; 0 if it has said nothing."""
        return self.beat.recorded if self.beat else 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a plan is.

    Attributes:
        images: number of images to detect.
        jobs: its jobs.
    """

    images: int
    jobs: tuple[Job, ...]

    @property
    def recorded(self) -> int:
        """Images that were recorded. A job that was killed detects some again, which are not counted twice."""
        if self.is_done:
            return self.images
        return min(self.images, sum(job.recorded for job in self.jobs))

    @property
    def failed(self) -> int:
        """Images that failed."""
        return sum(job.beat.failed for job in self.jobs if job.beat)

    @property
    def rate(self) -> float:
        """Images a second, of all jobs together."""
        return sum(job.rate for job in self.jobs)

    @property
    def seconds_left(self) -> float | None:
        """How long it will take, if no device comes or goes; None if that is not known."""
        return (self.images - self.recorded) / self.rate if self.rate else None

    @property
    def is_done(self) -> bool:
        """Whether all jobs have ended well."""
        return all(job.state == "done" for job in self.jobs)

    @property
    def at_work(self) -> set[str]:
        """What the jobs that seem to live call themselves."""
        living = self.in_state("loading") + self.in_state("detecting")
        return {job.beat.job for job in living if job.beat and job.beat.job}

    def in_state(self, state: str) -> list[Job]:
        """The jobs that are in a state."""
        return [job for job in self.jobs if job.state == state]


def progress_of(results: Path, plan: Plan) -> Progress:
    """How far the jobs of a plan are."""
    jobs = []
    now = time.time()
    # of thousands of jobs few have said something: two lists of names tell which
    spoken = _names(beats_folder(results, plan.id))
    ended = _names(beats_folder(results, plan.id).parent)
    for planned in plan.shards:
        path = beat_file(results, plan.id, planned.name)
        beat, silent = None, 0.0
        if path.name in spoken:
            beat = read_beat(path)
            with contextlib.suppress(OSError):
                silent = max(0.0, now - path.stat().st_mtime)
        state = beat.state if beat else "waiting"
        if done_file(results, plan.id, planned.name).name in ended:
            state = "done"
        elif state in ("loading", "detecting") and silent > SILENT_SECONDS:
            state = "silent"
        jobs.append(Job(planned.name, planned.images, state, beat, silent))
    return Progress(sum(planned.images for planned in plan.shards), tuple(jobs))


def _names(folder: Path) -> set[str]:
    """The names in a folder; none if it cannot be read."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def last_beat(results: Path, plan: Plan) -> float:
    """When a job of a plan last said something, by the file system's clock; 0 if none has."""
    times = [0.0]
    with contextlib.suppress(OSError):
        for path in beats_folder(results, plan.id).iterdir():
            times.append(path.stat().st_mtime)
    return max(times)


def in_words(progress: Progress) -> str:
    """How far a plan is, on one line."""
    part = progress.recorded / progress.images if progress.images else 1.0
    return ", ".join(
        [f"{part:.0%}: {progress.recorded} of {progress.images} images", *_details(progress)]
    )


def _details(progress: Progress) -> Iterator[str]:
    if rate := progress.rate:
        yield pace(rate)
    if (left := progress.seconds_left) is not None and progress.recorded < progress.images:
        yield f"{duration(left)} left"
    if progress.failed:
        yield f"{counted(progress.failed, 'image')} failed"
    by_device: dict[str, float] = {}
    for job in progress.in_state("detecting"):
        if job.beat:
            name = f"{job.beat.host} {job.beat.device}"
            by_device[name] = by_device.get(name, 0.0) + job.rate
    hosts = {name.split(" ")[0] for name in by_device}
    if 1 < len(by_device) <= 8 and all(by_device.values()):
        named = (
            f"{name.split(' ', 1)[1] if len(hosts) == 1 else name}: {rate:.3g}"
            for name, rate in sorted(by_device.items())
        )
        yield f"by device {', '.join(named)}"
    elif by_device:
        yield f"on {len(by_device)} device{'s' if len(by_device) > 1 else ''}"
    places = [job.beat.place for job in progress.in_state("detecting") if job.beat]
    if places := [place for place in places if place][:_NAMED_TILES]:
        at = "an image" if len(places) == 1 else "images"
        yield f"at {at} with {', '.join(places)}"
    if loading := len(progress.in_state("loading")):
        yield f"{loading} loading the model"
    for state in ("stopped", "failed"):  # and will be started again
        if jobs := len(progress.in_state(state)):
            yield f"{counted(jobs, 'job')} {state}"
    if waiting := len(progress.in_state("waiting")):
        yield f"{waiting} waiting"
    if silent := progress.in_state("silent"):
        yield f"{len(silent)} silent for {duration(max(job.silent for job in silent))}"


def pace(rate: float) -> str:
    """Images a second, or a minute where they are few."""
    return f"{rate:.3g} a second" if rate >= 1 else f"{60 * rate:.3g} a minute"


def duration(seconds: float) -> str:
    """A time in two units at most: 40 s, 7 min, 3 h 20 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
