"""A folder of images, and real runs of Snakemake on it."""

import copy
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import yaml

from samfleet import digests
from tests.builders import job_ledgers

CLONE = Path(__file__).resolve().parents[2]
_JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$", re.MULTILINE)
NOT_DETECTED = {"gone.png", "huge.png", "truncated.png"}
"""Those images of `first_run` that cannot be."""
_STAGES = ("plan", "fetch_weights", "detect", "summary", "verify")


def copy_tracked(folder: Path) -> Path:
    """Copy what the repository tracks, or would, into a folder and return it."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (CLONE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CLONE / name, folder / name)
    return folder


@dataclass(frozen=True)
class Run:
    """What a run of Snakemake did."""

    returncode: int
    output: str
    jobs: Counter
    detections: int

    @property
    def idle(self) -> bool:
        """Whether Snakemake found nothing to do."""
        return "Nothing to be done" in self.output


class Workspace:
    """A working directory with images, a configuration and the results of its runs.

    Attributes:
        prefix: a command that runs Snakemake, in front of every command line.
        snakefile: path or address of the workflow.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.results = folder / "results"
        self.output = folder / "output.txt"
        self.started: list[psutil.Popen] = []
        self.prefix: list[str] = []
        self.snakefile = str(CLONE / "Snakefile")
        self.config = {
            "report": False,  # costs seconds; test_report.py makes it
            "images": "images",
            "sam": {
                "model": "tiny",
                "points_per_side": 2,
                "pred_iou_thresh": 0.0,
                "stability_score_thresh": 0.0,
            },
            "fluorescence": {"min_area": 1, "min_mean_intensity": 0},
        }

    def add_image(self, name: str, seed: int) -> Path:
        """Draw a small image whose content follows from the seed."""
        random = np.random.default_rng(seed)
        image = random.integers(0, 20, (48, 64), dtype=np.uint8)
        for _ in range(3):
            center = tuple(map(int, random.integers(8, 40, 2)))
            cv2.circle(image, center, int(random.integers(5, 9)), 200, -1)
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        return path

    def command(self, *arguments: str, cores: int = 1) -> list[str]:
        """A command line of Snakemake on this folder's configuration."""
        file = self.folder / "config.yaml"
        file.write_text(yaml.safe_dump(self.config))
        fixed = ["--snakefile", self.snakefile, "--directory", self.folder]
        fixed += ["--configfile", file, "--cores", cores]
        return [*self.prefix, sys.executable, "-m", "snakemake", *map(str, fixed), *arguments]

    def environment(self) -> dict[str, str]:
        """This process's environment without devices and with a cache of its own."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        return kept | {
            "CUDA_VISIBLE_DEVICES": "",
            "JOB_ID": f"test-{digests.digest_of(str(self.folder))}",  # leases of its own
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def run(
        self,
        *arguments: str,
        cores: int = 1,
        fails: bool = False,
        environment: dict[str, str] | None = None,
    ) -> Run:
        """Run Snakemake to its end."""
        before = len(self.ledger())
        process = subprocess.run(
            self.command(*arguments, cores=cores),
            env=self.environment() | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        assert (process.returncode != 0) == fails, process.stdout
        jobs = Counter(job for job in _JOB.findall(process.stdout) if job in _STAGES)
        return Run(process.returncode, process.stdout, jobs, len(self.ledger()) - before)

    def start(self, *arguments: str, cores: int = 1) -> psutil.Popen:
        """Start Snakemake in a process group of its own; its output goes to `output`."""
        with self.output.open("w") as output:
            process = psutil.Popen(
                self.command(*arguments, cores=cores),
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # whoever runs the tests in the background has these ignored, and that is inherited
                preexec_fn=_obey_the_terminal,
            )
        self.started.append(process)
        return process

    def stop(self) -> None:
        """Kill what `start` started and is still running."""
        for process in self.started:
            if process.poll() is None:
                for each in [*process.children(recursive=True), process]:
                    each.kill()
                process.wait()

    def command_line(self, command: str, *arguments: str, fails: bool = False) -> str:
        """Run a command of `samfleet` on this folder's configuration and return what it said."""
        process = subprocess.run(
            [sys.executable, "-m", "samfleet", command, "config.yaml", *arguments],
            cwd=self.folder,
            env=self.environment() | {"PYTHONPATH": str(CLONE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (process.returncode != 0) == fails, process.stdout
        return process.stdout

    def ledger(self) -> list[dict]:
        """The rows of all jobs' ledgers, also of jobs whose run did not end."""
        return job_ledgers(self.results)

    def summary(self) -> dict[str, dict]:
        """The rows of summary.csv by image."""
        with (self.results / "summary.csv").open(newline="") as file:
            return {row["image"]: row for row in csv.DictReader(file)}


def _obey_the_terminal() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def table_bytes(workspace: Workspace) -> dict[str, bytes]:
    """The tables that must not depend on how the work was done."""
    names = ("summary.csv", "objects.parquet", "filtering.csv")
    return {name: (workspace.results / name).read_bytes() for name in names}


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


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty working directory; no process outlives the test."""
    workspace = Workspace(tmp_path / "work")
    yield workspace
    workspace.stop()


@dataclass(frozen=True)
class FirstRun:
    """A working directory after its first run, and what was said.

    Attributes:
        dry: the dry run before it.
        dry_wrote: whether that one made a folder of results.
        run: the run.
    """

    workspace: Workspace
    dry: Run
    dry_wrote: bool
    run: Run


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    """Images that are detected and images that cannot be; to be looked at and not to be changed."""
    workspace = Workspace(tmp_path_factory.mktemp("first run") / "work")
    whole = workspace.add_image("a.png", 1)
    workspace.add_image("wells/b.png", 2)
    (workspace.images / "truncated.png").write_bytes(whole.read_bytes()[:-40])
    (workspace.images / "gone.png").symlink_to("nowhere")
    (workspace.images / "notes.txt").write_text("not an image")
    cv2.imwrite(str(workspace.images / "huge.png"), np.zeros((100, 200), np.uint8))
    labels = workspace.folder / "labels"
    labels.mkdir()
    cv2.imwrite(str(labels / "a.png"), np.zeros((48, 64), np.uint8))
    workspace.config["image"] = {"max_pixels": 64 * 48}
    workspace.config["devices"] = ["gpu0", "gpu1"]
    workspace.config["evaluation"] = {"labels": "labels"}
    workspace.config["report"] = True
    dry = workspace.run("-n")
    dry_wrote = (workspace.results / "manifest.tsv").exists()
    return FirstRun(workspace, dry, dry_wrote, workspace.run())


@pytest.fixture
def detected(first_run: FirstRun, workspace: Workspace) -> Workspace:
    """A copy of what `first_run` left, without evaluation and report, that a test may change."""
    shutil.copytree(first_run.workspace.folder, workspace.folder, symlinks=True, dirs_exist_ok=True)
    workspace.config = copy.deepcopy(first_run.workspace.config)
    del workspace.config["evaluation"]
    workspace.config["report"] = False
    return workspace
