"""The conda environments hold what the scripts import, in the versions of requirements.txt."""

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

CLONE = Path(__file__).resolve().parents[2]
ENVIRONMENT_OF_SCRIPT = {
    "plan": "plan",
    "fetch_weights": "fetch_weights",
    "detect": "detect",
    "summary": "summary",
    "verify": "summary",
    "evaluate": "evaluate",
    "export": "export",
    "evaluate_marks": "summary",
    "report": "report",
}
SOURCES = "samfleet.images.sources.source"
NOT_IMPORTED_BY_US = {
    "torchvision": "segment-anything imports it and declares nothing",
    "imagecodecs": "tifffile imports it for compressed files",
    "pyarrow": "pandas imports it to read Parquet",
    "tqdm": "pooch imports it for its progress bar",
}


def pinned(python: str) -> dict[str, str]:
    """The version that requirements.txt pins for a version of Python, by distribution."""
    versions = {}
    for line in (CLONE / "requirements.txt").read_text().splitlines():
        if match := re.match(r"[a-z0-9][^\\]*==[^\\]*", line):
            requirement = Requirement(match[0].strip())
            environment = {"python_version": python, "python_full_version": f"{python}.0"}
            if requirement.marker is None or requirement.marker.evaluate(environment):
                versions[requirement.name] = str(requirement.specifier).removeprefix("==")
    return versions


def environment(name: str) -> tuple[str, dict[str, str]]:
    """Python's version and the pinned packages of a conda environment."""
    dependencies = yaml.safe_load((CLONE / "envs" / f"{name}.yaml").read_text())["dependencies"]
    pins = next(d["pip"] for d in dependencies if isinstance(d, dict))
    python = next(d for d in dependencies if str(d).startswith("python=")).partition("=")[2]
    return python, dict(pin.split("==") for pin in pins)


@cache
def module_file(module: str) -> Path | None:
    """The file of one of the package's modules."""
    base = CLONE / Path(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in candidates if file.exists()), None)


def imported_modules(file: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function; not for type checkers."""
    found = set()
    pending = [ast.parse(file.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return found


def distributions(script: str) -> set[str]:
    """The distributions that a script needs, through all of the package's modules."""
    seen: set[Path] = set()
    outside: set[str] = set()
    pending = [CLONE / "scripts" / f"{script}.py"]
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        for module in imported_modules(file):
            if module.split(".")[0] == "samfleet":
                parts = module.split(".")
                for length in range(1, len(parts) + 1):
                    if inside := module_file(".".join(parts[:length])):
                        pending.append(inside)
                if module == SOURCES:  # it imports a reader when a file needs it
                    pending.extend((CLONE / "samfleet" / "images" / "sources").glob("*.py"))
            elif module.split(".")[0] not in sys.stdlib_module_names:
                outside.add(module.split(".")[0])
    names = packages_distributions()
    return {names[module][0].lower().replace("_", "-") for module in outside}


@pytest.mark.parametrize("name", sorted(set(ENVIRONMENT_OF_SCRIPT.values())))
def test_versions_are_those_of_the_requirements(name):
    python, pins = environment(name)
    versions = pinned(python)
    assert pins == {package: versions[package] for package in pins}


@pytest.mark.parametrize("name", sorted(set(ENVIRONMENT_OF_SCRIPT.values())))
def test_packages_are_those_that_the_scripts_import(name):
    scripts = [script for script, used in ENVIRONMENT_OF_SCRIPT.items() if used == name]
    needed = set().union(*map(distributions, scripts))
    _, pins = environment(name)
    assert needed <= set(pins)
    assert set(pins) - needed <= set(NOT_IMPORTED_BY_US)


def test_every_script_has_its_environment():
    assert {path.stem for path in (CLONE / "scripts").glob("*.py")} == set(ENVIRONMENT_OF_SCRIPT)


def test_the_lock_file_holds_hashes_and_no_address():
    text = (CLONE / "requirements.txt").read_text()
    assert "://" not in text
    pins = [line for line in text.splitlines() if re.match(r"[a-z0-9].*==", line)]
    assert pins and all(line.endswith("\\") for line in pins)
