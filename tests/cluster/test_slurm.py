"""Real runs on a real Slurm with pretended GPUs: who gets which device, and faults of every kind."""

import contextlib
import datetime
import json
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from tests.cluster.testbed import TestBed
from tests.workflow.conftest import CLONE, Workspace

pytestmark = pytest.mark.slow

_MEM_MB = 1450  # more than a detection of small images takes, less than one of the large image
_LARGE, _LARGE_SHARD = "p30.png", "0007"
_RESUMED = r"shard {}, chunk \d+: (\d+) images?, (\d+) to detect"


class Submission:
    """A run of Snakemake on the test bed, and what Slurm said about its jobs meanwhile.

    Attributes:
        samples: for every look at Slurm the records of the jobs that were running.
        jobs: the last record of every job by its number.
    """

    def __init__(self, cluster: TestBed, workspace: Workspace, *arguments: str):
        self.cluster, self.workspace = cluster, workspace
        self.samples: list[list[dict[str, str]]] = []
        self.jobs: dict[str, dict[str, str]] = {}
        self._earlier = {job["JobId"] for job in cluster.jobs()}
        command = workspace.command("--workflow-profile", str(CLONE / "profiles/slurm"), *arguments)
        command[1:3] = [str(Path(__file__).with_name("impatient.py"))]
        cores = command.index("--cores")
        del command[cores : cores + 2]  # would limit the threads that jobs ask for
        self.output = workspace.folder / f"output{time.time_ns()}.txt"
        with self.output.open("w") as output:
            self.process = psutil.Popen(
                ["nice", "-n", "5", *cluster.inside(*command)],
                env=workspace.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def look(self) -> None:
        """Take a sample."""
        jobs = [job for job in self.cluster.jobs() if job["JobId"] not in self._earlier]
        self.samples.append([job for job in jobs if job["JobState"] == "RUNNING"])
        self.jobs |= {job["JobId"]: job for job in jobs}

    def follow(self, step: Callable[[], bool] = lambda: False, seconds: float = 1800) -> None:
        """Take samples until the run ends or `step`, called in between, is true."""
        end = time.monotonic() + seconds
        while not step() and self.process.poll() is None:
            assert time.monotonic() < end, self.output.read_text()[-5000:]
            self.look()
            for _ in range(10):
                time.sleep(0.05)
                if step():
                    return

    def succeeded(self) -> bool:
        """Wait for the end of the run."""
        self.follow()
        return self.process.wait() == 0


def shard_of(job: dict[str, str]) -> str:
    """The shard of a detection job, from the rule and the wildcards in its comment; else nothing."""
    found = re.fullmatch(r"rule_detect_wildcards_.*_(\d+)", job.get("Comment", ""))
    return found[1] if found else ""


def devices_of(job: dict[str, str]) -> list[tuple[str, str]]:
    """The (node, device) pairs that Slurm gave a running job."""
    indices = re.search(r"IDX:([\d,-]+)", job.get("GRES", ""))
    numbers: list[str] = []
    for part in indices[1].split(",") if indices else []:
        first, _, last = part.partition("-")
        numbers += map(str, range(int(first), int(last or first) + 1))
    return [(job["NodeList"], number) for number in numbers]


def ledgers(workspace: Workspace) -> dict[str, list[dict[str, str]]]:
    """The rows of the ledger by job, as far as they tell jobs apart."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in workspace.ledger():
        job = "-".join(row[column] for column in ("plan", "shard", "host", "device"))
        found.setdefault(job, []).append(row)
    return found


def detections(workspace: Workspace) -> Counter:
    """How often each image's content was detected."""
    rows = [row for rows in ledgers(workspace).values() for row in rows]
    return Counter(row["image_id"] for row in rows if row["status"] == "ok")


def begun(workspace: Workspace) -> set[str]:
    """The shards of which some image is recorded."""
    return {row["shard"] for rows in ledgers(workspace).values() for row in rows}


def processes_of(job: str) -> Iterator[psutil.Process]:
    """The processes of a detection in a Slurm job."""
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("SLURM_JOB_ID") == job
                and "detect.py" in process.cmdline()[-1]
            ):
                yield process
        except (psutil.Error, IndexError):
            continue


def freeze(job: str) -> list[psutil.Process]:
    """Stop a job where it is, so that it is in mid-shard when something happens."""
    processes = list(processes_of(job))
    for process in processes:
        process.suspend()
    return processes


def large_image(path: Path) -> None:
    """An image whose masks take more memory than a job asks for at first."""
    pixels = np.zeros((3500, 3500), np.uint8)
    for number in range(3):
        cv2.circle(pixels, (900 * (number + 1), 1700), 300, 200, -1)
    cv2.imwrite(str(path), pixels)


