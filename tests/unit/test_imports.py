"""Imports: what the Snakefile needs is light, and the arrows between modules point one way."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
HEAVY = {"numpy", "pandas", "pyarrow", "torch", "torchvision", "segment_anything", "cv2", "skimage"}
WITH_TORCH = {"devices", "sam", "detection"}
FLOORS = (
    {
        *("errors", "statuses", "digests", "resources", "results", "files", "stamps", "cells"),
        *("versions", "marker", "logs", "wording", "brightness", "ranks", "reduction", "content"),
        *("faults", "planes", "channels"),
    },
    {"config"},
    {"devices", "images", "sam", "store"},
    {"plan"},
    {"opened"},
    {"detection", "evaluation", "exports", "summary", "survey"},
    {"report"},
    {"cli"},
    {"__main__"},
)
"""The rooms of the package, from the ground up."""
EXPORTING = {"samfleet", "samfleet.cli", "samfleet.sam.generator"}
"""Packages whose ``__init__`` is more than a docstring: no worker and no Snakefile enters them, or it is light."""


def imports_of(tree: ast.AST) -> set[str]:
    """Every name that is imported anywhere in a file, with what is taken from it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@cache
def library() -> dict[str, set[str]]:
    """For every module of the package what it imports."""
    modules = {}
    for path in sorted((CLONE / "samfleet").rglob("*.py")):
        parts = path.relative_to(CLONE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        modules[name] = imports_of(ast.parse(path.read_text()))
    return modules


def workflow_modules() -> list[str]:
    """The package's modules that the Snakefile and the rules import."""
    found = set()
    for path in [CLONE / "Snakefile", *(CLONE / "rules").glob("*.smk")]:
        for module, names in re.findall(
            r"^from (samfleet[\w.]*) import (.+)$", path.read_text(), re.MULTILINE
        ):
            for name in names.split(", "):
                inner = f"{module}.{name}"
                found.add(inner if inner in library() else module)
    return sorted(found)


def test_what_the_snakefile_imports_brings_in_nothing_heavy():
    assert "samfleet.plan.stamp" in workflow_modules()
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += f"print(sorted({HEAVY} & set(sys.modules)))"
    command = [sys.executable, "-c", code, *workflow_modules()]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CLONE)
    assert printed.stdout.strip() == "[]"


@pytest.mark.parametrize("depth", [2, 9], ids=["packages", "modules"])
def test_the_arrows_between_modules_point_one_way(depth):
    graph: dict[str, set[str]] = {}
    modules = library()
    for name, imported in modules.items():
        unit = ".".join(name.split(".")[:depth])
        targets = {".".join(n.split(".")[:depth]) for n in imported if n in modules}
        graph.setdefault(unit, set()).update(targets - {unit, "samfleet"})
    assert "samfleet.files" in graph["samfleet.plan" if depth == 2 else "samfleet.plan.manifest"]
    TopologicalSorter(graph).prepare()  # raises CycleError


def floor_of(module: str) -> int:
    room = module.split(".")[1]
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def test_rooms_import_what_lies_below_and_no_neighbour():
    modules = library()
    assert {name.split(".")[1] for name in modules if "." in name} == set().union(*FLOORS)
    for name, imported in modules.items():
        if name == "samfleet":  # it names types only
            continue
        for other in imported & modules.keys() - {"samfleet"}:
            room, other_room = name.split(".")[1], other.split(".")[1]
            if room != other_room and floor_of(name) > 0:
                assert floor_of(other) < floor_of(name), f"{name} imports {other}"


def test_packages_that_the_snakefile_or_a_worker_enters_are_bare():
    """What an ``__init__`` imports is imported by everybody who needs one module of its folder."""
    for path in sorted((CLONE / "samfleet").rglob("__init__.py")):
        name = ".".join(path.parent.relative_to(CLONE).parts)
        if name not in EXPORTING:
            body = ast.parse(path.read_text()).body
            assert all(isinstance(node, ast.Expr) for node in body), name


def test_torch_is_imported_where_models_run_and_nowhere_else():
    heavy = re.compile(r"(torch|torchvision|segment_anything)(\.|$)")
    found = {
        name.split(".")[1]
        for name, imported in library().items()
        if any(map(heavy.match, imported))
    }
    assert found <= WITH_TORCH
    assert "sam" in found


def test_the_summary_decodes_no_mask_and_reads_no_pixel():
    forbidden = re.compile(r"(cv2|pycocotools|skimage|samfleet\.images|samfleet\.detection)(\.|$)")
    for name, imported in library().items():
        if name.startswith("samfleet.summary"):
            assert not any(map(forbidden.match, imported)), name


def test_only_scripts_know_snakemake():
    for name, imported in library().items():
        assert not any(module.split(".")[0] == "snakemake" for module in imported), name
        assert "snakemake." not in "".join(imported)
