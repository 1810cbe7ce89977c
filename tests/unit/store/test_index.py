"""The index: what the store holds, brought up to date by reading new segments alone."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.store.index import (
    StoredImage,
    read_index,
    read_stored_images,
    segments_on_disk,
    write_index,
)
from samfleet.store.segments import best_results, read_segment, rebuild_index, stored_images
from tests.builders import stored_rows, write_segment
from tests.examples import examples

OUTCOMES = {
    "ok": False,
    "changed": True,
    "unreadable": False,
    "too_large": False,
    "out_of_memory": True,
}
"""Statuses with whether they are transient."""

IMAGE = st.tuples(st.sampled_from("ABCD"), st.sampled_from(sorted(OUTCOMES)))
SEGMENT = st.tuples(
    st.sampled_from(["plan1", "plan2", "plan3"]), st.lists(IMAGE, max_size=3), st.booleans()
)


def rows(image_id: str, status: str, plan: str = "plan1") -> list[dict]:
    return stored_rows(image_id, status=status, transient=OUTCOMES[status], plan=plan)


def index_from_scratch(folder: Path, copy: Path) -> tuple:
    shutil.copytree(folder, copy)
    for name in ("index.json", "images.tsv"):
        (copy / name).unlink(missing_ok=True)
    return rebuild_index(copy), read_stored_images(copy)


@examples(25)
@given(segments=st.lists(SEGMENT, max_size=6))
def test_an_index_that_grew_is_one_made_from_scratch(segments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "key"
    for number, (plan, images, rebuilt) in enumerate(segments):
        write_segment(folder, f"{number}", *(rows(*entry, plan) for entry in images))
        if rebuilt:
            rebuild_index(folder)
    grown = rebuild_index(folder), read_stored_images(folder)
    assert grown == index_from_scratch(folder, folder.parent / "copy")
    assert grown[1] == stored_images(folder)
    assert {name: image.status for name, image in grown[1].items() if image.status == "ok"} == {
        name: status for name, (_, status) in best_results(folder).items() if status == "ok"
    }


@pytest.mark.parametrize("indexed_each_time", [False, True])
@pytest.mark.parametrize(
    ("statuses", "best"),
    [
        (["unreadable", "ok", "out_of_memory"], "ok"),
        (["changed", "ok"], "ok"),
        (["out_of_memory", "unreadable", "changed"], "unreadable"),
        (["changed", "out_of_memory"], "out_of_memory"),
        (["changed"], "changed"),
    ],
)
def test_success_beats_permanent_beats_transient_beats_changed(
    tmp_path, statuses, best, indexed_each_time
):
    for order in (statuses, statuses[::-1]):
        folder = tmp_path / "-".join(order)
        for number, status in enumerate(order):
            write_segment(folder, f"{number}", rows("A", status))
            if indexed_each_time:
                rebuild_index(folder)
        rebuild_index(folder)
        assert read_stored_images(folder)["A"].status == best
        assert best_results(folder)["A"] == (f"{order.index(best)}-00000.parquet", best)


def test_of_equal_results_that_of_the_first_segment_by_name_is_taken(tmp_path):
    for name in ("b", "a", "c"):
        write_segment(tmp_path, name, rows("A", "ok"))
    assert best_results(tmp_path) == {"A": ("a-00000.parquet", "ok")}


def test_an_image_may_be_in_one_segment_as_changed_and_as_detected(tmp_path):
    write_segment(tmp_path, "a", rows("A", "changed"), rows("B", "ok"), rows("A", "ok"))
    rebuild_index(tmp_path)
    assert read_stored_images(tmp_path)["A"].status == "ok"
    assert best_results(tmp_path)["A"] == ("a-00000.parquet", "ok")


def test_a_run_counts_once_however_often_an_image_failed_in_it(tmp_path):
    for number, plan in enumerate(["plan1", "plan1", "plan2"]):
        write_segment(tmp_path, f"{number}", rows("A", "out_of_memory", plan))
        rebuild_index(tmp_path)
    assert read_stored_images(tmp_path)["A"].failed_in == ("plan1", "plan2")


@pytest.mark.parametrize(
    ("image", "pending", "pending_again"),
    [
        (StoredImage("ok", False), False, False),
        (StoredImage("ok", False, ("p1",)), False, False),
        (StoredImage("changed", True, ("p1", "p2", "p3")), True, True),
        (StoredImage("out_of_memory", True, ("p1", "p2")), True, True),
        (StoredImage("out_of_memory", True, ("p1", "p2", "p3")), False, True),
        (StoredImage("unreadable", False, ("p1",)), False, True),
    ],
)
def test_transient_failures_are_tried_in_three_runs_and_permanent_ones_in_one(
    image, pending, pending_again
):
    assert image.is_pending(retry_failed=False) == pending
    assert image.is_pending(retry_failed=True) == pending_again


def test_the_small_index_counts_what_is_tried_again_and_what_failed(tmp_path):
    statuses = ["ok", "changed", "unreadable", "out_of_memory"]
    write_segment(tmp_path, "a", *(rows(status, status) for status in statuses))
    index = rebuild_index(tmp_path)
    assert (index.retryable, index.failed) == (2, 3)
    assert read_index(tmp_path) == index
    assert index.segments == segments_on_disk(tmp_path)


def test_nothing_is_read_when_the_index_knows_all_segments(tmp_path, monkeypatch):
    write_segment(tmp_path, "a", rows("A", "ok"))
    index = rebuild_index(tmp_path)
    read = []
    monkeypatch.setattr("samfleet.store.segments.read_segment", lambda *args: read.append(args))
    assert rebuild_index(tmp_path) == index
    assert set(read_stored_images(tmp_path)) == {"A"}
    assert read == []


def test_a_job_reads_its_own_segments_and_no_others(tmp_path, monkeypatch):
    write_segment(tmp_path, "plan-0001-a", rows("A", "ok"))
    write_segment(tmp_path, "plan-0001-b", rows("B", "unreadable"))
    write_segment(tmp_path, "plan-0002-a", rows("C", "ok"))
    read = []
    monkeypatch.setattr(
        "samfleet.store.segments.read_segment",
        lambda path, *args: read.append(path.name) or read_segment(path, *args),
    )
    found = stored_images(tmp_path, "plan-0001-")
    assert {name: image.status for name, image in found.items()} == {"A": "ok", "B": "unreadable"}
    assert read == ["plan-0001-a-00000.parquet", "plan-0001-b-00000.parquet"]


def test_images_of_a_removed_segment_are_forgotten(tmp_path):
    write_segment(tmp_path, "a", rows("A", "ok"))
    write_segment(tmp_path, "b", rows("B", "ok"))
    rebuild_index(tmp_path)
    (tmp_path / "a-00000.parquet").unlink()
    rebuild_index(tmp_path)
    assert set(read_stored_images(tmp_path)) == {"B"}


def test_looking_at_the_store_writes_nothing(tmp_path):
    write_segment(tmp_path, "a", rows("A", "ok"))
    (tmp_path / "b.parquet").write_bytes(b"damaged")
    assert set(stored_images(tmp_path)) == {"A"}
    assert {path.name for path in tmp_path.iterdir()} == {"a-00000.parquet", "b.parquet"}


def test_an_empty_store_has_an_index(tmp_path):
    index = rebuild_index(tmp_path / "none")
    assert (index.segments, index.retryable, index.failed) == ({}, 0, 0)
    assert read_index(tmp_path / "none") == index


@pytest.mark.parametrize("damage", ["no index", "half index", "no images", "other images"])
def test_an_index_that_cannot_be_read_is_made_again(tmp_path, damage):
    write_segment(tmp_path, "a", rows("A", "ok"))
    index = rebuild_index(tmp_path)
    small, images = tmp_path / "index.json", tmp_path / "images.tsv"
    if damage == "no index":
        small.unlink()
    elif damage == "half index":
        small.write_text(small.read_text()[:20])
    elif damage == "no images":
        images.unlink()
    else:
        images.write_text("image_id\tstatus\nA\tok\n")
    assert read_index(tmp_path) is None
    assert read_stored_images(tmp_path) == {}
    assert rebuild_index(tmp_path) == index
    assert set(read_stored_images(tmp_path)) == {"A"}


def test_images_survive_writing_and_reading(tmp_path):
    images = {
        "A": StoredImage("ok", False),
        "B": StoredImage("out_of_memory", True, ("p1", "p2")),
    }
    write_index(tmp_path, {"a.parquet": 3}, reversed(images.items()))
    assert read_stored_images(tmp_path) == images
    assert json.loads((tmp_path / "index.json").read_text())["segments"] == {"a.parquet": 3}
