"""What lies on the disk between runs, mutated: it is read as it was, made anew or refused by name."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from samfleet.files import TableError
from samfleet.plan.collection import ManifestError, scan_collection
from samfleet.plan.manifest import (
    KnownFile,
    ManifestRow,
    read_known_files,
    read_manifest,
    write_known_files,
    write_manifest,
)
from samfleet.plan.record import PlannedShard, read_plan
from samfleet.plan.shards import ShardImage, read_shard, write_shard
from samfleet.planes import Description, Plane, Scene
from samfleet.results import LEDGER_COLUMNS
from samfleet.sam.model_key import weights_digest
from samfleet.stamps import read_record, write_record
from samfleet.store.index import read_index, read_stored_images
from samfleet.store.ledger import collect_ledger
from samfleet.store.segments import SegmentError, read_segment, rebuild_index, stored_images
from tests.builders import plan_of, stored_rows, write_segment
from tests.examples import examples

FUZZ = examples(300, derandomize=True, suppress_health_check=list(HealthCheck))
ODDITIES = [b"", b"\t", b"\n", b"\0", b"\xff", b"-", b"9" * 400, b'"', b",", b"[" * 3000, b"null"]
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 30), st.sampled_from(ODDITIES) | st.binary(max_size=9)
    ),
    min_size=1,
    max_size=3,
)
"""For each change where it is, how many bytes go, and what comes in their place."""


def mutated(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for share, removed, inserted in changes:
        at = int(share * len(data))
        data = data[:at] + inserted + data[at + removed :]
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def tables(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """Whole files by kind, each with what reads it."""
    manifest, shard = folder / "manifest.tsv", folder / "0001.tsv"
    write_manifest(
        manifest,
        [
            ManifestRow("a\tb.png", "12ab", 30, 10**18),
            ManifestRow("c", "", 0, 0, "gone"),
            ManifestRow("d", "34cd", 5, 6, cells=("1", "2", "max"), channels=(("DAPI", "d"),)),
        ],
    )
    files, journal = folder / "descriptions.tsv", folder / "hashes.tsv"
    described = Description((Scene("A1", times=3), Scene(problem="gone"))).to_json()
    for path in (files, journal):
        write_known_files(path, [KnownFile("c.nd2", "12ab", 30, 10**18, described)])
    write_shard(
        shard,
        [
            ShardImage("12ab", 30, "a\tb.png"),
            ShardImage("34cd", 40, "\udcff.tif", 1, Plane(0, 1, "2"), 5, (("GFP", "\udcff.tif"),)),
        ],
    )
    plan = plan_of(
        PlannedShard("0001", 2, 3.5),
        images=2,
        id="p",
        source="demo",
        files="files",
        manifest="manifest",
        descriptions="descriptions",
        selection="selection",
        model_key="key",
        content="content",
        max_pixels=10,
    )
    (folder / "plan.json").write_text(plan.to_json())
    write_record(folder / "summary.json", "digest", 3, [manifest])
    return {
        "manifest": (manifest, lambda path: list(read_manifest(path))),
        "descriptions": (files, lambda path: list(read_known_files(path))),
        "journal": (journal, lambda path: list(read_known_files(path, journal=True))),
        "shard": (shard, lambda path: list(read_shard(path))),
        "plan": (folder / "plan.json", read_plan),
        "record": (folder / "summary.json", lambda path: read_record(path, [manifest])),
    }  # fmt: skip


@FUZZ
@given(st.sampled_from(["manifest", "descriptions", "journal", "shard", "plan", "record"]), CHANGES)
@example("record", [(0, 999, b"[1]")])
@example("manifest", [(0, 999, b"")])
@example("plan", [(0, 999, b"[" * 3000)])
def test_a_table_is_read_or_refused_by_its_name(folder, kind, changes):
    whole, read = tables(folder)[kind]
    path = folder / f"mutated {kind}"
    path.write_bytes(mutated(whole.read_bytes(), changes))
    try:
        read(path)
    except TableError as error:
        assert str(error).startswith(f"{path}: ")
        assert "delete it" in str(error)


@FUZZ
@given(CHANGES)
def test_a_users_table_is_read_or_refused_by_its_name(folder, changes):
    for name in ("a.tif", "b.tif"):
        (folder / name).touch()
    path = folder / "plate.csv"
    path.write_bytes(mutated(b'well,image,note\nA1,a.tif,"1, x"\nA2,b.tif,\n', changes))
    try:
        collection = scan_collection(str(path), [".tif"], folder / "results")
    except ManifestError as error:
        assert str(path) in str(error)
        return
    assert any(file.mode for file in collection.files)
    for file in collection.files:
        assert bool(file.mode) == os.path.exists(collection.root / file.path)
    rows = [row for rows in collection.rows.values() for row in rows]
    assert {len(row.values) for row in rows} == {len(collection.columns)}


@FUZZ
@given(CHANGES)
def test_a_damaged_segment_costs_the_ledger_its_own_rows_alone(tmp_path_factory, changes):
    results = tmp_path_factory.mktemp("results")
    write_segment(results / "store" / "key", "a", stored_rows("A", 2), stored_rows("B"))
    write_segment(results / "store" / "other", "b", stored_rows("C"))
    (path,) = (results / "store" / "key").glob("*.parquet")
    path.write_bytes(mutated(path.read_bytes(), changes))
    count = collect_ledger(results)
    with (results / "ledger.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count >= 1
    assert all(set(row) == set(LEDGER_COLUMNS) for row in rows)
    assert {row["image_id"] for row in rows} in ({"C"}, {"A", "B", "C"})


@FUZZ
@given(st.sampled_from(["index.json", "images.tsv"]), CHANGES)
def test_a_damaged_index_is_made_anew(tmp_path_factory, name, changes):
    folder = tmp_path_factory.mktemp("store")
    write_segment(folder, "a", stored_rows("A", 2), stored_rows("B", status="unreadable"))
    index = rebuild_index(folder)
    images = read_stored_images(folder)
    path = folder / name
    path.write_bytes(mutated(path.read_bytes(), changes))
    assert read_index(folder) in (None, index)
    assert read_stored_images(folder) in ({}, images)
    assert rebuild_index(folder) == index
    assert read_stored_images(folder) == images


@FUZZ
@given(CHANGES)
@example([(0, 999, b"[1]")])
@example([(0, 999, b"3")])
def test_a_damaged_cache_of_digests_stops_nothing(folder, changes):
    weights, cache = folder / "weights.pth", folder / "weights.json"
    weights.write_bytes(b"weights")
    cache.write_bytes(mutated(json.dumps({"other 1 2": "12ab"}).encode(), changes))
    digest = weights_digest(weights, cache)
    assert weights_digest(weights, cache) == digest


@pytest.fixture(scope="module")
def segment(folder) -> Path:
    """A segment of two row groups."""
    images = [stored_rows("A", 3), stored_rows("B", 0), stored_rows("C", 2)]
    write_segment(folder / "whole", "a", *images, flush_every=2)
    (path,) = (folder / "whole").glob("*.parquet")
    return path


def rows_of(path: Path) -> list[dict]:
    return [row for group in read_segment(path) for row in group.to_pylist()]


def assert_damaged_or_the_same(whole: Path, data: bytes) -> None:
    """Mutated data are a damaged segment, or give the rows of the whole one."""
    store = whole.parent.parent / "mutated"
    store.mkdir(exist_ok=True)
    path = store / "a.parquet"
    path.write_bytes(data)
    try:
        rows = rows_of(path)
    except SegmentError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert rows == rows_of(whole)
    assert stored_images(store).items() <= stored_images(whole.parent).items()


FLIPS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=3
)


@FUZZ
@given(FLIPS)
def test_flipped_bits_of_a_segment_are_damage_or_change_nothing(segment, flips):
    data = bytearray(segment.read_bytes())
    for share, bit in flips:
        data[int(share * len(data))] ^= 1 << bit
    assert_damaged_or_the_same(segment, bytes(data))


@FUZZ
@given(CHANGES)
def test_changed_bytes_of_a_segment_are_damage_or_change_nothing(segment, changes):
    assert_damaged_or_the_same(segment, mutated(segment.read_bytes(), changes))


COLUMN = st.sampled_from([pa.int32(), pa.string(), pa.float64(), pa.list_(pa.float64()), pa.null()])


@FUZZ
@given(
    st.dictionaries(st.sampled_from(["image_id", "status", "rle", "other"]), COLUMN), st.booleans()
)
def test_a_foreign_parquet_file_is_no_segment(folder, columns, with_rows):
    store = folder / "foreign"
    store.mkdir(exist_ok=True)
    table = pa.table({name: pa.nulls(int(with_rows), kind) for name, kind in columns.items()})
    pq.write_table(table, store / "a.parquet")
    with pytest.raises(SegmentError, match=r"a\.parquet: not a segment"):
        rows_of(store / "a.parquet")
    assert stored_images(store) == {}
