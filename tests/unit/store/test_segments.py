"""Segments: complete or absent, flushed as a job goes, damaged ones set aside."""

import os
import signal
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samfleet.resources import ROOT
from samfleet.store.index import read_index, read_stored_images, segments_on_disk
from samfleet.store.segments import (
    SCHEMA,
    SegmentError,
    SegmentUnread,
    SegmentWriter,
    read_segment,
    reason_text,
    rebuild_index,
)
from tests.builders import stored_candidate, stored_rows, write_segment

IMAGES = [stored_rows("A", 3), stored_rows("B", 0), stored_rows("C", 2)]


def read(folder) -> list[dict]:
    return [
        row
        for name in segments_on_disk(folder)
        for group in read_segment(folder / name)
        for row in group.to_pylist()
    ]


def test_rows_are_read_as_they_were_written(tmp_path):
    candidate = stored_candidate(0, overlapping=[1, 4], shared_pixels=[10, 2**40])
    write_segment(tmp_path, "a", stored_rows("A", [candidate]))
    (row,) = read(tmp_path)
    assert asdict(candidate).items() <= row.items()
    assert list(row) == SCHEMA.names


@pytest.mark.parametrize("change", ["misspelt", "missing", "unknown"])
def test_a_row_with_other_columns_than_the_stores_is_refused(tmp_path, change):
    (row,) = stored_rows("A")
    if change != "unknown":
        del row["perimeter_crofton"]
    if change != "missing":
        row["perimetre"] = 160.0
    writer = SegmentWriter(tmp_path / "store", "a")
    with pytest.raises(ValueError, match="perimet"):
        writer.add([*stored_rows("B"), row])
    writer.finish()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("flush_every", [0, 1, 2])
def test_flushes_of_a_job_become_one_segment_of_the_same_rows(tmp_path, flush_every):
    write_segment(tmp_path / "other", "a", *IMAGES)
    write_segment(tmp_path / "flushed", "a", *IMAGES, flush_every=flush_every)
    assert len(segments_on_disk(tmp_path / "flushed")) == 1
    assert read(tmp_path / "flushed") == read(tmp_path / "other")
    assert len(os.listdir(tmp_path / "flushed")) == 1


def test_what_is_flushed_can_be_read_before_the_job_ends(tmp_path):
    writer = SegmentWriter(tmp_path, "a")
    writer.add(IMAGES[0])
    assert read(tmp_path) == []
    writer.flush()
    assert {row["image_id"] for row in read(tmp_path)} == {"A"}
    writer.add(IMAGES[2])
    writer.flush()
    assert {row["image_id"] for row in read(tmp_path)} == {"A", "C"}


def test_nothing_is_written_for_nothing(tmp_path):
    writer = SegmentWriter(tmp_path / "store", "a")
    writer.flush()
    writer.finish()
    assert not (tmp_path / "store").exists()


def test_rows_of_an_image_stay_in_one_row_group(tmp_path):
    write_segment(tmp_path, "a", *IMAGES, flush_every=2)
    (name,) = segments_on_disk(tmp_path)
    groups = [group["image_id"].to_pylist() for group in read_segment(tmp_path / name)]
    assert groups == [["A"] * 3 + ["B"], ["C"] * 2]


def damaged(kind: str, path) -> None:
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-50])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "overwritten":
        content = bytearray(path.read_bytes())
        content[4:400] = b"\xff" * 396
        path.write_bytes(content)
    else:
        pq.write_table(pa.table({"image_id": ["A"]}), path)


@pytest.mark.parametrize("kind", ["cut off", "empty", "foreign"])
def test_a_damaged_or_foreign_segment_is_refused_by_its_name(tmp_path, kind):
    write_segment(tmp_path, "a", IMAGES[0])
    damaged(kind, tmp_path / "a-00000.parquet")
    with pytest.raises(SegmentError, match=r"a-00000\.parquet: (damaged|not a segment)"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["cut off", "empty", "overwritten", "foreign"])
def test_a_damaged_segment_is_set_aside_and_its_images_are_pending(tmp_path, kind, caplog):
    write_segment(tmp_path, "a", IMAGES[0])
    write_segment(tmp_path, "b", IMAGES[2])
    damaged(kind, tmp_path / "a-00000.parquet")
    rebuild_index(tmp_path)
    assert set(read_stored_images(tmp_path)) == {"C"}
    assert (tmp_path / "a-00000.parquet.damaged").exists()
    assert set(segments_on_disk(tmp_path)) == {"b-00000.parquet"}
    assert read_index(tmp_path).segments == segments_on_disk(tmp_path)
    assert "a-00000.parquet" in caplog.text
    assert "detected again" in caplog.text


def test_a_segment_that_a_job_replaced_meanwhile_is_not_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_segment(tmp_path / "gone.parquet"))


