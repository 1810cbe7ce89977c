"""The work of the rule `summary`: from the store's candidates to the tables of a run.

No mask is decoded and no pixel is read. However large the collection is, memory holds one row group of
the store, one block of objects and a few numbers for each image.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from samfleet.cells import write_csv
from samfleet.channels import Channels
from samfleet.config.settings import Settings
from samfleet.files import read_object, write_atomic, writing
from samfleet.plan.manifest import ManifestRow, read_manifest
from samfleet.planes import PROJECTIONS
from samfleet.results import (
    FILTERING_COLUMNS,
    SUMMARY_COLUMNS,
    filtering_file,
    manifest_file,
    objects_file,
    scale_file,
    summary_file,
)
from samfleet.statuses import Status
from samfleet.store.ledger import collect_ledger
from samfleet.store.segments import SegmentError, best_results, rebuild_index, set_aside
from samfleet.summary.candidates import (
    MeasuredCandidates,
    image_starts,
    overlapping_pairs,
    seen_by_dtype,
    stored_groups,
)
from samfleet.summary.channels import channel_columns, measured_channels
from samfleet.summary.emptiness import why_all_are_empty
from samfleet.summary.filtering import FILTERS, first_failed, suppress_overlaps
from samfleet.summary.objects import OBJECT_SCHEMA, PLACE, ObjectSorter
from samfleet.summary.objects_csv import write_objects_csv
from samfleet.summary.physical import physical_columns
from samfleet.summary.places import image_places, status_and_reason
from samfleet.summary.quality import out_of_focus, remarks, sharpness
from samfleet.summary.scale import Scale
from samfleet.summary.soundness import are_masks
from samfleet.wording import counted

logger = logging.getLogger(__name__)


@dataclass
class ImageSummary:
    """The row of an image, without its path and the user's columns; intensities are from 0 to 255."""

    status: str
    reason: str = ""
    warning: str = ""
    width: int | None = None
    height: int | None = None
    n_invalid_pixels: int | None = None
    pixel_size_um: float | None = None
    acquired: str = ""
    focus_score: float | None = None
    saturated_fraction: float | None = None
    zero_fraction: float | None = None
    n_candidates: int | None = None
    n_objects: int | None = None
    object_area: int | None = None
    object_area_um2: float | None = None
    area_fraction: float | None = None
    intensity_mean: float | None = None
    integrated_intensity: float | None = None
    background: float | None = None
    white: float | None = None

    def add_warning(self, words: str) -> None:
        """Say something more that is doubtful."""
        self.warning = "; ".join(filter(None, [self.warning, words]))


@dataclass
class _Work:
    """What all groups of images have in common.

    Attributes:
        scale: from raw units to 0 to 255.
        channels: those of the whole collection, which have columns of their own.
        schema: of objects.parquet, without the user's columns.
        pixel_size_um: what the configuration sets in place of what files say.
        sharpness: of every image that was measured, by its id.
    """

    scale: Scale
    channels: list[str]
    schema: pa.Schema
    pixel_size_um: float | None
    sharpness: dict[str, float] = field(default_factory=dict)


_WHOLE = [name for name, kind in get_type_hints(ImageSummary).items() if kind == int | None]
"""The columns of whole numbers, which are empty where there is none."""


def projections_of(rows: Iterable[ManifestRow]) -> Counter:
    """How many images are a projection of Z, by its kind."""
    return Counter(row.cells[2] for row in rows if row.image_id and row.cells[2] in PROJECTIONS)