def prepared(folder: Path, images: int, shard: dict) -> Workspace:
    """A workspace whose devices the scheduler hands out."""
    workspace = Workspace(folder)
    for number in range(images):
        workspace.add_image(f"p{number:02d}.png", number)
    workspace.config["devices"] = ["0", "1", "2", "3"]
    workspace.config["shard"] = {"threads": 2, "mem_mb": 3000, "flush_seconds": 0} | shard
    return workspace


@dataclass
class Faults:
    """Breaks jobs in mid-shard: one is cancelled, one hangs until its time is over, one loses its
    node. The large image lets another exceed its memory.

    Attributes:
        victims: the number of the job by what happened to it.
    """

    submission: Submission
    victims: dict[str, str] = field(default_factory=dict)

    def step(self) -> bool:
        """Break what is ready to be broken."""
        cluster = self.submission.cluster
        started = begun(self.submission.workspace)
        for job in self.submission.samples[-1] if self.submission.samples else []:
            shard, number = shard_of(job), job["JobId"]
            if shard not in started or shard == _LARGE_SHARD or number in self.victims.values():
                continue
            if job["NodeList"] == "n2" and "node" not in self.victims:
                freeze(number)
                self.victims["node"] = number
                cluster.slurm("scontrol", "update", "NodeName=n2", "State=down", "Reason=test")
            elif job["NodeList"] == "n1" and "cancelled" not in self.victims:
                freeze(number)
                self.victims["cancelled"] = number
                cluster.slurm("scancel", number)
            elif job["NodeList"] == "n1" and "time" not in self.victims:
                freeze(number)
                self.victims["time"] = number
                cluster.slurm("scontrol", "update", f"JobId={number}", "EndTime=now")
        if "node" in self.victims:
            self._revive_node()
        return False

    def _revive_node(self) -> None:
        """Bring the node back, and its jobs: Slurm would wait two minutes before it starts them."""
        cluster = self.submission.cluster
        if cluster.steps("n2"):
            return  # still ending; the same job must not come to the node a second time
        for job in cluster.jobs():
            if job["JobState"] == "PENDING" and job["Reason"] == "BeginTime":
                cluster.slurm("scontrol", "update", f"JobId={job['JobId']}", "StartTime=now")
        if "down" in cluster.slurm("sinfo", "-hn", "n2", "-o", "%T"):
            cluster.slurm("scontrol", "update", "NodeName=n2", "State=resume")


@pytest.fixture(scope="module")
def faulty(cluster, tmp_path_factory) -> Faults:
    """A run of eight shards of four or five images on eight GPUs, in which jobs meet faults."""
    shard = {"min_seconds": 0.4, "mem_mb": _MEM_MB}
    workspace = prepared(tmp_path_factory.mktemp("faulty") / "work", 36, shard)
    large_image(workspace.images / _LARGE)
    faults = Faults(Submission(cluster, workspace))
    faults.submission.follow(faults.step)
    assert faults.submission.succeeded(), faults.submission.output.read_text()
    return faults


def test_the_faults_happened_and_every_image_is_in_the_summary_once(faulty):
    workspace, jobs = faulty.submission.workspace, faulty.submission.jobs
    assert jobs[faulty.victims["cancelled"]]["JobState"] == "CANCELLED"
    assert jobs[faulty.victims["time"]]["JobState"] == "TIMEOUT"
    assert jobs[faulty.victims["node"]]["Restarts"] == "1"
    assert {job["JobState"] for job in jobs.values()} & {"FAILED", "OUT_OF_MEMORY"}
    assert len(workspace.summary()) == 36
    assert {row["status"] for row in workspace.summary().values()} <= {"ok", "empty"}


def test_an_image_that_needs_more_memory_is_left_to_a_job_that_has_more(faulty):
    workspace, jobs = faulty.submission.workspace, faulty.submission.jobs
    large = workspace.summary()[_LARGE]["image_id"]
    (row,) = (row for row in workspace.ledger() if row["image_id"] == large)
    attempts = [job for job in jobs.values() if shard_of(job) == row["shard"]]
    assert [job["JobState"] for job in attempts][-1] == "COMPLETED"
    assert int(attempts[-1]["MinMemoryNode"].removesuffix("M")) > _MEM_MB
    # each job tries once: in the same job an attempt would have no more memory
    output = faulty.submission.output.read_text()
    killed = {int(n) for n in re.findall(r"StepId=(\d+)\.\d+ exceeded memory limit", output)}
    steps = set(re.findall(r"StepId=(\d+\.\d+) exceeded memory limit", output))
    assert 1 <= len(killed) == len(steps) <= 3


