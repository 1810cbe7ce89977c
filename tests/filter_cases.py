"""The table of cases that the filters in Python and those of the report's page are both run on."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.config.settings import FluorescenceSettings
from samfleet.report.explorer import filter_specifications
from samfleet.summary.filtering import (
    FILTERS,
    Candidates,
    OverlappingPairs,
    first_failed,
    suppress_overlaps,
)
from tests.builders import make_settings

CASES = json.loads(
    (Path(__file__).parent / "data" / "filter_cases.json").read_text(encoding="utf-8")
)
COLUMNS = [each.name for each in fields(Candidates)]
_USUAL = {
    "predicted_iou": 0.9,
    "stability_score": 0.95,
    "area": 100,
    "intensity_mean": 100.0,
    "contrast": 90.0,
    "circularity": 0.9,
    "solidity": 0.95,
    "touches_edge": False,
}
_OPEN = {"min_area": 0, "max_area": 10**9, "min_mean_intensity": 0.0, "max_overlap": 1.0}


def columns_of(case: dict[str, Any]) -> dict[str, list]:
    """Every column of a case's candidates; None where there is no value."""
    rows = [_USUAL | {"number": number} | row for number, row in enumerate(case["candidates"])]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def settings_of_case(case: dict[str, Any]) -> FluorescenceSettings:
    return replace(make_settings().fluorescence, **(_OPEN | case["settings"]))


def for_javascript(case: dict[str, Any]) -> dict[str, Any]:
    """A case as the page's scripts take it."""
    first, second, shared = ([pair[place] for pair in case["pairs"]] for place in range(3))
    raw = {"columns": columns_of(case), "first": first, "second": second, "shared": shared}
    fluorescence = settings_of_case(case)
    settings = {name: getattr(fluorescence, name) for name in FILTERS}
    return {"raw": raw, "filters": filter_specifications(make_settings().sam), "settings": settings}


def in_python(case: dict[str, Any]) -> tuple[list[int], list[str | None]]:
    """Which candidates are kept, and by which filter each of the others is dropped before the overlap."""
    columns = columns_of(case)
    arrays = {
        name: np.array([np.nan if value is None else value for value in values])
        for name, values in columns.items()
    }
    arrays["touches_edge"] = arrays.get("touches_edge", np.zeros(0)).astype(bool)
    candidates = Candidates(**{name: arrays[name] for name in COLUMNS})
    pairs = [*case["pairs"], *([b, a, n] for a, b, n in case["pairs"])]
    first, second, shared = (
        np.array([pair[place] for pair in pairs], np.int64) for place in range(3)
    )
    settings = settings_of_case(case)
    failed = first_failed(candidates, settings)
    passed = failed == FILTERS.index("max_overlap")
    kept = suppress_overlaps(
        candidates, passed, OverlappingPairs(first, second, shared), settings.max_overlap
    )
    names = [None if FILTERS[index] == "max_overlap" else FILTERS[index] for index in failed]
    return np.flatnonzero(kept).tolist(), names
