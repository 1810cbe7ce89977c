"""Which image each row of the tables is: its file, its place in it, and the user's own columns."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from samfleet.config.settings import Settings
from samfleet.files import TableError, escape_name
from samfleet.plan.collection import collection_columns
from samfleet.plan.manifest import ManifestRow, read_known_files
from samfleet.planes import Description, Scene
from samfleet.results import descriptions_file
from samfleet.statuses import Status


def image_places(settings: Settings, results: Path, rows: list[ManifestRow]) -> pa.Table:
    """For every image the columns that say where it is, and the user's own columns.

    Args:
        settings: the configuration, whose `images` may be a table with columns of the user's.
        results: the folder of the results.
        rows: of the manifest.
    """
    columns, said = collection_columns(settings.images)
    scenes = _scenes(results) if any(any(row.cells) for row in rows) else {}
    scene_names = [_scene_name(row, scenes.get(row.path, ())) for row in rows]
    nothing = [""] * len(columns)
    known = {(path, row.cells): row.values for path, own in said.items() for row in own}
    values = [known.get((row.path, row.asked), nothing) if columns else () for row in rows]
    place = {
        "image": pa.array([escape_name(row.path) for row in rows], pa.string()),
        "scene": pa.array([_printable(row.cells[0]) or None for row in rows], pa.string()),
        "scene_name": pa.array(map(_printable, scene_names), pa.string()),
        "time": pa.array([row.cells[1] or None for row in rows], pa.string()),
        "slice": pa.array([row.cells[2] for row in rows], pa.string()),
    }
    own = {
        _printable(name): pa.array([_printable(each[n]) for each in values], pa.string())
        for n, name in enumerate(columns)
    }
    return pa.table(place | own)


def _scene_name(row: ManifestRow, scenes: Sequence[Scene]) -> str:
    """The name of the scene of an image; empty for an image that is not in the file."""
    number = row.cells[0] or "0"
    if not (any(row.cells) and number.isdecimal() and int(number) < len(scenes)):
        return ""
    scene = scenes[int(number)]
    return scene.name if row.image_id or scene.problem else ""


def _scenes(results: Path) -> dict[str, tuple[Scene, ...]]:
    """The scenes of files that hold several images; none if they are not known any more."""
    try:
        return {
            file.path: Description.of_json(file.description).scenes
            for file in read_known_files(descriptions_file(results))
            if file.description
        }
    except TableError:
        return {}


def status_and_reason(problem: str) -> tuple[str, str]:
    """The status of an image with a problem, which may begin with it; else `unreadable`."""
    status, _, reason = problem.partition(": ")
    return (status, reason) if status in set(Status) else (Status.UNREADABLE, problem)


def _printable(value: str) -> str:
    """A user's value, in which bytes that are not UTF-8 are escaped."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