def test_what_jobs_leave_is_resumed_and_no_image_is_detected_twice(faulty):
    workspace = faulty.submission.workspace
    resumed = [shard_of(faulty.submission.jobs[job]) for job in faulty.victims.values()]
    logs = "".join(path.read_text() for path in workspace.results.glob("logs/detect/*.log"))
    for shard in [
        *resumed,
        _LARGE_SHARD,
    ]:  # by another attempt, or by a job that had nothing else left
        found = [tuple(map(int, n)) for n in re.findall(_RESUMED.format(shard), logs)]
        assert any(left < planned for planned, left in found), shard
    assert set(detections(workspace).values()) == {1}
    assert len(detections(workspace)) == 36


def test_each_device_is_used_by_one_job_at_a_time(faulty):
    samples = faulty.submission.samples
    for sample in samples:
        given = [device for job in sample for device in devices_of(job)]
        assert len(set(given)) == len(given)
    used = {}
    for job, rows in ledgers(faulty.submission.workspace).items():
        for row in rows:
            used.setdefault((row["host"], row["device"]), []).append((row["when"], job))
    # a job that comes late may find nothing left
    assert set(used) <= {(node, device) for node in ("n1", "n2") for device in "0123"}
    assert {node for node, _ in used} == {"n1", "n2"}
    for uses in used.values():
        order = [job for _, job in sorted(uses)]
        changes = [job for n, job in enumerate(order) if n == 0 or job != order[n - 1]]
        assert len(set(changes)) == len(changes), "two jobs took turns on one device"


def test_the_ledger_names_the_node_and_the_device_that_slurm_gave(faulty):
    given = {}
    for sample in faulty.submission.samples:
        for job in sample:
            for device in devices_of(job):
                start = datetime.datetime.fromisoformat(job["StartTime"]).timestamp()
                given.setdefault((shard_of(job), *device), set()).add(start)
    for rows in ledgers(faulty.submission.workspace).values():
        for row in rows:
            starts = given[row["shard"], row["host"], row["device"]]
            assert min(starts) <= datetime.datetime.fromisoformat(row["when"]).timestamp()


def test_gpu_jobs_ask_for_what_they_use_and_cpu_jobs_hold_no_gpu(faulty):
    rules = Counter()
    for job in faulty.submission.jobs.values():
        rules[job["Comment"].partition("_wildcards")[0]] += 1
        if shard_of(job):
            assert (job["NumNodes"], job["NumCPUs"]) == ("1", "2")
            assert job["TresPerJob"] == "gres:gpu:1"
            memory = int(job["MinMemoryNode"].removesuffix("M"))
            assert memory in (_MEM_MB, 2 * _MEM_MB, 3 * _MEM_MB)
            assert job["TimeLimit"] != "UNLIMITED"
        else:
            assert job["NumCPUs"] == "1"
            assert {job.get(key, "(null)") for key in ("TresPerJob", "JOB_GRES")} == {"(null)"}
    assert rules["rule_detect"] >= 8 + 2
    assert set(rules) == {"rule_plan", "rule_detect", "rule_summary"}


