"""Write results/objects.csv.gz: objects.parquet without masks, for spreadsheets, R and others."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from samfleet.cells import guarded
from samfleet.files import atomic_path
from samfleet.results import objects_csv_file, objects_file
from samfleet.store.ledger import guarded_column

_ROWS = 65_536
_LEFT_OUT = {"rle"}


def write_objects_csv(results: Path, *, wanted: bool, bom: bool) -> None:
    """Write the table from objects.parquet, some rows at a time; or remove an earlier one.

    Args:
        results: the folder of the results.
        wanted: whether there should be one.
        bom: whether it begins with a byte order mark.
    """
    target = objects_csv_file(results)
    if not wanted:
        target.unlink(missing_ok=True)
        return
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
    with (
        pq.ParquetFile(objects_file(results)) as objects,
        atomic_path(target) as temporary,
        temporary.open("wb") as raw,
        # without a name and a time, so that the same objects are the same bytes
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as file,
    ):
        names = [name for name in objects.schema_arrow.names if name not in _LEFT_OUT]
        header = pa.csv.WriteOptions(include_header=True, quoting_style="needed")
        file.write("\ufeff".encode() if bom else b"")
        empty = pa.table({guarded(name): pa.array([], pa.string()) for name in names})
        pa.csv.write_csv(empty, file, header)
        for batch in objects.iter_batches(_ROWS, columns=names):
            table = pa.Table.from_batches([batch])
            columns = [guarded_column(column) for column in table.columns]
            pa.csv.write_csv(pa.table(columns, names), file, options)
