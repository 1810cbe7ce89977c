"""Stamps: rewritten when, and only when, the plan or the summary is out of date."""

import os
from pathlib import Path

import pytest

from samfleet.files import read_stamp
from samfleet.plan.collection import scan_collection
from samfleet.plan.outlook import outlook
from samfleet.plan.planning import make_plan
from samfleet.plan.stamp import refresh_plan_stamp
from samfleet.results import (
    done_file,
    last_plan_file,
    plan_file,
    plan_stamp_file,
    shard_file,
    store_folder,
    summary_stamp_file,
)
from samfleet.store.segments import rebuild_index
from samfleet.summary.stamp import refresh_summary_stamp
from tests.builders import carry_out, make_settings, write_files

KEY = "0123456789abcdef"
OUT_OF_MEMORY = {"status": "out_of_memory", "transient": True}
UNREADABLE = {"status": "unreadable", "transient": False}


class Workflow:
    """What Snakemake does with the stamps, without Snakemake."""

    def __init__(self, folder: Path):
        self.images = write_files(folder / "images", {"a.tif": b"a", "b.tif": b"bb"})
        self.results = folder / "results"

    def collection(self):
        return scan_collection(str(self.images), [".tif"], self.results)

    def stamp(self) -> bytes:
        return plan_stamp_file(self.results).read_bytes()

    def reasons(self, key=KEY, gpus=2, **sections) -> list[str]:
        settings = make_settings(self.images, **sections)
        return refresh_plan_stamp(settings, self.results, self.collection(), key, gpus)

    def plan(self, key=KEY, **sections):
        """The rule `plan`."""
        self.reasons(key, **sections)
        self.last = make_plan(make_settings(self.images, **sections), self.results, key, 2)

    def run(self, outcomes=None, key=KEY, **sections):
        """The rules `plan`, `detect` and what the summary does to the index."""
        self.plan(key, **sections)
        if not self.last.shards or not done_file(self.results, self.last.id, "0001").exists():
            carry_out(self.results, self.last, outcomes)
        rebuild_index(store_folder(self.results, key))

    def is_stale(self, **options) -> bool:
        """Whether the stamp is rewritten."""
        before = self.stamp()
        self.reasons(**options)
        return self.stamp() != before

    def outlook(self, **sections) -> str:
        retry_failed = make_settings(self.images, **sections).retry_failed
        return str(outlook(self.collection(), self.results, KEY, retry_failed))


@pytest.fixture
def workflow(tmp_path):
    return Workflow(tmp_path)


@pytest.fixture
def finished(workflow):
    workflow.run()
    return workflow


def test_a_first_run_has_no_plan_yet(workflow):
    assert workflow.reasons() == ["there is no plan yet"]
    stamp = read_stamp(plan_stamp_file(workflow.results))
    assert (stamp["model_key"], stamp["gpus"]) == (KEY, 2)


def test_looking_twice_writes_once(workflow):
    workflow.reasons()
    before = plan_stamp_file(workflow.results).stat()
    assert workflow.reasons()
    assert plan_stamp_file(workflow.results).stat().st_ino == before.st_ino


def test_nothing_is_to_be_done_after_a_run(finished):
    assert finished.reasons() == []
    assert not finished.is_stale()


def test_the_number_of_gpus_is_no_reason_to_plan(finished):
    assert not finished.is_stale(gpus=7)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: write_files(images, {"c.tif": b"c"}),
        lambda images: write_files(images, {"a.tif": b"changed"}),
        lambda images: (images / "a.tif").unlink(),
        lambda images: (images / "a.tif").rename(images / "z.tif"),
        lambda images: os.utime(images / "a.tif", ns=(1, 1)),
    ],
    ids=["added", "changed", "removed", "renamed", "touched"],
)
def test_every_change_of_the_images_makes_the_plan_stale_once(finished, change):
    change(finished.images)
    assert finished.reasons() == ["the images changed"]
    finished.run()
    assert not finished.is_stale()


def test_another_model_key_makes_the_plan_stale(finished):
    assert "the model or its settings changed" in finished.reasons(key="f" * 16)
    finished.run(key="f" * 16)
    assert not finished.is_stale(key="f" * 16)
    assert finished.is_stale(key=KEY)


def test_a_plan_that_was_not_carried_out_is_stale(workflow):
    workflow.plan()
    assert workflow.reasons() == ["the last plan was not carried out to its end"]
    workflow.run()
    assert not workflow.is_stale()


@pytest.mark.parametrize("lost", ["shard list", "done record", "last plan", "stamp"])
def test_lost_files_of_the_plan_make_it_stale(finished, lost):
    results, plan = finished.results, finished.last
    {
        "shard list": shard_file(results, plan.id, "0001"),
        "done record": done_file(results, plan.id, "0001"),
        "last plan": last_plan_file(results),
        "stamp": plan_stamp_file(results),
    }[lost].unlink()
    assert finished.reasons()
    finished.run()
    assert not finished.is_stale()


def test_a_store_that_is_not_as_its_index_says_makes_the_plan_stale_each_time(finished):
    folder = store_folder(finished.results, KEY)
    (segment,) = folder.glob("*.parquet")
    (folder / "copy.parquet").write_bytes(segment.read_bytes())
    assert finished.is_stale()
    finished.run()
    assert not finished.is_stale()
    for path in folder.glob("*.parquet"):
        path.unlink()
    assert finished.is_stale()


