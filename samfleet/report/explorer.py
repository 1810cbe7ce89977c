"""What the threshold explorer needs: the candidates with the columns that the filters look at.

The page applies the filters of `samfleet.summary.filtering` itself, in `assets/filtering.js`. Both are run on
`tests/data/filter_cases.json`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samfleet.config.schema import schema
from samfleet.config.settings import FluorescenceSettings, SamSettings
from samfleet.store.segments import SCHEMA
from samfleet.summary.candidates import (
    MeasuredCandidates,
    image_starts,
    overlapping_pairs,
    stored_groups,
)
from samfleet.summary.filtering import FILTERS, Candidates
from samfleet.summary.scale import Scale

_UNREAD = {"rle", "point_x", "point_y", "crop_x", "crop_y", "crop_width", "crop_height"}
_COLUMNS = [name for name in SCHEMA.names if name not in _UNREAD]
_COLUMN_OF = {"mean_intensity": "intensity_mean", "edge": "touches_edge"}
"""Columns of `Candidates` that are not called as their filters are."""
_LABELS = {
    "predicted_iou": "Predicted IoU",
    "stability_score": "Stability score",
    "area": "Area",
    "mean_intensity": "Mean intensity",
    "contrast": "Contrast",
    "circularity": "Circularity",
    "solidity": "Solidity",
    "edge": "Touches the edge",
    "overlap": "Overlap",
}
_UNITS = {"area": "px"}


def filter_specifications(sam: SamSettings) -> list[dict[str, Any]]:
    """What the page must know of every filter, in the order in which they are applied.

    `kind` is "min", "max", "exclude" (of candidates whose column is true) or "overlap".

    Args:
        sam: the section of the configuration, whose thresholds the filters cannot go below.
    """
    described = schema()["properties"]["fluorescence"]["properties"]
    stored = {
        "min_predicted_iou": sam.pred_iou_thresh,
        "min_stability_score": sam.stability_score_thresh,
    }
    found = [_specification(name, described[name]) for name in FILTERS]
    return [each | {"minimum": stored.get(each["key"], each["minimum"])} for each in found]


def _specification(name: str, described: Mapping[str, Any]) -> dict[str, Any]:
    kind, _, what = name.partition("_")
    kinds = described.get("oneOf", [described])
    limits = next(each for each in kinds if each["type"] != "null")
    return {
        "key": name,
        "kind": "overlap" if name == "max_overlap" else kind,
        "column": _COLUMN_OF.get(what, what),
        "label": _LABELS.get(what, what.replace("_", " ").capitalize()),
        "unit": _UNITS.get(what, ""),
        "logarithmic": what == "area",
        "integer": limits["type"] == "integer",
        "optional": len(kinds) > 1,
        "minimum": limits.get("minimum"),
        "maximum": limits.get("maximum"),
        "default": described["default"],
        "help": " ".join(described["description"].split()),
    }


@dataclass
class Explored:
    """Candidates of complete images, one after the other.

    Attributes:
        images: for each image its id and its number of candidates.
        columns: by the name of a column of `Candidates`, a value for each candidate.
        first, second: indices of candidates that share pixels, each pair once.
        shared: how many pixels each pair shares.
    """

    images: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list] = field(
        default_factory=lambda: {each.name: [] for each in fields(Candidates)}
    )
    first: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)

    def add(self, group: pa.Table, measured: MeasuredCandidates) -> None:
        """Add a table of complete images."""
        offset, starts = sum(self.images.values()), image_starts(group)
        identities = group["image_id"].take(pa.array(starts)).to_pylist()
        counts = np.diff(starts, append=group.num_rows).tolist()
        self.images.update(zip(identities, counts, strict=True))
        for name, values in self.columns.items():
            values.extend(finite(getattr(measured.filtered, name)))
        pairs = overlapping_pairs(group, starts)
        once = pairs.first < pairs.second
        self.first.extend((pairs.first[once] + offset).tolist())
        self.second.extend((pairs.second[once] + offset).tolist())
        self.shared.extend(pairs.shared_pixels[once].tolist())

    def starts(self) -> dict[str, int]:
        """The index of the first candidate of every image."""
        ends = np.cumsum(list(self.images.values())).tolist()
        return dict(zip(self.images, [0, *ends], strict=False))


def finite(values: np.ndarray) -> list:
    """Values as JSON has them: None for what is not a number."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return values.tolist()
    return [value if np.isfinite(value) else None for value in values.tolist()]


def explored_candidates(
    store: Path, best: dict[str, tuple[str, str]], scale: Scale, wanted: Iterable[str]
) -> Explored:
    """The candidates of images, by their ids.

    Args:
        store: the store's folder of the model key.
        best: as `samfleet.store.segments.best_results` returns it.
        scale: of the summary.
        wanted: ids of images; of those that have no candidate, nothing is returned.
    """
    chosen = {identity: best[identity] for identity in wanted if identity in best}
    explored = Explored()
    for _, group in stored_groups(store, chosen, _COLUMNS):
        rows = group.filter(pc.is_valid(group["candidate"]))
        if rows.num_rows:
            explored.add(rows, MeasuredCandidates(rows, scale))
    return explored


def settings_of_filters(fluorescence: FluorescenceSettings) -> dict[str, object]:
    """The filters as they are set."""
    return {name: getattr(fluorescence, name) for name in FILTERS}


def other_settings(fluorescence: FluorescenceSettings) -> dict[str, object]:
    """The settings of the section that are no filter and not at their default, for the YAML to paste."""
    described = schema()["properties"]["fluorescence"]["properties"]
    return {
        name: value
        for name, value in vars(fluorescence).items()
        if name not in FILTERS and value != described[name].get("default")
    }
