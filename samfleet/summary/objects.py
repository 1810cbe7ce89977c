"""Write results/objects.parquet: a row for each kept object, sorted by image, in bounded memory."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from samfleet.files import atomic_path
from samfleet.results import OBJECT_COLUMNS

PLACE = tuple(OBJECT_COLUMNS)[: list(OBJECT_COLUMNS).index("image_id")]
"""The columns that say which image an object is in; they are the same for all objects of an image."""

OBJECT_SCHEMA = pa.schema(
    [(name, pa.type_for_alias(kind)) for name, kind in OBJECT_COLUMNS.items()]
)

_BLOCK_IMAGES = 50_000
_PREFIX = ".objects-"
_RANK = pa.field("rank", pa.int64())


class ObjectSorter:
    """Takes objects in any order and writes them in the order of their images.

    Objects are kept on disk in blocks of consecutive images, and one block at a time is sorted in
    memory. To be used as a context manager.

    Args:
        folder: where temporary files can be written; only one process may be at work there.
        schema: the columns, which begin with PLACE.
    """

    def __init__(self, folder: Path, schema: pa.Schema = OBJECT_SCHEMA):
        self._schema = schema
        self._ranked = pa.schema([_RANK, *list(schema)[len(PLACE) :]])
        folder.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.glob(f"{_PREFIX}*"):  # by a process that was killed
            shutil.rmtree(abandoned)
        self._stack = ExitStack()
        temporary = tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX)
        self._folder = Path(self._stack.enter_context(temporary))
        self._writers: dict[int, pq.ParquetWriter] = {}

    def __enter__(self) -> "ObjectSorter":
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:  # a writer that cannot finish, on a full disk, must not keep its folder
            self._close_writers()

    def add(self, objects: pa.Table, ranks: np.ndarray) -> None:
        """Add objects.

        Args:
            objects: the columns of the schema except those of PLACE.
            ranks: int64, the position of each object's image among all.
        """
        table = objects.add_column(0, "rank", pa.array(ranks, pa.int64())).select(
            self._ranked.names
        )
        table = table.cast(self._ranked)
        blocks = ranks // _BLOCK_IMAGES
        for block in np.unique(blocks):
            if block not in self._writers:
                path = self._folder / f"{block}.parquet"
                self._writers[block] = pq.ParquetWriter(path, self._ranked)
            self._writers[block].write_table(table.take(np.flatnonzero(blocks == block)))

    def write(self, path: Path, images: pa.Table) -> int:
        """Write all objects to `path` atomically.

        Args:
            images: for every rank the columns of PLACE, and further ones, which come last in the file.

        Returns:
            The number of objects.
        """
        self._close_writers()
        further = [field for field in images.schema if field.name not in PLACE]
        schema = pa.schema([*self._schema, *further])
        count = 0
        with atomic_path(path) as target, pq.ParquetWriter(target, schema) as writer:
            for block in sorted(self._writers):
                table = pq.read_table(self._folder / f"{block}.parquet")
                order = pc.sort_indices(table, [("rank", "ascending"), ("label", "ascending")])
                table = table.take(order)
                chosen = images.take(table["rank"])
                columns = {name: chosen[name] for name in images.column_names}
                columns |= {name: table[name] for name in table.column_names}
                table = pa.table([columns[name] for name in schema.names], schema.names)
                writer.write_table(table.cast(schema))
                count += table.num_rows
        return count

    def _close_writers(self) -> None:
        for writer in self._writers.values():
            writer.close()