def test_transient_failures_make_the_plan_stale_for_three_runs(workflow):
    stale = []
    for _ in range(3):
        workflow.run({"b.tif": OUT_OF_MEMORY})
        stale.append(workflow.is_stale())
    assert stale == [True, True, False]


def test_permanent_failures_make_it_stale_only_when_asked_to_try_again(workflow):
    workflow.run({"b.tif": UNREADABLE})
    assert not workflow.is_stale()
    assert workflow.is_stale(retry_failed=True)
    workflow.run({"b.tif": UNREADABLE}, retry_failed=True)
    assert workflow.is_stale(retry_failed=True)


@pytest.mark.parametrize("outcome", [OUT_OF_MEMORY, {"status": "changed", "transient": True}])
def test_failures_of_images_that_are_gone_are_no_reason(workflow, outcome):
    workflow.run({"b.tif": outcome})
    (workflow.images / "b.tif").unlink()
    workflow.run()
    assert workflow.reasons(gpus=7) == []
    assert workflow.reasons(retry_failed=True) == []


def test_a_higher_limit_of_pixels_makes_the_plan_stale(workflow):
    workflow.run(image={"max_pixels": 100})
    assert not workflow.is_stale(image={"max_pixels": 50})
    assert workflow.reasons(image={"max_pixels": 200}) == ["image.max_pixels was raised"]


def test_rehash_makes_the_plan_stale_every_time(finished):
    assert finished.is_stale(rehash=True)
    finished.run(rehash=True)
    assert finished.is_stale(rehash=True)


def test_a_damaged_stamp_is_written_again(finished):
    plan_stamp_file(finished.results).write_text("{")
    assert read_stamp(plan_stamp_file(finished.results)) == {}
    assert finished.is_stale(key="f" * 16)


# the summary's stamp


def summary_stamp(workflow, **sections) -> bytes:
    settings = make_settings(workflow.images, **sections)
    refresh_summary_stamp(settings.fluorescence, workflow.results, workflow.collection())
    return summary_stamp_file(workflow.results).read_bytes()


def test_filters_columns_plan_and_version_make_the_summary_stale(finished, monkeypatch):
    stamps = [summary_stamp(finished)]
    stamps.append(summary_stamp(finished, fluorescence={"max_overlap": 0.4}))
    write_files(finished.images, {"c.tif": b"c"})
    finished.run()
    stamps.append(summary_stamp(finished))
    monkeypatch.setattr("samfleet.summary.stamp.TABLES_VERSION", 1000)
    stamps.append(summary_stamp(finished))
    assert len(set(stamps)) == 4


def test_columns_of_the_users_table_make_the_summary_stale(finished):
    table = finished.images / "images.csv"
    stamps = set()
    for text in ("image,well\na.tif,1\n", "image,well\na.tif,2\n", "image,spot\na.tif,2\n"):
        table.write_text(text)
        collection = scan_collection(str(table), [], finished.results)
        refresh_summary_stamp(make_settings(table).fluorescence, finished.results, collection)
        stamps.add(summary_stamp_file(finished.results).read_bytes())
    assert len(stamps) == 3


def test_what_the_tables_do_not_depend_on_leaves_the_summary_alone(finished):
    before = summary_stamp(finished)
    inode = summary_stamp_file(finished.results).stat().st_ino
    os.utime(finished.images / "a.tif", ns=(1, 1))
    finished.run()
    assert summary_stamp(finished, shard={"threads": 7}, on_error="fail") == before
    assert summary_stamp_file(finished.results).stat().st_ino == inode
    assert plan_file(finished.results).exists()


# the outlook


def test_the_outlook_of_a_first_run(workflow):
    expected = "2 images found: 2 new, 0 changed, 0 moved, 0 removed; up to 2 to detect"
    assert workflow.outlook() == expected


def test_the_outlook_of_a_finished_run(finished):
    expected = "2 images found: 0 new, 0 changed, 0 moved, 0 removed; 0 to detect"
    assert finished.outlook() == expected


def test_the_outlook_tells_new_changed_moved_and_removed_images(finished):
    write_files(finished.images, {"c.tif": b"ccc", "d.tif": b"dddd", "e.tif": b"eeeee"})
    finished.run()
    (finished.images / "c.tif").rename(finished.images / "moved.tif")
    (finished.images / "d.tif").unlink()
    write_files(finished.images, {"a.tif": b"changed", "new.tif": b"new image"})
    expected = "5 images found: 1 new, 1 changed, 1 moved, 1 removed; up to 2 to detect"
    assert finished.outlook() == expected


def test_a_file_moves_to_one_place(finished):
    stat = (finished.images / "a.tif").stat()
    (finished.images / "a.tif").rename(finished.images / "moved.tif")
    write_files(finished.images, {"other.tif": b"o"})
    for name in ("moved.tif", "other.tif"):
        os.utime(finished.images / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "1 new, 0 changed, 1 moved, 0 removed" in finished.outlook()


def test_the_outlook_counts_what_an_interrupted_run_left(workflow):
    write_files(workflow.images, {"copy.tif": b"a"})
    workflow.plan()
    assert "0 new, 0 changed" in workflow.outlook()
    assert workflow.outlook().endswith("; up to 2 to detect")


def test_the_outlook_counts_failures_that_are_tried_again(workflow):
    workflow.run({"a.tif": UNREADABLE, "b.tif": OUT_OF_MEMORY})
    assert workflow.outlook().endswith("; up to 1 to detect")
    assert workflow.outlook(retry_failed=True).endswith("; up to 2 to detect")
