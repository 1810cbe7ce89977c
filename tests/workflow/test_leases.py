"""One device, one job: many shards on pretended devices, jobs killed in the middle."""

import datetime
import itertools
import re
import time

import psutil
import pytest

_LEASE = re.compile(r"^(\S+ \S+) INFO (leased|released) device (\w+)$", re.MULTILINE)


def detect_processes(snakemake: psutil.Process) -> list[psutil.Process]:
    """The running detection jobs, without their workers."""
    jobs = []
    for process in offspring(snakemake):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if len(command) == 2 and command[1].endswith("detect.py"):
            jobs.append(process)
    return jobs


def offspring(process: psutil.Process) -> list[psutil.Process]:
    """The running processes that a process started, and those that they did; none if it ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


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


def most_at_a_time(intervals: list[tuple[float, float]]) -> int:
    """The largest number of intervals that share an instant."""
    return max(sum(a <= start < b for a, b in intervals) for start, _ in intervals)


@pytest.fixture
def shards_of_one(workspace):
    """Six images, each in a shard of its own."""
    for number in range(6):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"min_seconds": 0}
    return workspace


def test_no_device_is_held_twice_and_a_killed_job_loses_its_lease(shards_of_one):
    workspace = shards_of_one
    workspace.config["devices"] = ["gpu0", "gpu1", "gpu2", "gpu3"]
    killed: dict[int, float] = {}
    snakemake = workspace.start("--resources", "gpu=4", cores=4)
    while snakemake.poll() is None:
        working = [job for job in detect_processes(snakemake) if offspring(job)]
        if len(killed) < 2 and len(working) > 1:
            job = next((job for job in working if job.pid not in killed), None)
            if job is not None:
                workers = offspring(job)
                job.kill()
                killed[job.pid] = time.time()
                gone, alive = psutil.wait_procs(workers, timeout=300)
                assert gone and not alive, "workers must end with the job that started them"
        time.sleep(0.2)
    assert snakemake.returncode == 0, workspace.output.read_text()
    assert len(killed) == 2

    assert {row["status"] for row in workspace.summary().values()} == {"ok"}
    assert len(workspace.summary()) == 6
    held = leases(workspace.output.read_text())
    assert set(held) == {"gpu0", "gpu1", "gpu2", "gpu3"}
    open_ends = 0
    for device, intervals in held.items():
        for (_, stop), (start, _) in itertools.pairwise(intervals):
            died = stop == float("inf") and any(when <= start for when in killed.values())
            assert stop <= start or died, (device, intervals)
        open_ends += sum(stop == float("inf") for _, stop in intervals)
    assert open_ends == 2  # of the jobs that were killed


def test_eight_gpus_work_at_one_time(shards_of_one):
    workspace = shards_of_one
    workspace.config["devices"] = [f"gpu{number}" for number in range(8)]
    for number in range(6, 10):
        workspace.add_image(f"{number}.png", number)
    run = workspace.run("--resources", "gpu=8", cores=8)
    assert run.detections == 10
    held = leases(run.output)
    assert len(held) == 8
    assert most_at_a_time([interval for each in held.values() for interval in each]) == 8
    assert all(most_at_a_time(each) == 1 for each in held.values())


def test_too_few_cores_for_the_gpus_are_told(shards_of_one):
    shards_of_one.config["devices"] = ["gpu0", "gpu1", "gpu2"]
    run = shards_of_one.run("--resources", "gpu=3", "--until", "plan", cores=1)
    assert "3 GPUs but only 1 core:" in run.output


def test_without_a_flag_the_visible_devices_are_the_limit(shards_of_one):
    shards_of_one.config["devices"] = ["gpu0", "gpu1"]
    run = shards_of_one.run("--until", "plan", cores=2)
    assert 'gpu=Resource("gpu", 2)' in run.output