@dataclass
class Counts:
    """What a summary contains, counted over image files.

    Attributes:
        statuses: number of files by status.
        candidates: number of candidates.
        dropped: number of candidates by the filter that dropped them.
        objects: number of kept objects.
        projections: number of images that are a projection of Z, by its kind.
    """

    statuses: Counter = field(default_factory=Counter)
    candidates: int = 0
    dropped: Counter = field(default_factory=Counter)
    objects: int = 0
    projections: Counter = field(default_factory=Counter)

    def add(self, failed: np.ndarray, kept: int, files: int) -> None:
        """Count an image's candidates, once for each of its files.

        Args:
            failed: for each candidate the index in FILTERS of the filter that drops it; the index of
                `max_overlap` if it passes the others.
            kept: how many candidates became objects.
            files: number of files with this content.
        """
        dropped = np.bincount(failed, minlength=len(FILTERS))
        dropped[FILTERS.index("max_overlap")] -= kept
        self.candidates += len(failed) * files
        self.dropped.update(dict(zip(FILTERS, (dropped * files).tolist(), strict=True)))

    def __str__(self) -> str:
        parts = ", ".join(f"{n} {status}" for status, n in self.statuses.most_common())
        images, objects = counted(self.statuses.total(), "image"), counted(self.objects, "object")
        return f"{images} ({parts}), {objects}"


def write_summary(settings: Settings, results: Path, store: Path) -> Counts:
    """Write summary.csv, objects.parquet, filtering.csv and ledger.csv.

    An image without a result gets the status `pending`, so this also works during a run.

    Args:
        settings: the configuration.
        results: the folder of the results, whose manifest lists the images.
        store: the store's folder of the model key.

    Raises:
        SegmentError: a segment is damaged; it has been set aside.
    """
    try:
        return _write_tables(settings, results, store)
    except SegmentError as error:
        set_aside(error)
        raise


def _write_tables(settings: Settings, results: Path, store: Path) -> Counts:
    rebuild_index(store)
    rows = list(read_manifest(manifest_file(results)))
    places = image_places(settings, results, rows)
    ranks: dict[str, list[int]] = {}
    for rank, row in enumerate(rows):
        if row.image_id:
            ranks.setdefault(row.image_id, []).append(rank)
    best = {identity: found for identity, found in best_results(store).items() if identity in ranks}
    seen, channels = seen_by_dtype(store, best)
    scale = Scale(settings.fluorescence, seen)
    images: dict[str, ImageSummary] = {}
    counts = Counts(projections=projections_of(rows))
    further = [(name, pa.float64()) for name in channel_columns(channels)]
    schema = pa.schema([*OBJECT_SCHEMA, *further])
    work = _Work(scale, channels, schema, settings.image.pixel_size_um)
    with writing(results), ObjectSorter(results, schema) as sorter:
        for segment, group in stored_groups(store, best):
            _summarize_group(segment, group, work, ranks, images, counts, sorter)
        counts.objects = sorter.write(objects_file(results), _beside(places, schema))
    for identity, words in out_of_focus(work.sharpness):
        images[identity].add_warning(words)
    _write_summary_csv(settings, results, rows, places, images, counts)
    _write_filtering_csv(settings, results, counts)
    collect_ledger(results, bom=settings.tables.bom)
    write_objects_csv(results, wanted=settings.tables.objects_csv, bom=settings.tables.bom)
    names = places["image"]
    scale.warn(lambda identity: names[ranks[identity][0]].as_py(), read_object(scale_file(results)))
    write_atomic(scale_file(results), json.dumps(scale.whites()) + "\n")
    if doubtful := sum(bool(image.warning) for image in images.values()):
        logger.warning(
            "%s: something is doubtful about what was read, or about the picture; see the column `warning` of summary.csv",
            counted(doubtful, "image"),
        )
    if counts.statuses[Status.EMPTY] and not counts.statuses[Status.OK]:
        why = why_all_are_empty(settings, counts.candidates, counts.dropped, scale)
        logger.warning("every image that was detected is empty: %s", why)
    logger.info("%s", counts)
    return counts


