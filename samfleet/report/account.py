"""The numbers of the report: histograms, what each device did, wells, and what was run."""

import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from samfleet.cells import unguarded
from samfleet.report.selection import Row, name_of, was_detected
from samfleet.results import SUMMARY_COLUMNS, ledger_file
from samfleet.statuses import Status

MOST_ROWS = 5000
"""Rows of the table of images."""

_MOST_OWN_COLUMNS = 12
_BINS = 40
_HISTOGRAMS = (
    ("area", "Area", "px", True),
    ("intensity_mean", "Mean intensity", "0–255", False),
    ("circularity", "Circularity", "", False),
    ("predicted_iou", "Predicted IoU", "", False),
    ("stability_score", "Stability score", "", False),
)
"""Columns of the objects with a histogram: title, unit, and whether its axis is logarithmic."""
OBJECT_COLUMNS_READ = ("image", *(name for name, *_ in _HISTOGRAMS))

_STAGES = ("reading", "encoding", "decoding", "postprocessing", "measuring", "waiting")
_BUSY = ("encoding", "decoding", "postprocessing")
"""What follows each other in the process that drives the device; workers read and measure beside it."""

_VERSIONS = (
    *("samfleet", "snakemake", "torch", "segment-anything", "numpy", "pandas", "pyarrow"),
    *("opencv-python-headless", "tifffile"),
)


