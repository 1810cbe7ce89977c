"""The workflow inside another one, from an installed package, and from a repository's address."""

import subprocess
import sys
import zipfile

import pytest

from tests.workflow.conftest import CLONE, copy_tracked

pytestmark = pytest.mark.slow

OUTER = """
module left:
    snakefile: "{clone}/workflow/Snakefile"
    config: config
    prefix: "plate/left"

module right:
    snakefile: "{clone}/Snakefile"
    config: config | {{"images": "others", "on_error": "fail"}}

rule all:
    input: "tables.txt"

use rule * from left as left_*

use rule * from right as right_*

rule list:
    input: rules.left_all.input, rules.right_all.input
    output: "tables.txt"
    shell: "ls {{input}} > {{output}}"
"""


def test_another_workflow_takes_it_as_a_module_twice_with_and_without_a_prefix(workspace):
    workspace.add_image("a.png", 1)
    workspace.add_image("../others/b.png", 2)
    outer = workspace.folder / "Snakefile"
    outer.write_text(OUTER.format(clone=CLONE))
    workspace.snakefile = str(outer)
    workspace.run()
    left, right = workspace.folder / "plate" / "left" / "results", workspace.results
    tables = ["filtering.csv", "ledger.csv", "objects.parquet", "run.json", "summary.csv"]
    assert (workspace.folder / "tables.txt").read_text().split() == [
        *(f"plate/left/results/{name}" for name in tables),
        *(f"results/{name}" for name in [*tables[:2], "logs/verified.txt", *tables[2:]]),
    ]
    assert "\na.png," in (left / "summary.csv").read_text()
    assert set(workspace.summary()) == {"b.png"}
    kept = {path.relative_to(left).parts[0] for path in left.rglob("*")}
    assert kept == {path.relative_to(right).parts[0] for path in right.rglob("*")}
    assert workspace.run().idle


@pytest.fixture
def repository(workspace):
    """A bare repository with what is tracked here and the tag v1, where Snakemake keeps its copies."""
    source = copy_tracked(workspace.folder.parent / "source")
    cache = workspace.folder / "cache/snakemake/snakemake/source-cache/snakemake-git-cache"
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "--message", "All"],
        ["tag", "v1"],
        ["clone", "--quiet", "--bare", ".", str(cache / "github.com/lab/samfleet")],
    ):
        subprocess.run(["git", *command], cwd=source, check=True)
    return source


@pytest.fixture
def installed(workspace, repository, monkeypatch):
    """A wheel of what is tracked here, unpacked where this Python finds it before anything else."""
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    printed = subprocess.run(
        [sys.executable, "-c", build], cwd=repository, stdout=subprocess.PIPE, text=True, check=True
    )
    site = workspace.folder.parent / "site"
    zipfile.ZipFile(repository / printed.stdout.split()[-1]).extractall(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    return site / "samfleet"


def test_an_installed_package_carries_the_workflow_and_serves_an_address(workspace, installed):
    workspace.add_image("a.png", 1)
    workspace.command()  # writes the configuration
    run = [sys.executable, "-m", "samfleet", "run", "config.yaml", "--cores", "1", "--gpus", "3"]
    subprocess.run(run, cwd=workspace.folder, env=workspace.environment(), check=True)
    assert set(workspace.summary()) == {"a.png"}
    carried = str(installed / "_workflow" / "resources")
    assert carried in (workspace.results / "plan" / "weights.json").read_text()

    workspace.add_image("b.png", 2)
    workspace.snakefile = "gh:lab/samfleet@v1"
    assert workspace.run().detections == 1
    statuses = {name: row["status"] for name, row in workspace.summary().items()}
    assert statuses == {"a.png": "ok", "b.png": "ok"}
    assert workspace.run().idle
