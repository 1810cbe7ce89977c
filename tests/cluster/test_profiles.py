"""Every profile is loaded and asked what it would do; that of PBS runs with commands that stand in."""

import re
import runpy
import subprocess
from importlib.util import find_spec

import pytest
import yaml

from tests.workflow.conftest import CLONE, Workspace

PROFILES = {
    "slurm": ("slurm", {"gpu=1", "nodes=1", "mem_mb=12000"}, {"nodes=1"}),
    "lsf": ("lsf", {"gpu=1", "lsf_extra=-gpu num=1", "mem_mb=12000"}, set()),
    "htcondor": (
        "htcondor",
        {"gpu=1", "request_gpus=1", "htcondor_request_mem_mb=12000", "getenv=True"},
        {"htcondor_request_mem_mb=8000", "getenv=True"},
    ),
    "pbs": ("cluster-generic", {"gpu=1", "mem_mb=12000"}, {"gpu=0"}),
}
"""For each profile its executor, and resources of the rules detect and summary."""


def cluster_command(workspace: Workspace, profile: str, *arguments: str) -> list[str]:
    """A command line of Snakemake with a profile."""
    command = workspace.command("--workflow-profile", str(CLONE / "profiles" / profile), *arguments)
    cores = command.index("--cores")
    del command[cores : cores + 2]  # would limit the threads that jobs ask for
    return command


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> Workspace:
    """Three images that are planned and not detected."""
    workspace = Workspace(tmp_path_factory.mktemp("profiles") / "work")
    for number in range(3):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"min_seconds": 0}
    workspace.run("--until", "plan", "--resources", "gpu=3")
    return workspace


def test_there_is_a_test_for_every_profile():
    assert {path.name for path in (CLONE / "profiles").iterdir()} == {"default", *PROFILES}


def needs_executor(profile: str):
    """The profile as a parameter that is skipped, before fixtures are made, without its executor."""
    executor = PROFILES[profile][0]
    module = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    reason = f"Snakemake's executor plugin {executor} is not installed"
    return pytest.param(profile, marks=pytest.mark.skipif(find_spec(module) is None, reason=reason))


@pytest.mark.slow
@pytest.mark.parametrize("profile", [needs_executor(profile) for profile in PROFILES])
def test_a_profile_is_loaded_and_dry_run(planned, profile):
    _, of_detect, of_summary = PROFILES[profile]
    # without names of files a dry run ends at the checkpoint
    shards = [path.relative_to(planned.folder) for path in planned.results.glob("plan/*/*.tsv")]
    targets = [str(shard.with_suffix(".done")) for shard in shards]
    run = subprocess.run(
        cluster_command(planned, profile, "--dry-run", "--", *targets, "results/summary.csv"),
        env=planned.environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    resources = re.findall(r"^rule (\w+):.*?resources: (.*?)$", output, re.MULTILINE | re.DOTALL)
    detections = [set(given.split(", ")) for rule, given in resources if rule == "detect"]
    assert len(detections) == len(shards) > 1
    assert all(of_detect <= given for given in detections), resources
    assert all("runtime=30" in given for given in detections)
    (summary,) = [set(given.split(", ")) for rule, given in resources if rule == "summary"]
    assert of_summary | {"mem_mb=8000", "runtime=240"} <= summary
    assert not {"gpu=1", "request_gpus=1", "lsf_extra=-gpu num=1"} & summary


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_repeats_the_default_profile_that_it_replaces(profile):
    settings = yaml.safe_load((CLONE / "profiles" / profile / "config.yaml").read_text())
    default = yaml.safe_load((CLONE / "profiles/default/config.yaml").read_text())
    assert default.items() <= settings.items()
    assert settings["executor"] == PROFILES[profile][0]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["job_state = Q"], "running"),
        (["job_state = R"], "running"),
        (["job_state = E", "Exit_status = 0"], "running"),
        (["job_state = F", "Exit_status = 0"], "success"),
        (["job_state = C", "exit_status = 0"], "success"),
        (["job_state = F", "Exit_status = 1"], "failed"),
        (["job_state = F", "Exit_status = -29"], "failed"),
        (["job_state = F"], "failed"),
        (["qstat: Unknown Job Id 7.pbs"], "failed"),
        (["qstat: cannot connect to server"], "running"),
        ([""], "running"),
    ],
)
def test_the_state_of_a_pbs_job(lines, expected):
    status = runpy.run_path(str(CLONE / "profiles/pbs/status.py"))["status"]
    record = "".join(f"    {line}\n" for line in ["Job_Name = detect", *lines, "Priority = 0"])
    assert status(f"Job Id: 7.pbs\n{record}") == expected


@pytest.mark.slow
def test_pbs_runs_jobs_with_what_they_ask_for_and_a_lost_one_again(tmp_path, pbs):
    workspace = Workspace(tmp_path / "work")
    for number in range(2):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"min_seconds": 0, "threads": 2, "mem_mb": 3000}
    arguments = ["--resources", "gpu=2", "--seconds-between-status-checks", "1"]
    run = subprocess.run(
        ["nice", "-n", "5", *cluster_command(workspace, "pbs", *arguments, "--latency-wait", "5")],
        env=workspace.environment() | pbs.environment | {"PBS_STANDIN_LOST": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout
    assert [row["status"] for row in workspace.summary().values()] == ["ok", "ok"]
    by_rule = sorted(
        (call[call.index("-N") + 1], *[call[n + 1] for n, part in enumerate(call) if part == "-l"])
        for call in pbs.submitted().values()
    )
    assert by_rule == [
        ("detect", "select=1:ncpus=2:mem=3000mb:ngpus=1", "walltime=00:30:00"),
        ("detect", "select=1:ncpus=2:mem=3000mb:ngpus=1", "walltime=00:30:00"),
        ("detect", "select=1:ncpus=2:mem=6000mb:ngpus=1", "walltime=00:60:00"),
        ("plan", "select=1:ncpus=1:mem=4000mb:ngpus=0", "walltime=00:240:00"),
        ("summary", "select=1:ncpus=1:mem=8000mb:ngpus=0", "walltime=00:240:00"),
    ]
