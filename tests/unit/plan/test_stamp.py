"""Stamps: a new one is asked for when, and only when, the plan or the tables are out of date."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from samfleet.config.settings import Settings
from samfleet.digests import image_id_of_file
from samfleet.errors import UserError
from samfleet.evaluation.job import evaluate_tables
from samfleet.evaluation.stamp import evaluation_origin, evaluation_stamp
from samfleet.plan.collection import collection_columns, columns_digest, scan_collection
from samfleet.plan.outlook import outlook
from samfleet.plan.planning import make_plan
from samfleet.plan.record import read_plan
from samfleet.plan.stamp import plan_stamp
from samfleet.results import (
    done_file,
    evaluation_record_file,
    evaluation_tables,
    last_plan_file,
    manifest_file,
    plan_file,
    shard_file,
    stamp_file,
    store_folder,
    summary_record_file,
    summary_tables,
    verified_file,
)
from samfleet.stamps import latest_stamp, read_record, write_record
from samfleet.store.segments import rebuild_index
from samfleet.summary.job import ManifestMismatch, MissingResults, summarize_plan
from samfleet.summary.stamp import summary_stamp, verification_stamp
from samfleet.summary.verification import verify_summary
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

    def stamp(self, key=KEY, **sections) -> tuple[int, list[str]]:
        """The stamp that the plan needs, and why."""
        settings = make_settings(self.images, **sections)
        return plan_stamp(settings, self.results, self.collection(), key)

    def reasons(self, **options) -> list[str]:
        return self.stamp(**options)[1]

    def plan(self, key=KEY, **sections):
        """The rules `stamp` and `plan`."""
        settings = make_settings(self.images, **sections)
        stamp = self.make_stamp("plan", self.stamp(key, **sections)[0])
        self.last = make_plan(settings, self.results, key, 2, stamp)

    def make_stamp(self, stage: str, number: int) -> int:
        """The rule `stamp`."""
        stamp_file(self.results, stage, number).parent.mkdir(parents=True, exist_ok=True)
        stamp_file(self.results, stage, number).write_text("2")
        return number

    def run(self, outcomes=None, key=KEY, **sections):
        """The rules `plan`, `detect` and what the summary does to the index."""
        self.plan(key, **sections)
        if not self.last.shards or not done_file(self.results, self.last.id, "0001").exists():
            carry_out(self.results, self.last, outcomes)
        rebuild_index(store_folder(self.results, key))

    def is_stale(self, **options) -> bool:
        """Whether the plan needs a stamp that does not exist."""
        return not stamp_file(self.results, "plan", self.stamp(**options)[0]).exists()

    def settings(self, **sections) -> Settings:
        return make_settings(self.images, **sections)

    def summary_is_stale(self, **sections) -> bool:
        """Whether the summary needs a stamp that does not exist."""
        settings, plan = self.settings(**sections), read_plan(plan_file(self.results))
        columns = columns_digest(*collection_columns(settings.images))
        self.number = summary_stamp(settings, self.results, plan, columns)
        return not stamp_file(self.results, "summary", self.number).exists()

    def summarize(self, **sections):
        """The rules `stamp` and `summary`."""
        if self.summary_is_stale(**sections):
            self.make_stamp("summary", self.number)
        summarize_plan(self.settings(**sections), self.results, read_plan(plan_file(self.results)))

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
    assert workflow.stamp() == (1, ["there is no plan yet"])


def test_looking_writes_nothing(workflow):
    workflow.reasons()
    assert not workflow.results.exists()
    workflow.run()
    before = sorted(workflow.results.rglob("*"))
    assert workflow.reasons(key="f" * 16)
    assert workflow.summary_is_stale()
    assert sorted(workflow.results.rglob("*")) == before


def test_nothing_is_to_be_done_after_a_run(finished):
    assert finished.reasons() == []
    assert not finished.is_stale()


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
    assert workflow.reasons() == ["the last plan was not finished"]
    workflow.run()
    assert not workflow.is_stale()


LOST = {
    "shard list": lambda run: shard_file(run.results, run.last.id, "0001"),
    "done record": lambda run: done_file(run.results, run.last.id, "0001"),
    "last plan": lambda run: last_plan_file(run.results),
    "plan": lambda run: plan_file(run.results),
    "manifest": lambda run: manifest_file(run.results),
    "stamp": lambda run: stamp_file(run.results, "plan", run.last.stamp),
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_lost_files_of_the_plan_make_it_stale(finished, lost):
    lost(finished).unlink()
    assert finished.is_stale()
    finished.run()
    assert not finished.is_stale()


@pytest.mark.parametrize("damage", ["", "null", "[]", "{}", '{"shards": null}', "\0\xff"])
@pytest.mark.parametrize("file", [plan_file, last_plan_file])
def test_a_damaged_plan_is_made_anew(finished, file, damage):
    file(finished.results).write_bytes(damage.encode("latin-1"))
    assert finished.is_stale()
    finished.run()
    assert not finished.is_stale()


def test_a_plan_with_another_value_of_the_right_kind_counts_as_damaged(finished):
    text = plan_file(finished.results).read_text()
    plan_file(finished.results).write_text(text.replace('"images": 2', '"images": 3'))
    assert finished.reasons() == ["the plan is missing or damaged"]


def test_a_manifest_that_lost_lines_is_made_anew_and_not_summarized(finished):
    whole = manifest_file(finished.results).read_text()
    manifest_file(finished.results).write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert finished.reasons() == ["manifest.tsv is not the one of the plan"]
    with pytest.raises(ManifestMismatch, match=r"manifest\.tsv is not the one of the last plan"):
        finished.summarize()
    assert not any(table.exists() for table in summary_tables(finished.results))
    finished.run()
    assert manifest_file(finished.results).read_text() == whole
    finished.summarize()


def test_a_manifest_with_the_columns_of_another_version_is_made_anew(finished):
    whole = manifest_file(finished.results).read_text()
    older = "".join(line.rpartition("\t")[0] + "\n" for line in whole.splitlines())
    manifest_file(finished.results).write_text(older)
    digest, _ = image_id_of_file(manifest_file(finished.results))
    plan = replace(read_plan(plan_file(finished.results)), manifest=digest)
    for file in (plan_file(finished.results), last_plan_file(finished.results)):
        file.write_text(plan.to_json())
    assert finished.reasons() == ["manifest.tsv is not the one of the plan"]
    finished.run()
    assert manifest_file(finished.results).read_text() == whole
    finished.summarize()


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
    assert workflow.reasons() == []
    assert workflow.reasons(retry_failed=True) == []


def test_a_higher_limit_of_pixels_makes_the_plan_stale(workflow):
    workflow.run(image={"max_pixels": 100})
    assert not workflow.is_stale(image={"max_pixels": 50})
    assert workflow.reasons(image={"max_pixels": 200}) == ["image.max_pixels was raised"]


def test_rehash_makes_the_plan_stale_every_time(finished):
    assert finished.is_stale(rehash=True)
    finished.run(rehash=True)
    assert finished.is_stale(rehash=True)


def test_a_plan_that_failed_asks_for_a_stamp_that_does_not_exist(finished):
    write_files(finished.images, {"c.tif": b"c"})
    for _ in range(2):
        assert finished.is_stale()
        finished.make_stamp("plan", finished.stamp()[0])
    finished.run()
    assert not finished.is_stale()
    assert latest_stamp(finished.results, "plan") == finished.last.stamp == 4
    assert len(list((finished.results / "plan").glob("plan.*.stamp"))) == 1
    assert sorted(path.name for path in (finished.results / "plan").glob("plan.*")) == [
        "plan.4.stamp",
        "plan.json",
    ]


# the summary


@pytest.fixture
def summarized(finished):
    finished.summarize()
    return finished


def test_tables_that_are_there_are_up_to_date_whatever_their_age(summarized):
    for table in summary_tables(summarized.results):
        os.utime(table, ns=(1, 1))
    assert not summarized.summary_is_stale()


def test_filters_make_the_summary_stale_also_behind_its_back(summarized):
    other = {"fluorescence": {"max_overlap": 0.4}}
    assert summarized.summary_is_stale(**other)
    plan = read_plan(plan_file(summarized.results))
    summarize_plan(summarized.settings(**other), summarized.results, plan)  # the command
    assert not summarized.summary_is_stale(**other)
    assert summarized.summary_is_stale()
    summarized.summarize()
    assert not summarized.summary_is_stale()


def test_a_new_plan_and_a_new_version_make_the_summary_stale(summarized, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("samfleet.summary.stamp.TABLES_VERSION", 1000)
        assert summarized.summary_is_stale()
    assert not summarized.summary_is_stale()
    write_files(summarized.images, {"c.tif": b"c"})
    summarized.run()
    assert summarized.summary_is_stale()


def test_another_way_to_write_the_tables_makes_the_summary_stale(summarized):
    assert summarized.summary_is_stale(tables={"bom": True})


def test_results_that_came_later_make_the_summary_stale(summarized):
    folder = store_folder(summarized.results, KEY)
    (segment,) = folder.glob("*.parquet")
    (folder / "late.parquet").write_bytes(segment.read_bytes())
    assert summarized.summary_is_stale()


def test_columns_of_the_users_table_make_the_summary_stale(summarized):
    table = summarized.images / "images.csv"
    summarized.images = table
    for text in ("image,well\na.tif,1\n", "image,well\na.tif,2\n", "image,spot\na.tif,2\n"):
        table.write_text(text)
        assert summarized.summary_is_stale()
        summarized.run()
        summarized.summarize()
        assert not summarized.summary_is_stale()


@pytest.mark.parametrize("number", range(4))
def test_a_table_that_was_edited_makes_the_summary_stale(summarized, number):
    table = summary_tables(summarized.results)[number]
    whole = table.read_bytes()
    middle = len(whole) // 2
    table.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert summarized.summary_is_stale()


@pytest.mark.parametrize("number", range(4))
def test_a_table_that_was_cut_or_deleted_makes_the_summary_stale(summarized, number):
    table = summary_tables(summarized.results)[number]
    table.write_bytes(table.read_bytes()[:-1])
    assert summarized.summary_is_stale()
    summarized.summarize()
    table.unlink()
    assert summarized.summary_is_stale()


def test_a_store_that_lost_results_is_not_summarized_unless_in_part(summarized):
    before = [table.read_bytes() for table in summary_tables(summarized.results)]
    for segment in store_folder(summarized.results, KEY).glob("*.parquet"):
        segment.write_bytes(segment.read_bytes()[:-9])
    for _ in range(2):
        with pytest.raises(MissingResults, match=r"2 images of the last plan have no result"):
            summarized.summarize()
    assert [table.read_bytes() for table in summary_tables(summarized.results)] == before
    plan = read_plan(plan_file(summarized.results))
    summarize_plan(summarized.settings(), summarized.results, plan, partial=True)
    assert b",pending," in summary_tables(summarized.results)[0].read_bytes()


def test_a_damaged_record_makes_the_summary_stale(summarized):
    record = summary_record_file(summarized.results)
    record.write_text(record.read_text().replace('"made_from": "', '"made_from": "0'))
    assert summarized.summary_is_stale()


def test_the_record_says_under_which_settings_the_tables_were_made(summarized):
    summarized.summarize(fluorescence={"min_area": 77, "channel": "green"})
    record = read_record(
        summary_record_file(summarized.results), summary_tables(summarized.results)
    )
    assert record.settings["model_key"] == KEY
    found = record.settings["fluorescence"]
    assert (found["min_area"], found["channel"], found["max_overlap"]) == (77, "green", 0.5)


def test_what_the_tables_do_not_depend_on_leaves_the_summary_alone(summarized):
    os.utime(summarized.images / "a.tif", ns=(1, 1))
    summarized.run()
    assert not summarized.summary_is_stale(shard={"threads": 7}, on_error="fail")


# the evaluation


def test_labels_tables_and_version_make_the_evaluation_stale(summarized, tmp_path, monkeypatch):
    labels = tmp_path / "labels"
    labels.mkdir()
    label = np.zeros((300, 400), np.uint8)
    label[10:50, 10:60] = 1
    cv2.imwrite(str(labels / "a.png"), label)

    def stale(sparse: bool = False) -> bool:
        evaluation = make_settings("demo", evaluation={"labels": str(labels), "sparse": sparse})
        number = evaluation_stamp(evaluation.evaluation, summarized.results)
        return not stamp_file(summarized.results, "evaluation", number).exists()

    def evaluate() -> None:
        number = latest_stamp(summarized.results, "evaluation") + 1
        summarized.make_stamp("evaluation", number)
        settings = make_settings("demo", evaluation={"labels": str(labels)})
        evaluate_tables(settings, summarized.results)

    assert stale()
    evaluate()
    assert not stale()
    assert stale(sparse=True)
    with monkeypatch.context() as patch:
        patch.setattr("samfleet.evaluation.stamp.EVALUATION_VERSION", 1000)
        assert stale()
    (labels / "b.png").write_bytes((labels / "a.png").read_bytes())
    assert stale()
    evaluate()
    assert not stale()
    summarized.summarize(fluorescence={"max_overlap": 0.4})
    assert stale()
    assert not any(table.exists() for table in evaluation_tables(summarized.results))


def test_labels_behind_links_and_their_permissions_make_the_evaluation_stale(summarized, tmp_path):
    labels = write_files(tmp_path / "labels", {"b.png": b"b"})
    far = write_files(tmp_path / "far", {"a.png": b"a"})
    (labels / "loop").symlink_to(labels)
    evaluation = make_settings("demo", evaluation={"labels": str(labels)}).evaluation
    seen = set()

    def is_new() -> bool:
        origin = evaluation_origin(evaluation, summarized.results)
        assert origin == evaluation_origin(evaluation, summarized.results)
        new = origin not in seen
        seen.add(origin)
        return new

    assert is_new()
    (labels / "well").symlink_to(far)
    assert is_new()
    (far / "a.png").write_bytes(b"other")
    assert is_new()
    (labels / "again").symlink_to(far)  # its files are found under another name, too
    assert is_new()
    (labels / "b.png").chmod(0)
    assert is_new()
    assert not is_new()


def test_labels_are_read_again_if_rehash_is_set(summarized, tmp_path):
    evaluation = make_settings("demo", evaluation={"labels": str(tmp_path)}).evaluation
    origin = evaluation_origin(evaluation, summarized.results)
    for table in evaluation_tables(summarized.results):
        table.write_bytes(b"")
    tables = evaluation_tables(summarized.results)
    write_record(evaluation_record_file(summarized.results), origin, 1, tables)
    assert evaluation_stamp(evaluation, summarized.results) == 1
    summarized.make_stamp("evaluation", 1)
    assert evaluation_stamp(evaluation, summarized.results, rehash=True) == 2


def test_scores_without_labels_are_refused(summarized, tmp_path):
    evaluation = make_settings("demo").evaluation
    with pytest.raises(UserError, match=r"evaluation\.labels is not set"):
        evaluation_stamp(evaluation, summarized.results)


# the word that no image failed


def test_only_its_own_word_on_these_tables_counts(summarized):
    def stale() -> bool:
        number = verification_stamp(summarized.results)
        return not stamp_file(summarized.results, "verification", number).exists()

    word = verified_file(summarized.results)
    write_files(word.parent, {word.name: b""})
    assert stale()
    summarized.make_stamp("verification", 1)
    verify_summary(summarized.results)
    assert not stale()
    summarized.summarize(fluorescence={"max_overlap": 0.4})
    assert not word.exists()
    assert stale()


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