def test_an_index_leaves_out_a_segment_that_a_job_replaced_while_it_was_made(tmp_path, monkeypatch):
    write_segment(tmp_path, "a", IMAGES[0])
    seen = segments_on_disk(tmp_path)
    monkeypatch.setattr(
        "samfleet.store.segments.segments_on_disk", lambda _: seen | {"gone.parquet": 7}
    )
    assert rebuild_index(tmp_path).segments == seen
    assert set(read_stored_images(tmp_path)) == {"A"}


def test_an_index_has_the_images_of_flushes_that_were_merged_while_it_was_made(
    tmp_path, monkeypatch
):
    write_segment(tmp_path, "a", *IMAGES, flush_every=1)
    whole = rebuild_index(tmp_path)
    for name in ("index.json", "images.tsv"):
        (tmp_path / name).unlink()
    listings = iter([{"a-00000.parquet": 9, "a-00001.parquet": 9}])
    monkeypatch.setattr(
        "samfleet.store.segments.segments_on_disk",
        lambda folder: next(listings, None) or segments_on_disk(folder),
    )
    assert rebuild_index(tmp_path) == whole
    assert set(read_stored_images(tmp_path)) == {"A", "B", "C"}


def test_a_reason_is_one_printable_line():
    assert reason_text("two\nlines\tand \x00\udcff") == r"two lines and \u0000\xff"
    assert len(reason_text("x" * 10_000)) == 500


def test_a_flipped_bit_in_any_page_is_damage(tmp_path):
    write_segment(tmp_path, "a", IMAGES[0])
    path = tmp_path / "a-00000.parquet"
    whole = path.read_bytes()
    with pq.ParquetFile(path) as segment:
        group = segment.metadata.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
    rle = next(column for column in columns if column.path_in_schema == "rle")
    end = rle.dictionary_page_offset + rle.total_compressed_size
    content = bytearray(whole)
    content[end - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SegmentError, match=r"a-00000\.parquet: damaged"):
        read(tmp_path)


def test_a_flipped_bit_that_would_hide_rows_is_damage(tmp_path):
    write_segment(tmp_path, "a", IMAGES[0], IMAGES[2], flush_every=1)
    (name,) = segments_on_disk(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    rows_of_second_group = b"\x16\x04\x26"  # in Thrift's compact protocol, before its file offset
    at = content.rindex(rows_of_second_group) + 1
    content[at] ^= 4
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SegmentError, match="damaged: 3 of 5 rows"):
        read(tmp_path)


def test_a_disk_that_fails_is_not_a_damaged_segment(tmp_path, monkeypatch):
    write_segment(tmp_path, "a", IMAGES[0])

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("samfleet.store.segments.pq.ParquetFile", fail)
    with pytest.raises(
        SegmentUnread, match=r"a-00000\.parquet: cannot be read .*Input/output error"
    ):
        rebuild_index(tmp_path)
    assert (tmp_path / "a-00000.parquet").exists()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image_id", None),
        ("image_id", ""),
        ("image_id", "A\tB"),
        ("status", None),
        ("status", "splendid"),
        ("transient", None),
        ("plan", None),
        ("plan", "one,two"),
        ("plan", "one\n"),
    ],
)
def test_a_segment_whose_images_cannot_be_listed_is_set_aside(tmp_path, column, value):
    write_segment(tmp_path, "good", stored_rows("A", 2))
    rows = stored_rows("B", status="error", reason="why")
    write_segment(tmp_path, "poisoned", [row | {column: value} for row in rows])
    assert list(rebuild_index(tmp_path).segments) == ["good-00000.parquet"]
    assert list(read_stored_images(tmp_path)) == ["A"]
    assert [path.name for path in tmp_path.glob("*.damaged")] == ["poisoned-00000.parquet.damaged"]


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from samfleet.store.segments import SegmentUnread, rebuild_index

def address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

folder, outcomes = Path(sys.argv[1]), []
for megabytes in (0, 1, 2, 4, 8, 16, 24, 32, 48):
    limit = address_space() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        rebuild_index(folder)
        outcomes.append("read")
    except (SegmentUnread, MemoryError) as error:
        outcomes.append("unread")
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(*outcomes)
"""


def test_a_segment_is_not_damaged_because_memory_is_short(tmp_path):
    """A large one, so that reading it needs more than there is; the file is whole all the time."""
    random = np.random.default_rng(0)
    masks = [random.bytes(2**20).hex() for _ in range(8)]
    candidates = [stored_candidate(number, rle=rle) for number, rle in enumerate(masks)]
    write_segment(tmp_path, "a", stored_rows("A" * 2**20, candidates))
    child = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT), "ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
    )
    assert [path.name for path in tmp_path.glob("a-*")] == ["a-00000.parquet"], child.stderr
    # Arrow ends the process where it cannot even make its own error
    assert "unread" in child.stdout or child.returncode == -signal.SIGABRT, child.stderr
    rebuild_index(tmp_path)
    assert set(read_stored_images(tmp_path)) == {"A" * 2**20}
