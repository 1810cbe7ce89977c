"""One device, one job: shards on eight pretended devices, jobs and a whole run killed in the middle."""

import contextlib
import datetime
import itertools
import re
import time

import psutil
import pytest

from tests.workflow.conftest import Workspace, detect_processes, offspring, table_bytes

pytestmark = pytest.mark.slow

GPUS = 8
PATIENCE = 1800
"""Seconds after which something hangs, also on a busy machine."""
_LEASE = re.compile(r"^(\S+ \S+) INFO (leased|released) device (\w+)$", re.MULTILINE)


def leases(output: str) -> dict[str, list[tuple[float, float]]]:
    """For every device the intervals in which jobs held it, from what a run printed.

    A job that was killed releases nothing: its interval ends when the next job begins, or never.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for when, what, device in _LEASE.findall(output):
        intervals = found.setdefault(device, [])
        if what == "leased":
            intervals.append((_seconds(when), float("inf")))
        else:
            intervals[-1] = (intervals[-1][0], _seconds(when))
    return found


def _seconds(when: str) -> float:
    return datetime.datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").timestamp()


def has_worker(job: psutil.Process) -> bool:
    """Whether a worker is ready: its second thread waits for the end of the job."""
    try:
        return any(process.num_threads() > 1 for process in offspring(job))
    except psutil.Error:
        return False


def freeze_holders(snakemake: psutil.Popen, count: int, known: list[psutil.Process]) -> None:
    """Stop every job that has a device and then a worker, until so many are in `known`."""
    end = time.monotonic() + PATIENCE
    while len(known) < count:
        assert snakemake.poll() is None and time.monotonic() < end
        for job in detect_processes(snakemake):
            if job not in known and has_worker(job):
                job.suspend()
                known.append(job)
        time.sleep(0.05)


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            process.kill()
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert not alive


def test_every_gpu_is_held_by_one_job_and_whatever_is_killed_leaves_it_to_another(
    workspace, tmp_path
):
    for number in range(GPUS):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"min_seconds": 0, "flush_seconds": 0}
    workspace.config["devices"] = [f"gpu{number}" for number in range(GPUS)]

    snakemake = workspace.start("--resources", f"gpu={GPUS}", cores=GPUS)
    jobs: list[psutil.Process] = []
    freeze_holders(snakemake, GPUS, jobs)
    held = leases(workspace.output.read_text())
    assert {device: len(intervals) for device, intervals in held.items()} == dict.fromkeys(
        workspace.config["devices"], 1
    )

    killed = []
    for job in jobs[:2]:
        workers = offspring(job)
        kill([job])
        killed.append(time.time())
        gone, alive = psutil.wait_procs(workers, timeout=PATIENCE)
        assert gone and not alive, "workers must end with the job that started them"
    freeze_holders(snakemake, GPUS + 2, jobs)  # the others still hold theirs
    for job in jobs[GPUS:]:
        job.resume()
    while len(workspace.ledger()) < 2:
        assert snakemake.poll() is None, workspace.output.read_text()
        time.sleep(0.05)
    taken_again = 0
    for device, intervals in leases(workspace.output.read_text()).items():
        for (_, stop), (start, _) in itertools.pairwise(intervals):
            died = stop == float("inf") and any(when <= start for when in killed)
            assert stop <= start or died, (device, intervals)
            taken_again += died
    assert taken_again == 2

    kill([*snakemake.children(recursive=True), snakemake])
    assert len(workspace.ledger()) == 2
    workspace.run("--unlock")
    resumed = workspace.run("--resources", "gpu=3", cores=3)
    assert resumed.detections == GPUS - 2
    assert {row["status"] for row in workspace.summary().values()} == {"ok"}
    assert len(workspace.summary()) == GPUS
    held = leases(resumed.output)
    assert set(held) == {"gpu0", "gpu1", "gpu2"}
    assert all(a[1] <= b[0] for uses in held.values() for a, b in itertools.pairwise(uses))
    assert {row["device"] for row in workspace.ledger()[2:]} == {"gpu0", "gpu1", "gpu2"}

    alone = Workspace(tmp_path / "alone")
    alone.images.rmdir()
    workspace.images.rename(alone.images)
    alone.run()
    assert table_bytes(alone) == table_bytes(workspace)