def _summarize_group(
    segment: Path,
    group: pa.Table,
    work: _Work,
    ranks: dict[str, list[int]],
    images: dict[str, ImageSummary],
    counts: Counts,
    sorter: ObjectSorter,
) -> None:
    """Filter the candidates of a segment's table of complete images, and add the results to the arguments."""
    pixels: dict[str, int] = {}  # of the images that can be measured
    for first in group.take(image_starts(group)).select(_IMAGE_COLUMNS).to_pylist():
        image = images[first["image_id"]] = _without_objects(first, work)
        if image.status == Status.EMPTY:
            pixels[first["image_id"]] = first["width"] * first["height"]
    group = group.filter(
        pc.and_(
            pc.is_valid(group["candidate"]),
            pc.is_in(group["image_id"], pa.array(list(pixels), pa.string())),
        )
    )
    if not group.num_rows:
        return
    starts = image_starts(group)
    measured = MeasuredCandidates(group, work.scale)
    filters = work.scale.fluorescence
    failed = first_failed(measured.filtered, filters)
    kept = suppress_overlaps(
        measured.filtered,
        failed == FILTERS.index("max_overlap"),
        overlapping_pairs(group, starts),
        filters.max_overlap,
    )
    selected: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    identities = group["image_id"].take(starts).to_pylist()
    for identity, start, stop in zip(
        identities, starts, [*starts[1:], group.num_rows], strict=True
    ):
        rows = start + np.flatnonzero(kept[start:stop])
        _add_objects(images[identity], pixels[identity], measured, rows)
        counts.add(failed[start:stop], len(rows), len(ranks[identity]))
        numbers = np.arange(1, len(rows) + 1)
        selected.extend((rows, numbers, np.full(len(rows), rank)) for rank in ranks[identity])
    rows, numbers, file_ranks = map(np.concatenate, zip(*selected, strict=True))
    if len(rows):
        _check_masks(segment, group.take(np.flatnonzero(kept)))
        sorter.add(_object_table(group, measured, work, rows, numbers), file_ranks)


def _check_masks(segment: Path, objects: pa.Table) -> None:
    pixels = objects["width"].to_numpy().astype(np.int64) * objects["height"].to_numpy()
    if not are_masks(objects["rle"], pixels, objects["area"].to_numpy()):
        raise SegmentError(segment, "damaged: a mask in it is impossible")


_IMAGE_COLUMNS = [
    "image_id",
    "status",
    "reason",
    "warning",
    "width",
    "height",
    "n_invalid_pixels",
    "pixel_size_um",
    "acquired",
    "dtype",
    "n_candidates",
    "background",
    "image_maximum",
    "focus",
    "image_std",
    "n_saturated",
    "n_zero",
    "channels",
    "is_color",
]


def _without_objects(first: dict, work: _Work) -> ImageSummary:
    """The summary of an image, as it is if none of its candidates is kept."""
    scale = work.scale
    read = {name: first[name] for name in ("width", "height", "n_invalid_pixels")}
    read["warning"] = first["warning"] or ""
    read["pixel_size_um"] = work.pixel_size_um or first["pixel_size_um"]
    read["acquired"] = first["acquired"] or ""
    if first["status"] != Status.OK:
        return ImageSummary(first["status"], first["reason"] or "", **read)
    count = len(first["background"]) - 2
    channels = Channels(tuple(first["channels"] or ()), count, first["is_color"])
    plane = scale.plane(channels)
    if plane is None:
        return ImageSummary(Status.UNSUPPORTED, scale.lacks(channels), **read)
    background = first["background"][plane]
    factor = scale.factor(first["dtype"])
    focus, deviation, brightest = (
        first[name][plane] for name in ("focus", "image_std", "image_maximum")
    )
    valid = first["width"] * first["height"] - first["n_invalid_pixels"]
    saturated, zero = (
        first[name][plane] / valid if valid else None for name in ("n_saturated", "n_zero")
    )
    if (sharp := sharpness(focus, deviation)) is not None:
        work.sharpness[first["image_id"]] = sharp
    image = ImageSummary(
        Status.EMPTY,
        **read,
        focus_score=None if focus is None else focus * factor**2,
        saturated_fraction=saturated,
        zero_fraction=zero,
        n_candidates=first["n_candidates"],
        n_objects=0,
        object_area=0,
        area_fraction=0.0,
        integrated_intensity=0.0,
        background=None if background is None else background * factor,
        white=scale.white(first["dtype"]),
    )
    side = image.pixel_size_um
    image.object_area_um2 = None if side is None else 0.0
    on_scale = None if brightest is None else brightest * factor
    for words in remarks(saturated, on_scale, deviation):
        image.add_warning(words)
    return image


