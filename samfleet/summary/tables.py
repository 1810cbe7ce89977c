"""The work of the rule `summary`: from the store's candidates to the tables of a run.

No mask is decoded and no pixel is read. Memory holds one row group of the store, one block of
objects and a few numbers for every picture, however large the collection is.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from samfleet.files import atomic_path, escape_name
from samfleet.plan.manifest import (
    RESERVED_COLUMNS,
    ManifestRow,
    collection_columns,
    read_manifest,
)
from samfleet.statuses import EMPTY, OK, PENDING, UNREADABLE, UNSUPPORTED
from samfleet.store.ledger import collect_ledger
from samfleet.store.segments import best_results, read_segment, rebuild_index
from samfleet.summary.filtering import (
    FILTERS,
    Candidates,
    first_failed,
    suppress_overlaps,
    white_level,
)
from samfleet.summary.objects import OBJECT_SCHEMA, ObjectSorter

logger = logging.getLogger(__name__)

_FLOAT_FORMAT = "%.10g"
_DARK = 64.0
_NAMED_PLANES = {"max": 0, "luminance": 1, "red": 2, "green": 3, "blue": 4}


@dataclass
class ImageSummary:
    """What the summary says of a picture's content; intensities are on the scale of 0 to 255."""

    status: str
    reason: str = ""
    width: int | None = None
    height: int | None = None
    n_candidates: int | None = None
    n_objects: int | None = None
    object_area: int | None = None
    area_fraction: float | None = None
    mean_intensity: float | None = None
    integrated_intensity: float | None = None
    background: float | None = None


@dataclass
class Counts:
    """How a summary came out, counted over picture files.

    Attributes:
        statuses: number of files by status.
        candidates: number of candidates.
        dropped: number of candidates by the filter that dropped them.
        objects: number of kept objects.
    """

    statuses: Counter = field(default_factory=Counter)
    candidates: int = 0
    dropped: Counter = field(default_factory=Counter)
    objects: int = 0

    def add(self, failed: np.ndarray, kept: int, files: int) -> None:
        """Count a picture's candidates, once for each of its files.

        Args:
            failed: index in FILTERS for each candidate; overlap for those that pass the others.
            kept: how many became objects.
            files: number of files of this content.
        """
        dropped = np.bincount(failed, minlength=len(FILTERS))
        dropped[FILTERS.index("max_overlap")] -= kept
        self.candidates += len(failed) * files
        self.dropped.update(dict(zip(FILTERS, (dropped * files).tolist(), strict=True)))

    def __str__(self) -> str:
        parts = ", ".join(f"{n} {status}" for status, n in self.statuses.most_common())
        return f"{self.statuses.total()} pictures ({parts}), {self.objects} objects"


def write_summary(config: dict, results: Path, store: Path) -> Counts:
    """Write summary.csv, objects.parquet, filtering.csv and ledger.csv.

    A picture without a result gets the status `pending`, so this also serves an unfinished run.

    Args:
        config: the completed configuration.
        results: the folder of the results; its manifest names the pictures.
        store: the store's folder of the model key.
    """
    rebuild_index(store)
    rows = list(read_manifest(results / "manifest.tsv"))
    ranks: dict[str, list[int]] = {}
    for rank, row in enumerate(rows):
        if row.image_id:
            ranks.setdefault(row.image_id, []).append(rank)
    best = {identity: found for identity, found in best_results(store).items() if identity in ranks}
    scale = _Scale(config["fluorescence"], _brightest(store, best))
    images: dict[str, ImageSummary] = {}
    counts = Counts()
    with ObjectSorter(results) as sorter:
        for group in _stored_groups(store, best):
            _summarize_group(group, scale, ranks, images, counts, sorter)
        names = [escape_name(row.path) for row in rows]
        counts.objects = sorter.write(results / "objects.parquet", names)
    _write_summary_csv(config, results, rows, images, counts)
    _write_filtering_csv(results, counts)
    collect_ledger(results)
    scale.warn_if_dark()
    logger.info("%s", counts)
    return counts


class _Scale:
    """Which plane of a picture is measured, and what counts as white.

    Args:
        fluorescence: the configuration's `fluorescence`.
        brightest: the brightest pixel of all pictures by the name of their dtype.
    """

    def __init__(self, fluorescence: dict, brightest: dict[str, float]):
        self.fluorescence = fluorescence
        self._brightest = brightest

    def plane(self, channels: int) -> int | None:
        """Index among the measured planes; None if the picture has no such channel."""
        channel = self.fluorescence["channel"]
        if channels == 1 and channel in ("red", "green", "blue"):
            channel = 0  # grey is as much red as green and blue
        plane = channel + 2 if isinstance(channel, int) else _NAMED_PLANES[channel]
        return plane if plane < channels + 2 else None

    def factor(self, dtype: str) -> float:
        """What raw values are multiplied with."""
        white = self.fluorescence["white"] or white_level(dtype, self._brightest[dtype])
        return 255.0 / white if white > 0 else 0.0

    def warn_if_dark(self) -> None:
        """Say so when the brightest of all pictures of an integer type is far below white."""
        for dtype, brightest in self._brightest.items():
            if np.dtype(dtype).kind == "f" or not 0 < brightest * self.factor(dtype) < _DARK:
                continue
            suggestion = 2 ** math.ceil(math.log2(brightest + 1)) - 1
            logger.warning(
                "the brightest %s pixel of all is %g, which is %.3g on the scale of 0 to 255, so "
                "fluorescence.min_mean_intensity (%g) may drop everything. If the camera has fewer "
                "bits than the files, set\nfluorescence:\n  white: %d",
                dtype,
                brightest,
                brightest * self.factor(dtype),
                self.fluorescence["min_mean_intensity"],
                suggestion,
            )


