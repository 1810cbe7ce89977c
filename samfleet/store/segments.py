"""The store: Parquet segments with one row for each candidate; they are added and never changed.

A segment is complete or absent. A job writes small segments as it goes and merges them into one at
the end of its shard. pandas, DuckDB and Polars can read the files as they are.
"""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from samfleet.errors import UserError
from samfleet.files import atomic_path, escape_name
from samfleet.statuses import Status
from samfleet.store.index import (
    Index,
    StoredImage,
    read_index,
    read_stored_images,
    segments_on_disk,
    write_index,
)

logger = logging.getLogger(__name__)

_NUMBERS = pa.list_(pa.float64())

IMAGE_FIELDS = (
    ("image_id", pa.string()),
    ("scene", pa.int32()),
    ("time", pa.int32()),
    ("slice", pa.string()),
    ("plan", pa.string()),
    ("status", pa.string()),
    ("reason", pa.string()),
    ("transient", pa.bool_()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("dtype", pa.string()),
    ("is_color", pa.bool_()),
    ("plane", pa.string()),
    ("warning", pa.string()),
    ("channels", pa.list_(pa.string())),
    ("pixel_size_um", pa.float64()),
    ("acquired", pa.string()),
    ("n_invalid_pixels", pa.int64()),
    ("n_candidates", pa.int32()),
    ("background", _NUMBERS),
    ("image_maximum", _NUMBERS),
    ("pixels_above", pa.list_(pa.int64())),
    ("focus", _NUMBERS),
    ("image_std", _NUMBERS),
    ("n_saturated", pa.list_(pa.int64())),
    ("n_zero", pa.list_(pa.int64())),
    ("when", pa.string()),
    ("shard", pa.string()),
    ("host", pa.string()),
    ("device", pa.string()),
    ("points_per_batch", pa.int32()),
    ("tile_size", pa.int32()),
    ("tiles", pa.int32()),
    ("tiles_left_out", pa.int32()),
    ("objects_cut", pa.int32()),
    ("seconds_reading", pa.float64()),
    ("seconds_encoding", pa.float64()),
    ("seconds_decoding", pa.float64()),
    ("seconds_postprocessing", pa.float64()),
    ("seconds_measuring", pa.float64()),
    ("seconds_waiting", pa.float64()),
)
"""Columns of an image, the same in each of its rows.

`scene`, `time` and `slice` say which image of its file it is, and are empty where the file has one. `channels` are
the names of its channels, or nothing where none is known; `pixel_size_um` and `acquired` are from its metadata.

`background` and `image_maximum` are in raw units, in the order of `samfleet.detection.measurement`: the
maximum of the channels, the luminance, then every channel. `warning` says what is doubtful about what was
read, and `n_invalid_pixels` how many pixels are NaN or infinite in at least one channel. `pixels_above`
counts the pixels of which the brightest channel is above each level of `samfleet.brightness`: 1, 255, 1023, …
`focus` is the variance of the Laplacian, `image_std` the standard deviation, `n_saturated` and `n_zero` count pixels
at the end of the camera's or type's range and at zero, each for every measured plane.
From `when` on they are what the ledger says of the detection (`samfleet.results` explains them): stored here,
they cannot be missing where a result is.
"""

CANDIDATE_FIELDS = (
    ("candidate", pa.int32()),
    ("bbox_x", pa.int32()),
    ("bbox_y", pa.int32()),
    ("bbox_width", pa.int32()),
    ("bbox_height", pa.int32()),
    ("area", pa.int64()),
    ("n_parts", pa.int32()),
    ("rle", pa.string()),
    ("predicted_iou", pa.float64()),
    ("stability_score", pa.float64()),
    ("point_x", pa.float64()),
    ("point_y", pa.float64()),
    ("crop_x", pa.int32()),
    ("crop_y", pa.int32()),
    ("crop_width", pa.int32()),
    ("crop_height", pa.int32()),
    ("centroid_x", pa.float64()),
    ("centroid_y", pa.float64()),
    ("perimeter_crofton", pa.float64()),
    ("circularity", pa.float64()),
    ("solidity", pa.float64()),
    ("major_axis_length", pa.float64()),
    ("minor_axis_length", pa.float64()),
    ("eccentricity", pa.float64()),
    ("orientation", pa.float64()),
    ("feret_diameter_max", pa.float64()),
    ("extent", pa.float64()),
    ("overlapping", pa.list_(pa.int32())),
    ("shared_pixels", pa.list_(pa.int64())),
    ("valid_pixels", pa.list_(pa.int64())),
    ("intensity_sum", _NUMBERS),
    ("intensity_mean", _NUMBERS),
    ("intensity_max", _NUMBERS),
    ("intensity_std", _NUMBERS),
)
"""Columns of a candidate, null in the one row of an image that has none or that failed.

`n_parts` is the number of connected parts of the mask that SAM found, of which only the largest is stored
if `fluorescence.largest_part` is set. `rle` is the `counts` of a COCO run-length encoding whose size is
(height, width). `overlapping` lists the numbers of the candidates that share pixels with this one, and
`shared_pixels` how many each shares. The intensities are those of its `valid_pixels`, which are finite;
without any they are null.
"""

SCHEMA = pa.schema([pa.field(name, kind) for name, kind in IMAGE_FIELDS + CANDIDATE_FIELDS])

_NAMES = frozenset(SCHEMA.names)

_INDEX_COLUMNS = ["image_id", "status", "transient", "plan"]

_ROWS_AT_ONCE = 10_000

_FLUSH = re.compile(r"-\d{5}\.parquet$")


class SegmentError(UserError):
    """A file among the segments is damaged or was not written by samfleet.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = path


class SegmentUnread(UserError):
    """A segment cannot be read at the moment, for want of memory or by a fault of the disk or network.

    That says nothing about the file, so it must not be set aside.
    """

    def __init__(self, path: Path, error: BaseException):
        super().__init__(
            f"{path}: cannot be read at the moment: {error or type(error).__name__}; it is kept; run again "
            "with more memory, or when the disk or network is well"
        )


class SegmentWriter:
    """Collects the rows of one job and writes them as segments of a store's folder.

    Args:
        folder: the store's folder of a model key.
        name: the beginning of the names of this job's segments, unique to the job.
    """

    def __init__(self, folder: Path, name: str):
        self.folder = folder
        self._name = name
        self._rows: list[Mapping[str, object]] = []
        self._tables: list[pa.Table] = []
        self._flushes: list[Path] = []

    def add(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Add the rows of one image, each with every column of the schema.

        Raises:
            ValueError: a row lacks a column or has one that the store does not know.
        """
        tables: list[pa.Table] = []
        few: list[Mapping[str, object]] = []
        for row in rows:
            if row.keys() != _NAMES:
                unknown, missing = sorted(row.keys() - _NAMES), sorted(_NAMES - row.keys())
                raise ValueError(f"columns unknown to the store: {unknown}; missing: {missing}")
            few.append(row)
            if len(few) >= _ROWS_AT_ONCE:  # as columns they take a tenth of the memory
                tables.append(pa.Table.from_pylist(few, SCHEMA))
                few = []
        if tables:
            self._pack()
            self._tables += tables
        self._rows += few

    def _pack(self) -> None:
        self._tables.append(pa.Table.from_pylist(self._rows, SCHEMA))
        self._rows = []

    def flush(self) -> None:
        """Write what was added since the last flush, if anything, as a separate segment."""
        if not self._rows and not self._tables:
            return
        self._pack()
        path = self.folder / f"{self._name}-{len(self._flushes):05d}.parquet"
        _write_segment(path, pa.concat_tables(self._tables))
        self._flushes.append(path)
        self._tables = []

    def finish(self) -> None:
        """Flush, and merge all flushed segments into one."""
        self.flush()
        if len(self._flushes) < 2:
            return
        merged = self.folder / f"{self._name}.parquet"
        # readers of a flush that is gone look for `merged`, so it is written before flushes go
        with atomic_path(merged) as temporary, _writer(temporary) as writer:
            for path in self._flushes:
                for group in read_segment(path):
                    writer.write_table(group, row_group_size=group.num_rows)
        for path in self._flushes:
            path.unlink(missing_ok=True)
        self._flushes = [merged]


def _write_segment(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary, _writer(temporary) as writer:
        # a single row group, so that an image's rows stay together
        writer.write_table(table, row_group_size=table.num_rows)


def _writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, SCHEMA, write_page_checksum=True)


def read_segment(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a segment; all rows of an image are next to each other in one of them.

    Raises:
        SegmentError: the file is damaged or was not written by this version of samfleet.
        SegmentUnread: the file cannot be read at the moment.
        FileNotFoundError: a job has merged it into another segment since it was listed.
    """
    try:
        # without a memory map, which not every file system has and for which addresses can run short
        with pq.ParquetFile(path, page_checksum_verification=True) as segment:
            if not segment.schema_arrow.equals(SCHEMA):
                raise SegmentError(path, "not a segment of this version of samfleet")
            described = segment.metadata
            groups = [described.row_group(n).num_rows for n in range(described.num_row_groups)]
            if sum(groups) != described.num_rows:  # no checksum covers the description of pages
                raise SegmentError(path, f"damaged: {sum(groups)} of {described.num_rows} rows")
            for group in range(segment.num_row_groups):
                yield segment.read_row_group(group, columns=columns)
    except (pa.ArrowException, MemoryError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError) or not path.exists():
            raise FileNotFoundError(path) from error
        if _is_of_the_machine(error):
            raise SegmentUnread(path, error) from error
        raise SegmentError(path, f"damaged: {error}") from error


def _is_of_the_machine(error: Exception) -> bool:
    """Whether an error may be one of memory, threads, disk or network rather than of what a file holds.

    What is wrong in a file, Arrow reports as a kind of error of its own, or as an OSError without `errno`.
    """
    no_memory = isinstance(error, MemoryError) or "bad_alloc" in str(error)
    unknown = type(error) is pa.ArrowException
    return no_memory or unknown or getattr(error, "errno", None) is not None


def read_present(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Like `read_segment`, but of a flush that its job has merged since, all that it was merged into.

    Raises:
        FileNotFoundError: the segment was deleted.
    """
    try:
        yield from read_segment(path, columns)
    except FileNotFoundError:
        yield from read_segment(_merged(path), columns)


def _merged(flush: Path) -> Path:
    """The segment into which a job merges a flush."""
    return flush.with_name(_FLUSH.sub(".parquet", flush.name))


def rebuild_index(folder: Path) -> Index:
    """Update the index of a store's folder to the segments that exist.

    A file that is damaged or no segment of samfleet is set aside with a warning: `.damaged` is appended
    to its name, and its images count as pending again.
    """
    index, segments = read_index(folder), segments_on_disk(folder)
    if index is not None and index.segments == segments:
        return index
    images: dict[str, StoredImage] = {}
    unread = set(segments)
    if index is not None and index.segments.items() <= segments.items():
        images = read_stored_images(folder)
        unread -= set(index.segments)
    lost = _read_segments(folder, unread, images, set_aside)
    if lost:  # a job may have merged them into a segment that was not there yet
        merged = {n: size for n, size in segments_on_disk(folder).items() if n not in segments}
        lost += _read_segments(folder, set(merged), images, set_aside)
        segments = {n: size for n, size in (segments | merged).items() if n not in lost}
    folder.mkdir(parents=True, exist_ok=True)
    return write_index(folder, segments, images.items())


def stored_images(folder: Path, prefix: str = "") -> dict[str, StoredImage]:
    """The images in the segments whose names begin with `prefix`, by image id.

    The index is neither read nor written.
    """
    images: dict[str, StoredImage] = {}
    names = {name for name in segments_on_disk(folder) if name.startswith(prefix)}
    _read_segments(folder, names, images, lambda error: logger.warning("%s; ignored", error))
    return images


def set_aside(error: SegmentError) -> None:
    """Append `.damaged` to the name of a file that is not a valid segment, with a warning."""
    logger.warning("%s; set aside: its images will be detected again", error)
    os.replace(error.path, error.path.with_name(f"{error.path.name}.damaged"))


def _read_segments(
    folder: Path,
    names: set[str],
    images: dict[str, StoredImage],
    damaged: Callable[[SegmentError], None],
) -> list[str]:
    """Add the contents of some segments to the best results so far.

    Returns:
        The segments that are damaged or do not exist any more.
    """
    found: dict[str, list[tuple[str, bool, str]]] = defaultdict(list)
    lost = []
    for name in sorted(names):
        try:
            for identity, status, transient, plan in _images_of(
                folder / name, read_segment(folder / name, _INDEX_COLUMNS)
            ):
                found[identity].append((status, transient, plan))
        except FileNotFoundError:
            lost.append(name)
        except SegmentError as error:
            damaged(error)
            lost.append(name)
    for identity, results in found.items():
        images[identity] = _best(results, images.get(identity))
    return lost


def _images_of(path: Path, groups: Iterable[pa.Table]) -> set[tuple[str, str, bool, str]]:
    """(image id, status, transient, plan) of every image of a segment's row groups."""
    images: set[tuple[str, str, bool, str]] = set()
    for group in groups:
        distinct = group.group_by(_INDEX_COLUMNS).aggregate([])
        if fault := _index_fault(distinct):
            raise SegmentError(path, f"damaged: {fault}")
        columns = (distinct[column].to_pylist() for column in _INDEX_COLUMNS)
        images.update(zip(*columns, strict=True))
    return images


def _index_fault(images: pa.Table) -> str:
    """What is impossible in the columns that the store is indexed by; empty if nothing is."""
    if any(images[name].null_count for name in ("image_id", "status", "transient", "plan")):
        return "an image without an id, a status or a plan is in it"
    if not set(pc.unique(images["status"]).to_pylist()) <= set(Status):
        return "a status in it is unknown"
    for name in ("image_id", "plan"):
        if pc.any(pc.match_substring_regex(images[name], r"[^\w.-]|^$")).as_py():
            return "an id or a plan in it is no name"
    return ""


def _rank(status: str, transient: bool) -> int:
    """The rank of a result: success is best, then permanent failure, transient failure, `changed`."""
    if status == Status.OK:
        return 0
    if status == Status.CHANGED:
        return 3
    return 2 if transient else 1


def _best(results: list[tuple[str, bool, str]], known: StoredImage | None) -> StoredImage:
    failed_in = {plan for status, _, plan in results if status != Status.OK}
    candidates = [(status, transient) for status, transient, _ in results]
    if known is not None:
        failed_in.update(known.failed_in)
        candidates.append((known.status, known.transient))
    status, transient = min(candidates, key=lambda candidate: (_rank(*candidate), candidate))
    return StoredImage(status, transient, tuple(sorted(failed_in)))


def best_results(folder: Path) -> dict[str, tuple[str, str]]:
    """For every image the segment with its best result, and the status of that result.

    Names break ties. A segment can have an image twice: as `changed`, and as read from another file.

    Args:
        folder: a store's folder, whose index is up to date.
    """
    best: dict[str, tuple[int, str, str]] = {}
    for name in segments_on_disk(folder):
        for identity, status, transient, _ in _images_of(
            folder / name, read_present(folder / name, _INDEX_COLUMNS)
        ):
            candidate = (_rank(status, transient), name, status)
            best[identity] = min(best.get(identity, candidate), candidate)
    return {identity: (name, status) for identity, (_, name, status) in best.items()}


def reason_text(reason: object) -> str:
    """A reason as one printable line."""
    return escape_name(" ".join(str(reason).split()))[:500]
