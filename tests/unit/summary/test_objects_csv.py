"""The table of objects as CSV."""

import csv
import gzip

import pandas as pd
import pytest

from samfleet.cells import unguarded
from samfleet.results import OBJECT_COLUMNS, objects_csv_file
from samfleet.summary.objects_csv import write_objects_csv
from tests.detected import DISC, object_row, write_objects


@pytest.mark.parametrize("bom", [False, True])
def test_the_csv_holds_what_the_parquet_holds_and_no_formula(tmp_path, bom):
    rows = [
        object_row(DISC, n, image=name, solidity=0.1 + n)
        for n, name in enumerate(["=1+1.tif", 'ä,"b.tif'], 1)
    ]
    write_objects(tmp_path / "objects.parquet", rows, row_group_size=1)
    write_objects_csv(tmp_path, wanted=True, bom=bom)
    first = objects_csv_file(tmp_path).read_bytes()
    with gzip.open(objects_csv_file(tmp_path), "rt", encoding="utf-8", newline="") as file:
        text = file.read()
    assert text.startswith("\ufeff") == bom
    cells = list(csv.DictReader(text.removeprefix("\ufeff").splitlines()))
    assert cells[0]["image"] == "'=1+1.tif"
    assert [unguarded(each["image"]) for each in cells] == [row["image"] for row in rows]
    table = pd.read_csv(objects_csv_file(tmp_path), encoding="utf-8-sig")
    assert table.columns.tolist() == [name for name in OBJECT_COLUMNS if name != "rle"]
    assert table["area"].tolist() == [int(DISC.sum())] * 2
    assert table["solidity"].tolist() == [1.1, 2.1]
    write_objects_csv(tmp_path, wanted=True, bom=bom)
    assert objects_csv_file(tmp_path).read_bytes() == first
    write_objects_csv(tmp_path, wanted=False, bom=bom)
    assert not objects_csv_file(tmp_path).exists()


def test_a_table_without_objects_has_its_header(tmp_path):
    write_objects(tmp_path / "objects.parquet", [])
    write_objects_csv(tmp_path, wanted=True, bom=False)
    assert pd.read_csv(objects_csv_file(tmp_path)).empty