def _stored_groups(
    store: Path, best: dict[str, tuple[str, str]], columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Tables of whole pictures, each picture from its best result alone."""
    segments: dict[str, dict[str, str]] = {}
    for identity, (name, status) in best.items():
        segments.setdefault(name, {})[identity] = status
    for name in sorted(segments):
        wanted = pa.array(segments[name].keys(), pa.string())
        statuses = pa.array(segments[name].values(), pa.string())
        for group in read_segment(store / name, columns):
            status = pc.take(statuses, pc.index_in(group["image_id"], wanted))
            chosen = group.filter(pc.equal(group["status"], status))
            if chosen.num_rows:
                yield chosen


def _brightest(store: Path, best: dict[str, tuple[str, str]]) -> dict[str, float]:
    """The brightest pixel of any channel, by dtype."""
    brightest: dict[str, float] = {}
    for group in _stored_groups(store, best, ["image_id", "status", "dtype", "image_maximum"]):
        group = group.filter(pc.is_valid(group["dtype"]))
        maxima = _plane_values(group["image_maximum"], np.zeros(group.num_rows, np.int64))
        for dtype in group["dtype"].unique().to_pylist():
            value = float(maxima[pc.equal(group["dtype"], dtype).to_numpy()].max())
            brightest[dtype] = max(brightest.get(dtype, value), value)
    return brightest


def _plane_values(column: pa.ChunkedArray, planes: np.ndarray) -> np.ndarray:
    """From a column of lists the number at each row's plane, float64."""
    lists = column.combine_chunks()
    return lists.values.to_numpy()[lists.offsets.to_numpy()[:-1] + planes]


def _summarize_group(
    group: pa.Table,
    scale: _Scale,
    ranks: dict[str, list[int]],
    images: dict[str, ImageSummary],
    counts: Counts,
    sorter: ObjectSorter,
) -> None:
    """Filter the candidates of a table of whole pictures and add what comes of it to the rest."""
    starts = [start for start, _ in _image_bounds(group)]
    measurable = []
    for first in group.take(starts).select(_IMAGE_COLUMNS).to_pylist():
        image = images[first["image_id"]] = _without_objects(first, scale)
        if image.status == EMPTY:
            measurable.append(first["image_id"])
    group = group.filter(
        pc.and_(
            pc.is_valid(group["candidate"]),
            pc.is_in(group["image_id"], pa.array(measurable, pa.string())),
        )
    ).combine_chunks()
    if not group.num_rows:
        return
    measured = _Measured(group, scale)
    candidates = Candidates(
        number=group["candidate"].to_numpy(),
        predicted_iou=group["predicted_iou"].to_numpy(),
        stability_score=group["stability_score"].to_numpy(),
        area=group["area"].to_numpy(),
        mean_intensity=measured.raw["mean_intensity"] * measured.factor,
    )
    failed = first_failed(candidates, scale.fluorescence)
    selected = []
    for start, stop in _image_bounds(group):
        kept = _keep(group, candidates, failed, start, stop, scale.fluorescence["max_overlap"])
        identity = group["image_id"][start].as_py()
        _add_objects(images[identity], measured, candidates.area, kept)
        counts.add(failed[start:stop], len(kept), len(ranks[identity]))
        numbers = np.arange(1, len(kept) + 1)
        selected.extend((kept, numbers, np.full(len(kept), rank)) for rank in ranks[identity])
    rows, numbers, file_ranks = map(np.concatenate, zip(*selected, strict=True))
    if len(rows):
        sorter.add(_object_table(group, measured, rows, numbers), file_ranks)


def _image_bounds(group: pa.Table) -> list[tuple[int, int]]:
    """First row and last row + 1 of every picture of a table in which its rows stand together."""
    identities = group["image_id"].to_pylist()
    starts = [i for i, name in enumerate(identities) if i == 0 or name != identities[i - 1]]
    return list(zip(starts, [*starts[1:], len(identities)], strict=True))


def _keep(
    group: pa.Table,
    candidates: Candidates,
    failed: np.ndarray,
    start: int,
    stop: int,
    max_overlap: float,
) -> np.ndarray:
    """Rows of the candidates between `start` and `stop` that become objects."""
    passed = start + np.flatnonzero(failed[start:stop] == FILTERS.index("max_overlap"))
    chosen = suppress_overlaps(
        candidates.take(passed),
        group["overlapping"].take(passed).to_pylist(),
        group["shared_pixels"].take(passed).to_pylist(),
        max_overlap,
    )
    return passed[chosen]


_IMAGE_COLUMNS = [
    "image_id",
    "status",
    "reason",
    "width",
    "height",
    "dtype",
    "n_candidates",
    "background",
]


def _without_objects(first: dict, scale: _Scale) -> ImageSummary:
    """What is said of a picture none of whose candidates is kept."""
    size = {"width": first["width"], "height": first["height"]}
    if first["status"] != OK:
        return ImageSummary(first["status"], first["reason"] or "", **size)
    channels = len(first["background"]) - 2
    plane = scale.plane(channels)
    if plane is None:
        channel = scale.fluorescence["channel"]
        reason = f"fluorescence.channel is {channel}, but it has {channels} channels, from 0"
        return ImageSummary(UNSUPPORTED, reason, **size)
    return ImageSummary(
        EMPTY,
        **size,
        n_candidates=first["n_candidates"],
        n_objects=0,
        object_area=0,
        area_fraction=0.0,
        integrated_intensity=0.0,
        background=first["background"][plane] * scale.factor(first["dtype"]),
    )


class _Measured:
    """Intensities of candidates on the measured plane.

    Attributes:
        factor: for each candidate what raw values are multiplied with.
        raw: arrays in the units of the pixels, by the name of the column that they become.
    """

    def __init__(self, group: pa.Table, scale: _Scale):
        channels = np.diff(group["background"].combine_chunks().offsets.to_numpy()) - 2
        planes = np.zeros(len(channels), np.int64)
        for number in np.unique(channels):
            planes[channels == number] = scale.plane(int(number))
        dtypes = group["dtype"].to_pylist()
        factors = {dtype: scale.factor(dtype) for dtype in set(dtypes)}
        self.factor = np.array([factors[dtype] for dtype in dtypes])
        names = {
            "mean_intensity": "intensity_mean",
            "max_intensity": "intensity_maximum",
            "std_intensity": "intensity_std",
            "integrated_intensity": "intensity_sum",
            "background": "background",
        }
        self.raw = {name: _plane_values(group[source], planes) for name, source in names.items()}
        # corrected total cell fluorescence; A. Burgess et al., PNAS 107 (2010) 12564
        self.raw["ctcf"] = (
            self.raw["integrated_intensity"] - group["area"].to_numpy() * self.raw["background"]
        )


def _add_objects(
    image: ImageSummary, measured: _Measured, areas: np.ndarray, kept: np.ndarray
) -> None:
    """Complete a picture's summary with the objects in the rows `kept`."""
    if not len(kept):
        return
    area = int(areas[kept].sum())
    total = float((measured.raw["integrated_intensity"][kept] * measured.factor[kept]).sum())
    image.status = OK
    image.n_objects = len(kept)
    image.object_area = area
    image.area_fraction = area / (image.width * image.height)
    image.mean_intensity = total / area
    image.integrated_intensity = total


def _object_table(
    group: pa.Table, measured: _Measured, rows: np.ndarray, numbers: np.ndarray
) -> pa.Table:
    """The columns of objects.parquet, but `image`, for the candidates in `rows`."""
    table = group.take(rows)
    columns: dict[str, object] = {"object": numbers}
    for name, raw in measured.raw.items():
        columns[name] = raw[rows] * measured.factor[rows]
        columns[f"raw_{name}"] = raw[rows]
    names = OBJECT_SCHEMA.names[1:]
    return pa.table({name: columns[name] if name in columns else table[name] for name in names})


def _write_summary_csv(
    config: dict,
    results: Path,
    rows: list[ManifestRow],
    images: dict[str, ImageSummary],
    counts: Counts,
) -> None:
    columns, values = collection_columns(config["images"])
    records = []
    for row in rows:
        if row.problem:
            image = ImageSummary(UNREADABLE, row.problem)
        else:
            image = images.get(row.image_id, ImageSummary(PENDING, "not detected yet"))
        counts.statuses[image.status] += 1
        own = [escape_name(value) for value in values.get(row.path, [""] * len(columns))]
        records.append([escape_name(row.path), row.image_id, *vars(image).values(), *own])
    table = pd.DataFrame(records, columns=[*RESERVED_COLUMNS, *columns])
    whole = ["width", "height", "n_candidates", "n_objects", "object_area"]
    table[whole] = table[whole].astype("Int64")
    with atomic_path(results / "summary.csv") as temporary:
        table.to_csv(temporary, index=False, float_format=_FLOAT_FORMAT)


def _write_filtering_csv(results: Path, counts: Counts) -> None:
    lines = [
        ("candidates", counts.candidates),
        *((name, counts.dropped[name]) for name in FILTERS),
        ("objects", counts.objects),
    ]
    table = pd.DataFrame(lines, columns=["filter", "count"])
    with atomic_path(results / "filtering.csv") as temporary:
        table.to_csv(temporary, index=False)