def test_a_local_run_inside_an_allocation_takes_all_of_its_devices(cluster, tmp_path):
    workspace = prepared(tmp_path / "work", 5, {"min_seconds": 0})
    command = ["salloc", "--nodes=1", "--gpus=4", "--cpus-per-task=4", "--mem=16000"]
    command += ["srun", "--ntasks=1", *workspace.command(cores=4)]
    run = subprocess.run(
        ["nice", "-n", "5", *cluster.inside(*command)],
        env=workspace.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    assert run.returncode == 0, run.stdout
    assert {row["status"] for row in workspace.summary().values()} <= {"ok", "empty"}
    assert 'gpu=Resource("gpu", 4)' in run.stdout
    rows = workspace.ledger()
    assert {row["device"] for row in rows} == {"0", "1", "2", "3"}
    assert len({row["host"] for row in rows}) == 1
    assert set(detections(workspace).values()) == {1}


def test_jobs_outlive_a_killed_snakemake_and_nothing_is_counted_twice(cluster, tmp_path):
    workspace = prepared(tmp_path / "work", 12, {"min_seconds": 0.4})
    first = Submission(cluster, workspace, "--resources", "gpu=3")
    first.follow(lambda: len(begun(workspace)) > 0)
    first.look()
    alive = {job["JobId"] for job in first.samples[-1]}
    frozen = [process for job in alive for process in freeze(job)]
    for process in first.process.children(recursive=True):
        process.send_signal(signal.SIGKILL)
    assert first.process.wait() != 0
    assert frozen
    recorded = len(detections(workspace))

    unlock = Submission(cluster, workspace, "--unlock")
    assert unlock.succeeded(), unlock.output.read_text()
    second = Submission(cluster, workspace, "--resources", "gpu=3")
    second.follow(lambda: len({name[:22] for name in ledgers(workspace)}) > 1)  # of both plans
    assert {job["JobId"] for job in cluster.jobs() if job["JobState"] == "RUNNING"} & alive
    for process in frozen:
        process.resume()
    assert second.succeeded(), second.output.read_text()
    cluster.wait_for(lambda: cluster.idle_nodes() == 2, 300)
    assert {job["JobState"] for job in cluster.jobs() if job["JobId"] in alive} == {"COMPLETED"}

    summary = (workspace.results / "summary.csv").read_bytes()
    assert {row["status"] for row in workspace.summary().values()} <= {"ok", "empty"}
    assert len(workspace.summary()) == len(detections(workspace)) == 12
    # both may detect what was not recorded when the second plan was made, and no more
    assert set(detections(workspace).values()) == {1, 2}
    assert 12 < detections(workspace).total() <= 24 - recorded
    before = detections(workspace)
    third = Submission(cluster, workspace, "--resources", "gpu=3")
    assert third.succeeded(), third.output.read_text()
    assert detections(workspace) == before
    assert (workspace.results / "summary.csv").read_bytes() == summary


class Slowed:
    """Lets the jobs of one node work for half of the time only."""

    def __init__(self, submission: Submission):
        self.submission = submission
        self._stopped = False

    def step(self) -> bool:
        """Stop what runs there, or let it go on."""
        self._stopped = not self._stopped
        for job in self.submission.samples[-1] if self.submission.samples else []:
            if shard_of(job) and job["NodeList"] == "n2":
                for process in processes_of(job["JobId"]):
                    with contextlib.suppress(psutil.Error):
                        process.suspend() if self._stopped else process.resume()
        return False


@pytest.mark.parametrize("arrays", [(), ("--slurm-array-jobs", "detect")], ids=["jobs", "array"])
def test_the_fast_node_does_more_when_the_other_is_slowed(cluster, tmp_path, arrays):
    workspace = prepared(tmp_path / "work", 96, {"min_seconds": 0})
    workspace.config["sam"]["points_per_side"] = 8
    submission = Submission(cluster, workspace, *arrays)
    submission.follow(Slowed(submission).step)
    assert submission.process.wait() == 0, submission.output.read_text()
    assert set(detections(workspace).values()) == {1}
    assert len(detections(workspace)) == 96
    by_node = Counter(row["host"] for row in workspace.ledger())
    assert by_node["n1"] > by_node["n2"] > 0
    records = [json.loads(path.read_text()) for path in workspace.results.glob("plan/*/*.done")]
    assert len(records) == 8
    assert sum(record["of_other_shards"] for record in records if record["host"] == "n1") > 0


def test_tasks_of_an_array_are_cancelled_and_requeued_and_one_that_would_hang_is_refused(
    cluster, tmp_path
):
    arrays = ("--slurm-array-jobs", "detect")
    workspace = prepared(tmp_path / "work", 18, {"min_seconds": 0})
    workspace.config["sam"]["points_per_side"] = 8
    submission = Submission(cluster, workspace, "--resources", "gpu=3", *arrays)
    submission.follow(lambda: len(begun(workspace)) > 1)
    submission.look()
    first, second, *_ = [
        job
        for job in submission.samples[-1]
        if "ArrayTaskId" in job and list(processes_of(job["JobId"]))
    ]
    cancelled, requeued = first["JobId"], second["JobId"]
    freeze(cancelled)
    cluster.slurm("scancel", f"{first['ArrayJobId']}_{first['ArrayTaskId']}")
    cluster.slurm("scontrol", "requeue", requeued)

    def hasten() -> bool:
        for job in cluster.jobs():
            if job["JobState"] == "PENDING" and job["Reason"] == "BeginTime":
                cluster.slurm("scontrol", "update", f"JobId={job['JobId']}", "StartTime=now")
        return False

    submission.follow(hasten)
    assert submission.process.wait() == 0, submission.output.read_text()
    assert submission.jobs[cancelled]["JobState"] == "CANCELLED"
    assert submission.jobs[requeued]["Restarts"] == "1"
    assert len(detections(workspace)) == 18
    assert set(detections(workspace).values()) == {1}

    for number in range(3):
        workspace.add_image(f"new{number}.png", 100 + number)
    # three jobs, of which the plugin may submit two at a time
    hanging = Submission(cluster, workspace, "--resources", "gpu=3", "--jobs", "2", *arrays)
    hanging.follow(seconds=300)
    assert hanging.process.wait() != 0
    assert (
        "--slurm-array-jobs: there are 3 detection jobs, of which 2" in hanging.output.read_text()
    )
