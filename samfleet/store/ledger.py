"""The ledger: for every detection, where it ran and how long its stages took.

A detection's row is part of its result in the store, so neither exists without the other.
"""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from samfleet.cells import encoding, guarded
from samfleet.files import atomic_path
from samfleet.results import LEDGER_COLUMNS, ledger_file, store_root
from samfleet.store.index import segments_on_disk
from samfleet.store.segments import SCHEMA, SegmentError, read_present
from samfleet.wording import counted

logger = logging.getLogger(__name__)

_STORED = [name for name in LEDGER_COLUMNS if name != "model_key"]
_SCHEMA = pa.schema(
    [(name, SCHEMA.field(name).type if name in _STORED else pa.string()) for name in LEDGER_COLUMNS]
)


def detections(results: Path) -> pa.Table:
    """The ledger of all jobs under all model keys, sorted by time.

    Every detection has a row, also where an image was detected several times. Segments that are damaged,
    or of a version of samfleet whose results are not used any more, are left out with a warning.
    """
    tables, left_out = [], []
    for folder in sorted(store_root(results).glob("*/")):
        for name in segments_on_disk(folder):
            try:
                tables.extend(_detections_of(folder / name))
            except SegmentError as error:
                left_out.append(str(error))
    if left_out:
        count = counted(len(left_out), "segment")
        logger.warning("not in the ledger: the detections in %s; the first: %s", count, left_out[0])
    ledger = pa.concat_tables([_SCHEMA.empty_table(), *tables])
    # a job that has merged its flushes, or was killed while it did, leaves rows in two segments
    ledger = ledger.group_by(_SCHEMA.names).aggregate([]).select(_SCHEMA.names)
    return ledger.sort_by([("when", "ascending"), ("image_id", "ascending")])


def _detections_of(path: Path) -> list[pa.Table]:
    """One row for each detection of a segment."""
    tables = []
    for group in read_present(path, [*_STORED, "candidate"]):
        first = group.filter(pc.equal(pc.fill_null(group["candidate"], 0), 0))
        key = pa.repeat(path.parent.name, first.num_rows)
        tables.append(first.append_column("model_key", key).select(_SCHEMA.names))
    return tables


def collect_ledger(results: Path, *, bom: bool = False) -> int:
    """Write results/ledger.csv from the store, sorted by time.

    Args:
        bom: whether it begins with a byte order mark.

    Returns:
        The number of detections.
    """
    ledger = detections(results)
    with atomic_path(ledger_file(results)) as temporary, temporary.open("wb") as file:
        file.write((",".join(LEDGER_COLUMNS) + "\n").encode(encoding(bom)))
        options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
        cells = [guarded_column(column) for column in ledger.columns]
        pa.csv.write_csv(pa.table(cells, _SCHEMA), file, options)
    return ledger.num_rows


def guarded_column(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """A column whose text no spreadsheet runs as a formula."""
    if not pa.types.is_string(column.type):
        return column
    coded = column.combine_chunks().dictionary_encode()
    return pa.array(map(guarded, coded.dictionary.to_pylist()), pa.string()).take(coded.indices)
