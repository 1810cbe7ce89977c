"""Exports that the workflow makes: asked for by the configuration, and redone only where objects changed."""

import csv
import json

import pytest

from samfleet.results import EXPORT_KINDS

pytestmark = pytest.mark.slow


def files(workspace) -> dict[str, int]:
    """The time at which each exported file was written."""
    root = workspace.results / "exports"
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.parent != root
    }


def test_a_run_exports_what_it_is_asked_to_and_only_what_changed(workspace):
    for name, seed in (("a.png", 1), ("well/b.png", 2)):
        workspace.add_image(name, seed)
    assert workspace.run().detections == 2
    assert not (workspace.results / "exports").exists()
    workspace.config["exports"] = list(EXPORT_KINDS)
    run = workspace.run(cores=2)
    assert (run.detections, run.output.count("rule export:")) == (0, len(EXPORT_KINDS))
    first = files(workspace)
    assert {name.split("/")[0] for name in first} == set(EXPORT_KINDS)
    with (workspace.results / "exports" / "labels.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["a.png", "well/b.png"]
    assert workspace.run().idle
    workspace.add_image("a.png", 3)
    (workspace.results / "exports" / "rois" / "well" / "b.png.zip").unlink()
    assert workspace.run(cores=2).detections == 1
    second = files(workspace)
    changed = {name for name in first if second[name] != first[name]}
    assert {
        name.split("/")[1]
        for name in changed
        if name.split("/")[0] not in ("coco", "anndata") and "b.png" not in name
    } <= {name.split("/")[1] for name in first if "/a.png" in name}
    assert {name for name in changed if "b.png" in name} == {"rois/well/b.png.zip"}
    assert json.loads((workspace.results / "exports" / "coco" / "objects.json").read_text())[
        "images"
    ]
    assert workspace.run().idle
    workspace.config["exports"] = ["geojson"]
    assert workspace.run().idle
