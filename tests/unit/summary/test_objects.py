"""objects.parquet: sorted by image however the objects came, complete or absent."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samfleet.resources import ROOT
from samfleet.summary import objects
from samfleet.summary.objects import OBJECT_SCHEMA, PLACE, ObjectSorter

NAMES = [f"{n}.tif" for n in range(12)]
PLACES = pa.table(
    {
        name: pa.array(NAMES if name == "image" else [None] * 12, OBJECT_SCHEMA.field(name).type)
        for name in PLACE
    }
)


def table(numbers: list[int]) -> pa.Table:
    """Objects with these numbers and, in the other columns, what tells them apart."""
    columns = {}
    for field in list(OBJECT_SCHEMA)[len(PLACE) :]:
        values = [f"{field.name}{n}" for n in numbers] if field.type == pa.string() else numbers
        if field.name == "candidate":
            values = [-n for n in numbers]
        if field.type == pa.bool_():
            values = [n % 2 == 1 for n in numbers]
        columns[field.name] = pa.array(values, field.type)
    return pa.table(columns)


def write(folder, images: list[tuple[int, int]], chunks: list[int]) -> tuple[int, pa.Table, bytes]:
    """Write objects of images, (rank, number of objects), added in chunks of images."""
    path = folder / "objects.parquet"
    with ObjectSorter(folder / "temporary") as sorter:
        start = 0
        for size in [*chunks, len(images)]:
            chunk = images[start : start + size]
            start += size
            numbers = [n for _, count in chunk for n in range(1, count + 1)]
            ranks = [rank for rank, count in chunk for _ in range(count)]
            if numbers:
                sorter.add(table(numbers), np.array(ranks, np.int64))
        count = sorter.write(path, PLACES)
    assert list((folder / "temporary").iterdir()) == []
    return count, pq.read_table(path), path.read_bytes()


def test_objects_are_sorted_by_image_and_number(tmp_path):
    count, found, _ = write(tmp_path, [(4, 2), (0, 1), (2, 3)], [])
    assert count == 6
    assert found.schema.equals(OBJECT_SCHEMA)
    assert found["image"].to_pylist() == ["0.tif", "2.tif", "2.tif", "2.tif", "4.tif", "4.tif"]
    assert found["label"].to_pylist() == [1, 1, 2, 3, 1, 2]
    assert found["rle"].to_pylist() == [f"rle{n}" for n in (1, 1, 2, 3, 1, 2)]


@settings(deadline=None, max_examples=12)
@given(
    order=st.permutations(list(enumerate([2, 0, 3, 1, 1, 4, 2, 0, 1, 2, 3, 1]))),
    chunks=st.lists(st.integers(1, 5), max_size=5),
    block=st.sampled_from([1, 3, 100]),
)
def test_the_file_does_not_depend_on_the_order_in_which_objects_come(
    order, chunks, block, tmp_path_factory
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "_BLOCK_IMAGES", block)
        one = write(tmp_path_factory.mktemp("one"), sorted(order), [])
        other = write(tmp_path_factory.mktemp("other"), order, chunks)
    assert one[2] == other[2]
    assert other[1]["image"].to_pylist() == sorted(other[1]["image"].to_pylist(), key=NAMES.index)


def test_no_objects_are_a_table_without_rows(tmp_path):
    count, found, _ = write(tmp_path, [], [])
    assert count == found.num_rows == 0
    assert found.schema.equals(OBJECT_SCHEMA)


def test_an_error_leaves_neither_a_table_nor_temporary_files(tmp_path):
    with pytest.raises(ZeroDivisionError), ObjectSorter(tmp_path) as sorter:
        sorter.add(table([1]), np.array([0]))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from samfleet.summary.objects import ObjectSorter

with ObjectSorter(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_summary_left_goes_with_the_next(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT)
    (abandoned,) = tmp_path.iterdir()
    with ObjectSorter(tmp_path):
        (folder,) = tmp_path.iterdir()
        assert folder != abandoned
    assert list(tmp_path.iterdir()) == []