def histograms(objects: pa.Table, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Histograms of all objects, and of the number of objects in an image.

    Args:
        objects: with `OBJECT_COLUMNS_READ`.
        rows: of the summary.
    """
    numbers = np.array([int(row["n_objects"]) for row in rows if row["n_objects"]], float)
    found = [_histogram(numbers, "Objects per image", "", False)]
    for name, title, unit, logarithmic in _HISTOGRAMS:
        values = objects[name].to_numpy().astype(float)
        found.append(_histogram(values, title, unit, logarithmic))
    return [each for each in found if each]


def _histogram(values: np.ndarray, title: str, unit: str, logarithmic: bool) -> dict[str, Any]:
    values = values[np.isfinite(values) & (values > 0 if logarithmic else True)]
    if not len(values):
        return {}
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    logarithmic = logarithmic and low > 0
    edges = (np.geomspace if logarithmic else np.linspace)(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high
    counts, _ = np.histogram(values, edges)
    return {
        "title": title,
        "unit": unit,
        "logarithmic": logarithmic,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "median": float(np.median(values)),
    }


def devices(results: Path, model_key: str) -> list[dict[str, Any]]:
    """What each device did, from the ledger: images, times of stages, images a second, share of idle time."""
    seconds = [f"seconds_{stage}" for stage in _STAGES]
    text = ["when", "model_key", "status", "host", "device"]
    ledger = pd.read_csv(
        ledger_file(results),
        usecols=[*text, *seconds],
        dtype=dict.fromkeys(text, str),
        keep_default_na=False,
        na_values={name: [""] for name in seconds},
    )
    ledger = ledger[ledger["model_key"].map(unguarded) == model_key]
    found = []
    for (host, device), rows in ledger.groupby(["host", "device"]):
        spent = {stage: float(rows[f"seconds_{stage}"].sum()) for stage in _STAGES}
        busy, waiting = sum(spent[stage] for stage in _BUSY), spent["waiting"]
        found.append(
            {
                "host": unguarded(host),
                "device": unguarded(device),
                "images": len(rows),
                "failed": int((rows["status"] != Status.OK).sum()),
                "first": rows["when"].min(),
                "last": rows["when"].max(),
                "seconds": spent,
                "busy": busy,
                "rate": len(rows) / (busy + waiting) if busy + waiting else None,
                "idle": waiting / (busy + waiting) if busy + waiting else None,
            }
        )
    return found


def image_table(rows: Sequence[Row]) -> dict[str, Any]:
    """The table of images: failures first, then warnings, then all others, and how many there are."""
    own = own_columns(rows)[:_MOST_OWN_COLUMNS]
    numbers = ["n_objects", "n_candidates", "intensity_mean", "area_fraction", "background"]
    order = sorted(range(len(rows)), key=lambda i: (was_detected(rows[i]), not rows[i]["warning"]))
    listed = [rows[index] for index in order[:MOST_ROWS]]
    return {
        "total": len(rows),
        "numbers": numbers,
        "own": own,
        "rows": [
            [
                *(name_of(row), row["status"], row["reason"] or row["warning"]),
                *(float(row[name]) if row[name] else None for name in numbers),
                *(row[name] for name in own),
            ]
            for row in listed
        ],
    }


def own_columns(rows: Sequence[Row]) -> list[str]:
    """The columns that the user's table has added to the summary."""
    return [name for name in (rows[0] if rows else ()) if name not in SUMMARY_COLUMNS]


_WELL_COLUMNS = {"well", "well_id", "wellid", "well_name", "metadata_well"}
_PLATE_COLUMNS = {"plate", "plate_id", "plateid", "plate_name", "barcode", "metadata_plate"}
_WELL = re.compile(
    r"(?:well )?([A-P]|A[A-F])/?0?([1-9]|[1-3]\d|4[0-8])(?:[^A-Z0-9].*)?", re.IGNORECASE
)
"""Such as "B07" and, as files name the positions in their wells, "B07, field 3" and "B/7/2"."""
_WELL_IN_NAME = re.compile(
    r"(?<![A-Za-z0-9])(?:([A-P])(0[1-9]|1\d|2[0-4])|r(\d\d)c(\d\d))(?![A-Za-z0-9]|\.\d)"
)
_FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
_MOSTLY = 0.9


def plates(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The wells of each plate with their sums.

    They are from a column of the user, or from the names that files give their scenes, or from the names of files, if
    nearly all have one.
    """
    columns = {name.strip().lower().replace(" ", "_"): name for name in (rows[0] if rows else ())}
    well_column = next((columns[name] for name in columns if name in _WELL_COLUMNS), None)
    plate_column = next((columns[name] for name in columns if name in _PLATE_COLUMNS), None)
    placed: dict[str, dict[tuple[int, int], list[Row]]] = {}
    for row in rows:
        if well_column:
            place = _place(row[well_column])
        else:
            place = _place(row["scene_name"]) or _place_in_name(row["image"])
        if place:
            folder = row["image"].rpartition("/")[0]
            plate = row[plate_column] if plate_column else "" if well_column else folder
            placed.setdefault(plate, {}).setdefault(place, []).append(row)
    count = sum(len(each) for wells in placed.values() for each in wells.values())
    different = {place for wells in placed.values() for place in wells}
    if not well_column and (count < _MOSTLY * len(rows) or len(different) < 2):
        return []
    return [_plate(name, wells) for name, wells in sorted(placed.items())]


def _place(text: str) -> tuple[int, int] | None:
    """Row and column of a well, counted from 0, such as "B07"; None if it is no well."""
    if not (match := _WELL.fullmatch(text.strip())):
        return None
    letters = match[1].upper()
    row = ord(letters[-1]) - ord("A") + 26 * (len(letters) - 1)
    return row, int(match[2]) - 1


def _place_in_name(image: str) -> tuple[int, int] | None:
    matches = list(_WELL_IN_NAME.finditer(image.rpartition("/")[2]))
    if not matches:
        return None
    letter, column, row_number, column_number = matches[0].groups()
    if letter:
        return ord(letter) - ord("A"), int(column) - 1
    place = int(row_number) - 1, int(column_number) - 1
    return place if min(place) >= 0 else None


def _plate(name: str, wells: Mapping[tuple[int, int], list[Row]]) -> dict[str, Any]:
    height, width = (1 + max(place[axis] for place in wells) for axis in (0, 1))
    size = next(((h, w) for h, w in _FORMATS if h >= height and w >= width), (height, width))
    return {
        "name": name,
        "size": size,
        "wells": [
            {"row": row, "column": column} | _well(rows)
            for (row, column), rows in sorted(wells.items())
        ],
    }


def _well(rows: Sequence[Row]) -> dict[str, Any]:
    """Sums over a well's images; the intensity is that of all pixels of its objects."""
    detected = [row for row in rows if was_detected(row)]
    objects = sum(int(row["n_objects"] or 0) for row in detected)
    area = sum(int(row["object_area"] or 0) for row in detected)
    total = sum(float(row["integrated_intensity"] or 0) for row in detected)
    fractions = [float(row["area_fraction"]) for row in detected if row["area_fraction"]]
    return {
        "images": len(rows),
        "failed": len(rows) - len(detected),
        "objects": objects if detected else None,
        "per_image": objects / len(detected) if detected else None,
        "intensity": total / area if area else None,
        "area_fraction": float(np.mean(fractions)) if fractions else None,
    }


def counts(rows: Sequence[Row]) -> dict[str, Any]:
    """The numbers at the top of the report."""
    statuses = Counter(row["status"] for row in rows)
    objects = [int(row["n_objects"]) for row in rows if row["n_objects"]]
    return {
        "images": len(rows),
        "statuses": [(status, statuses[status]) for status in Status if statuses[status]],
        "detected": statuses[Status.OK] + statuses[Status.EMPTY],
        "failed": len(rows) - statuses[Status.OK] - statuses[Status.EMPTY],
        "warnings": sum(bool(row["warning"]) for row in rows),
        "objects": sum(objects),
        "median": float(np.median(objects)) if objects else None,
        "candidates": sum(int(row["n_candidates"] or 0) for row in rows),
    }


def versions() -> dict[str, str]:
    """The versions of what the report was made with, as far as it is installed."""
    found = {"Python": platform.python_version(), "system": platform.platform()}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
