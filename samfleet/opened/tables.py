"""Read summary.csv and objects.parquet again, image by image, however many objects there are."""

import csv
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from samfleet.cells import read_csv
from samfleet.errors import UserError
from samfleet.opened.masks import MEASUREMENTS
from samfleet.planes import Cells, ending_of
from samfleet.results import OBJECT_COLUMNS, SUMMARY_COLUMNS, objects_file, summary_file
from samfleet.statuses import Status

_ROWS = 16_384  # of objects.parquet that are read at a time


PLACE = ("image", "scene", "time", "slice")
"""The columns of all tables by which an image is known."""

Place = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class TableImage:
    """An image of summary.csv.

    Attributes:
        file: the path of its file, as the tables write it.
        cells: its columns `scene`, `time` and `slice`.
        image_id: the digest of its content.
        status, reason: as in the table.
        width, height: in pixels; 0 if they are not known.
        pixel_size: in µm; None if it is not known.
        own: the user's own columns.
    """

    file: str
    cells: Cells
    image_id: str
    status: str
    reason: str
    width: int = 0
    height: int = 0
    pixel_size: float | None = None
    own: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The path of its file and, if that holds several images, which of them it is."""
        return self.file + ending_of(self.cells)

    @property
    def place(self) -> Place:
        """The columns of tables by which it is known: file, scene, time and slice, as text."""
        return (self.file, *self.cells)

    @property
    def is_detected(self) -> bool:
        """Whether the image was detected, with or without objects."""
        return self.status in (Status.OK, Status.EMPTY)


def table_images(results: Path) -> list[TableImage]:
    """The images of summary.csv, in its order.

    Raises:
        UserError: the table is missing, damaged or not samfleet's.
    """
    path = summary_file(results)
    try:
        rows = read_csv(path)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); run the workflow again") from error
    try:
        return [
            TableImage(
                file=row["image"],
                cells=(row["scene"], row["time"], row["slice"]),
                image_id=row["image_id"],
                status=row["status"],
                reason=row["reason"],
                width=int(row["width"] or 0),
                height=int(row["height"] or 0),
                pixel_size=_pixel_size(row),
                own={name: value for name, value in row.items() if name not in SUMMARY_COLUMNS},
            )
            for row in rows
        ]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a table that samfleet wrote; run the workflow again"
        ) from error


def _pixel_size(row: Mapping[str, str]) -> float | None:
    """A finite number above 0 in the column `pixel_size_um`."""
    try:
        size = float(row.get("pixel_size_um", ""))
    except ValueError:
        return None
    return size if 0 < size < math.inf else None


def measurement_columns(results: Path) -> tuple[str, ...]:
    """The columns of objects.parquet that are measurements: those of all tables, then those of the channels.

    Raises:
        UserError: objects.parquet is missing or damaged.
    """
    path = objects_file(results)
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({error}); run the workflow again") from error
    further = (field for field in schema if field.name not in OBJECT_COLUMNS)
    # the user's own columns are text
    return (*MEASUREMENTS, *(each.name for each in further if pa.types.is_floating(each.type)))


def objects_of_images(
    results: Path, images: Sequence[TableImage], columns: Collection[str]
) -> Iterator[tuple[TableImage, pa.Table]]:
    """Each of some images with its objects, in the order of the tables; one image at a time is in memory.

    Args:
        results: the folder of the results.
        images: images of the table, in its order.
        columns: the columns of objects.parquet to read; PLACE comes with them.

    Raises:
        UserError: objects.parquet is missing, damaged or not samfleet's.
    """
    path = objects_file(results)
    wanted = {image.place for image in images}
    try:
        with pq.ParquetFile(path) as file:
            names = list(dict.fromkeys([*PLACE, *columns]))
            if missing := set(names) - set(file.schema_arrow.names):
                raise UserError(
                    f"{path} is not a table that this version of samfleet wrote: it has no column "
                    f"{' nor '.join(sorted(missing))}; run the workflow again"
                )
            groups = _groups(file.iter_batches(_ROWS, columns=names), names)
            found = next(groups, None)
            for image in images:
                while found and found[0] != image.place and found[0] not in wanted:
                    found = next(groups, None)
                if found and found[0] == image.place:
                    yield image, found[1]
                    found = next(groups, None)
                else:
                    yield image, pa.table({name: [] for name in names})
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({error}); run the workflow again") from error


def _groups(
    batches: Iterator[pa.RecordBatch], columns: list[str]
) -> Iterator[tuple[Place, pa.Table]]:
    """The consecutive rows of each image, with its place."""
    kept: pa.Table | None = None
    for batch in batches:
        table = pa.Table.from_batches([batch]).select(columns)
        if kept is not None:
            table = pa.concat_tables([kept, table]).combine_chunks()
        starts = _starts(table)
        for start, stop in itertools.pairwise(starts):
            yield _place(table, start), table.slice(start, stop - start)
        kept = table.slice(starts[-1]) if starts else None
    if kept is not None:
        yield _place(kept, 0), kept


def _starts(table: pa.Table) -> list[int]:
    """The first row of every image."""
    begins = np.zeros(table.num_rows, bool)
    for name in PLACE:
        coded = table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        begins |= np.diff(coded.indices.to_numpy(), prepend=-1) != 0
    return np.flatnonzero(begins).tolist()


def _place(table: pa.Table, row: int) -> Place:
    file, scene, time, slice_ = (table[name][row].as_py() for name in PLACE)
    return file, *("" if value is None else str(value) for value in (scene, time, slice_))