def _add_objects(
    image: ImageSummary, pixels: int, measured: MeasuredCandidates, kept: np.ndarray
) -> None:
    """Complete the summary of an image with `pixels` pixels by the objects in the rows `kept`."""
    if not len(kept):
        return
    area = int(measured.filtered.area[kept].sum())
    total = float((measured.raw["integrated_intensity"][kept] * measured.factor[kept]).sum())
    image.status = Status.OK
    image.n_objects = len(kept)
    image.object_area = area
    side = image.pixel_size_um
    image.object_area_um2 = None if side is None else area * side**2
    image.area_fraction = area / pixels
    image.intensity_mean = total / int(measured.valid_pixels[kept].sum())
    image.integrated_intensity = total


def _object_table(
    group: pa.Table,
    measured: MeasuredCandidates,
    work: _Work,
    rows: np.ndarray,
    numbers: np.ndarray,
) -> pa.Table:
    """The columns of objects.parquet, except those of PLACE, for the candidates in `rows`."""
    table = group.take(rows)
    columns: dict[str, object] = {"label": numbers}
    columns["touches_edge"] = measured.filtered.touches_edge[rows]
    columns["n_invalid_pixels"] = (measured.filtered.area - measured.valid_pixels)[rows]
    for name, raw in measured.raw.items():
        columns[name] = raw[rows] * measured.factor[rows]
        columns[f"raw_{name}"] = raw[rows]
    factor = measured.factor[rows]
    columns |= measured_channels(table, factor, work.channels)
    columns |= physical_columns(table, work.pixel_size_um)
    names = work.schema.names[len(PLACE) :]
    return pa.table({name: columns[name] if name in columns else table[name] for name in names})


def _beside(places: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of images with other names for those of the user that a channel has made."""
    taken = set(schema.names) - set(PLACE)
    names = [f"{name}_of_table" if name in taken else name for name in places.column_names]
    return places.rename_columns(names)


def _write_summary_csv(
    settings: Settings,
    results: Path,
    rows: list[ManifestRow],
    places: pa.Table,
    images: dict[str, ImageSummary],
    counts: Counts,
) -> None:
    summaries = []
    for row in rows:
        if row.problem:
            image = ImageSummary(*status_and_reason(row.problem))
        else:
            image = images.get(row.image_id, ImageSummary(Status.PENDING, "not detected yet"))
        counts.statuses[image.status] += 1
        summaries.append([row.image_id, *vars(image).values()])
    measured = pd.DataFrame(summaries, columns=list(SUMMARY_COLUMNS)[len(PLACE) :])
    measured[_WHOLE] = measured[_WHOLE].astype("Int64")
    place = {name: [*map(_cell, places[name].to_pylist())] for name in places.column_names}
    own = places.column_names[len(PLACE) :]
    table = pd.concat(
        [
            pd.DataFrame({name: place[name] for name in PLACE}),
            measured,
            pd.DataFrame({name: place[name] for name in own}),
        ],
        axis=1,
    )
    write_csv(summary_file(results), table, bom=settings.tables.bom)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _write_filtering_csv(settings: Settings, results: Path, counts: Counts) -> None:
    lines = [
        ("candidates", counts.candidates),
        *((name, counts.dropped[name]) for name in FILTERS),
        ("objects", counts.objects),
    ]
    table = pd.DataFrame(lines, columns=list(FILTERING_COLUMNS))
    write_csv(filtering_file(results), table, bom=settings.tables.bom)
