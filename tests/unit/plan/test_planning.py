"""Planning: what the store holds is subtracted, what is left is packed, nothing is forgotten."""

import csv
import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from samfleet.digests import image_id
from samfleet.plan import manifest, planning
from samfleet.plan.manifest import read_manifest
from samfleet.plan.outlook import division
from samfleet.plan.planning import make_plan
from samfleet.plan.record import PlannedShard, plan_of_shard, read_plan
from samfleet.plan.shards import read_chunks
from samfleet.results import (
    LEDGER_COLUMNS,
    chunks_file,
    kept_plan_file,
    last_plan_file,
    manifest_file,
    plan_file,
    shard_file,
    store_folder,
    superseded_file,
)
from tests.builders import (
    carry_out,
    make_settings,
    plan_of,
    shard_images,
    stored_rows,
    write_files,
    write_segment,
)

KEY = "0123456789abcdef"
UNREADABLE = {"status": "unreadable", "transient": False}
OUT_OF_MEMORY = {"status": "out_of_memory", "transient": True}
TOO_LARGE = {"status": "too_large", "transient": False}


class Run:
    """A folder of images and the results of planning it."""

    def __init__(self, folder):
        self.images = write_files(folder / "images", {"a.tif": b"a", "b.tif": b"bb", "c.tif": b"c"})
        self.results = folder / "results"

    last = None

    def plan(self, key: str = KEY, gpus: int = 2, **sections):
        self.last = make_plan(make_settings(self.images, **sections), self.results, key, gpus)
        return self.last

    def pending(self, *args, **sections) -> list[str]:
        """What a plan asks for; nothing when the last plan is written back."""
        before = self.last
        plan = self.plan(*args, **sections)
        return [i.path for i in shard_images(self.results, plan)] if plan != before else []

    def detect(self, outcomes=None, done=True) -> None:
        carry_out(self.results, self.last, outcomes, done)

    def text(self) -> bytes:
        return plan_file(self.results).read_bytes()


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture
def detected(run):
    run.plan()
    run.detect()
    return run


def test_images_that_vanish_behind_a_marker_are_warned_about(run, caplog):
    write_files(run.images, {"raw/d.tif": b"d", "raw/.samfleet": b"overlays\n"})
    run.plan()
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said.startswith("1 image file passed over") and "in raw: delete that file" in said


def test_a_first_plan_asks_for_every_image(run):
    assert run.pending() == ["a.tif", "b.tif", "c.tif"]
    assert (run.last.images, run.last.pending, run.last.model_key) == (3, 3, KEY)
    assert [shard.images for shard in run.last.shards] == [3]
    assert run.last.shards[0].seconds > 0


def test_a_plan_is_kept_where_jobs_and_the_next_plan_look_for_it(run):
    plan = run.plan()
    assert read_plan(plan_file(run.results)) == plan
    assert read_plan(last_plan_file(run.results)) == plan
    assert read_plan(kept_plan_file(run.results, plan.id)) == plan
    assert plan_of_shard(shard_file(run.results, plan.id, plan.shards[0].name)) == plan


def test_a_plan_that_is_gone_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"old/plan\.json: .*run the workflow again"):
        plan_of_shard(tmp_path / "old" / "0001.tsv")


def test_the_manifest_has_a_row_for_every_file(run):
    run.plan()
    rows = {row.path: row for row in read_manifest(run.results / "manifest.tsv")}
    assert rows["b.tif"].image_id == image_id(b"bb")
    assert rows["b.tif"].mtime_ns == (run.images / "b.tif").stat().st_mtime_ns
    assert list(rows) == ["a.tif", "b.tif", "c.tif"]


def test_there_is_a_shard_for_every_device_and_chunks_of_each(run):
    write_files(run.images, {f"{n}.tif": b"%d" % n for n in range(40)})
    for gpus in (1, 8):
        plan = run.plan(gpus=gpus, shard={"min_seconds": 0})
        assert len(plan.shards) == gpus
        planned = {shard.name: shard.images for shard in plan.shards}
        assert read_chunks(chunks_file(run.results, plan.id), planned)


def test_work_that_outlasts_half_of_what_a_job_may_ask_for_makes_more_jobs(run):
    write_files(run.images, {f"{n}.tif": b"%d" % n for n in range(300)})
    assert len(run.plan(gpus=2).shards) == 2
    shards = run.plan(gpus=2, shard={"max_hours": 0.1}).shards
    assert len(shards) == 3  # of about 485 expected seconds
    assert max(shard.seconds for shard in shards) <= 180


def test_jobs_of_an_earlier_plan_are_told_that_there_is_another(run):
    first = run.plan()
    assert not superseded_file(run.results, first.id).exists()
    second = run.plan()
    assert superseded_file(run.results, first.id).exists()
    assert not superseded_file(run.results, second.id).exists()


def test_the_plan_is_written_back_when_nothing_is_pending(detected):
    assert detected.pending() == []
    before = detected.text()
    plan_file(detected.results).unlink()
    assert detected.pending(gpus=7) == []
    assert detected.text() == before


def test_the_first_plan_stands_when_all_that_it_asked_for_is_there(detected):
    before = detected.text()
    detected.plan()
    assert detected.text() == before


def test_touched_files_are_hashed_and_nothing_else_happens(detected):
    before = detected.last
    os.utime(detected.images / "a.tif", ns=(1, 1))
    after = detected.plan()
    assert (after.id, after.content, after.shards) == (before.id, before.content, before.shards)
    rows = {row.path: row.mtime_ns for row in read_manifest(detected.results / "manifest.tsv")}
    assert rows["a.tif"] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda images: write_files(images, {"copy.tif": b"a"}),
        lambda images: (images / "a.tif").rename(images / "z.tif"),
        lambda images: (images / "a.tif").unlink(),
    ],
    ids=["copied", "renamed", "removed"],
)
def test_known_content_elsewhere_is_a_new_plan_without_work(detected, change):
    first = detected.last
    change(detected.images)
    plan = detected.plan()
    assert plan.shards == ()
    assert plan.id != first.id
    assert plan.content != first.content


def test_changed_content_is_detected_alone(detected):
    write_files(detected.images, {"b.tif": b"other"})
    assert detected.pending() == ["b.tif"]


def test_equal_content_is_planned_once(run):
    write_files(run.images, {"a2.tif": b"a", "d/a.tif": b"a"})
    assert run.pending() == ["a.tif", "b.tif", "c.tif"]
    assert (run.last.images, run.last.pending) == (5, 3)


def test_another_model_asks_for_everything_and_the_first_for_nothing_again(detected):
    assert detected.pending("f" * 16) == ["a.tif", "b.tif", "c.tif"]
    detected.detect()
    assert detected.pending(KEY) == []
    assert detected.last.model_key == KEY


def test_a_resumed_plan_asks_only_for_what_is_left(run):
    run.plan()
    first = stored_rows(image_id(b"a"))
    write_segment(store_folder(run.results, KEY), "interrupted", first)
    assert run.pending() == ["b.tif", "c.tif"]


def test_a_permanent_failure_is_remembered_until_asked_to_try_again(run):
    run.plan()
    run.detect({"b.tif": UNREADABLE})
    assert run.pending() == []
    assert run.pending(retry_failed=True) == ["b.tif"]


def test_a_transient_failure_is_tried_in_three_runs(run):
    asked = []
    for _ in range(4):
        asked.append(run.pending())
        run.detect({"b.tif": OUT_OF_MEMORY})
    assert asked == [["a.tif", "b.tif", "c.tif"], ["b.tif"], ["b.tif"], []]
    assert run.pending(retry_failed=True) == ["b.tif"]


def test_a_transient_failure_that_passes_is_a_result(run):
    run.plan()
    run.detect({"b.tif": OUT_OF_MEMORY})
    run.plan()
    run.detect()
    assert run.pending() == []


def test_too_large_images_are_tried_again_under_a_higher_limit(run):
    run.plan(image={"max_pixels": 100})
    run.detect({"b.tif": TOO_LARGE})
    assert run.pending(image={"max_pixels": 50}) == []
    assert run.pending(image={"max_pixels": 100}) == []
    assert run.pending(image={"max_pixels": 200}) == ["b.tif"]
    run.detect({"b.tif": TOO_LARGE})
    assert run.pending(image={"max_pixels": 200}) == []


def test_too_large_images_are_not_forgotten_when_the_higher_limit_was_interrupted(run):
    run.plan(image={"max_pixels": 100})
    run.detect({"b.tif": TOO_LARGE})
    run.plan(image={"max_pixels": 200})
    assert run.pending(image={"max_pixels": 200}) == ["b.tif"]


def test_an_image_that_was_not_what_its_stat_promised_is_hashed_again(run):
    run.plan()
    stat = (run.images / "b.tif").stat()
    (run.images / "b.tif").write_bytes(b"xy")
    os.utime(run.images / "b.tif", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run.detect({"b.tif": {"status": "changed", "transient": True}})
    write_segment(store_folder(run.results, KEY), "read", stored_rows(image_id(b"xy")))
    assert run.pending() == []
    rows = {row.path: row.image_id for row in read_manifest(run.results / "manifest.tsv")}
    assert rows["b.tif"] == image_id(b"xy")


def test_bytes_under_an_old_stat_are_found_when_asked_to_rehash(detected):
    stat = (detected.images / "b.tif").stat()
    (detected.images / "b.tif").write_bytes(b"xy")
    os.utime(detected.images / "b.tif", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert detected.pending() == []
    assert detected.pending(rehash=True) == ["b.tif"]


def test_hashes_of_another_collection_are_not_trusted(detected, tmp_path):
    twin = write_files(tmp_path / "twin", {"a.tif": b"x", "b.tif": b"yy", "c.tif": b"z"})
    for name in ("a.tif", "b.tif", "c.tif"):
        stat = (detected.images / name).stat()
        os.utime(twin / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    detected.images = twin
    assert detected.pending() == ["a.tif", "b.tif", "c.tif"]


def test_an_interrupted_plan_keeps_its_hashes(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(planning, "pack_shards", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.plan()
    hashed = []
    monkeypatch.setattr("samfleet.plan.manifest.digest_of_file", lambda file: hashed.append(file))
    assert run.pending() == ["a.tif", "b.tif", "c.tif"]
    assert hashed == []


def test_rehashing_does_not_trust_the_hashes_of_an_interrupted_plan(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(planning, "write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.plan()
    stat = (run.images / "b.tif").stat()
    (run.images / "b.tif").write_bytes(b"xy")
    os.utime(run.images / "b.tif", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run.plan(rehash=True)
    rows = {row.path: row.image_id for row in read_manifest(run.results / "manifest.tsv")}
    assert rows["b.tif"] == image_id(b"xy")


def test_only_new_and_touched_files_are_hashed(detected, monkeypatch):
    write_files(detected.images, {"new.tif": b"n"})
    os.utime(detected.images / "a.tif", ns=(1, 1))
    hashed = []

    def recorded(file):
        hashed.append(Path(file.name).name)
        data = file.read()
        return image_id(data), len(data), data

    monkeypatch.setattr("samfleet.plan.manifest.digest_of_file", recorded)
    assert detected.pending() == ["new.tif"]
    assert sorted(hashed) == ["a.tif", "new.tif"]


def test_a_file_that_cannot_be_read_is_named_and_not_planned(run, caplog):
    (run.images / "gone.tif").symlink_to("nowhere")
    assert run.pending() == ["a.tif", "b.tif", "c.tif"]
    assert run.last.images == 4
    assert "gone.tif cannot be read: No such file or directory" in caplog.text


def test_a_file_that_can_be_read_again_is_a_new_plan(detected):
    link = detected.images / "late.tif"
    link.symlink_to("nowhere")
    before = detected.plan()
    (detected.images / "nowhere").write_bytes(b"a")
    after = detected.plan()
    assert before.shards == after.shards == ()
    assert before.content != after.content


def test_other_files_are_counted_aloud(run, caplog):
    caplog.set_level(logging.INFO)
    write_files(run.images, {"x.txt": b"", "y.txt": b"", "z": b""})
    run.plan()
    assert "ignored 3 other files: 2 .txt, 1 no suffix" in caplog.text


def test_the_results_of_another_run_among_the_images_are_left_out_and_said(run, caplog):
    caplog.set_level(logging.INFO)
    other = Run(run.images / "other")
    other.results = run.images / "old\nresults"
    other.plan()
    (other.results / "looked at.tif").write_bytes(b"x")
    run.plan()
    assert {i.path for i in shard_images(run.results, run.last)} == {"a.tif", "b.tif", "c.tif"}
    assert r"not searched, since samfleet made it: old\u000aresults" in caplog.text


def test_shard_lists_stay_while_a_job_may_need_them(run):
    first = run.plan()
    second = run.plan()
    assert shard_file(run.results, first.id, "0001").exists()
    run.detect()
    write_files(run.images, {"d.tif": b"d"})
    third = run.plan()
    assert not shard_file(run.results, second.id, "0001").exists()
    assert shard_file(run.results, first.id, "0001").exists()
    assert shard_file(run.results, third.id, "0001").exists()


def test_shard_lists_that_nobody_carries_out_are_removed_in_the_end(run, monkeypatch):
    first = run.plan()
    later = time.time() + 31 * 86400
    monkeypatch.setattr(planning.time, "time", lambda: later)
    run.plan()
    assert not shard_file(run.results, first.id, "0001").exists()


def test_shards_depend_neither_on_times_nor_on_the_number_of_gpus_if_there_is_one(run):
    plan = run.plan(gpus=1)
    for name in ("a.tif", "b.tif", "c.tif"):
        os.utime(run.images / name, ns=(1, 1))
    other = run.plan(gpus=50)
    assert (plan.content, plan.shards) == (other.content, other.shards)


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of the images that are hashed."""
    names: list[str] = []
    whole = manifest.digest_of_file

    def recorded(file):
        names.append(Path(file.name).name)
        return whole(file)

    monkeypatch.setattr(manifest, "digest_of_file", recorded)
    return names


def test_a_manifest_that_no_plan_knows_is_not_believed(detected, hashed):
    path = manifest_file(detected.results)
    path.write_text(path.read_text().replace(image_id(b"a"), image_id(b"another")))
    assert detected.pending() == []
    assert hashed == ["a.tif", "b.tif", "c.tif"]
    assert image_id(b"a") in path.read_text()


@pytest.mark.parametrize("file", ["manifest.tsv", "last.json"])
def test_a_plan_that_is_killed_before_it_writes_a_file_costs_no_hash(
    detected, hashed, monkeypatch, file
):
    def until(write):
        def killed(path, content):
            if path.name == file:
                raise KeyboardInterrupt
            write(path, content)

        return killed

    write_files(detected.images, {"new.tif": b"n"})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        for name in ("write_manifest", "write_atomic"):
            patch.setattr(planning, name, until(getattr(planning, name)))
        detected.plan()
    hashed.clear()
    assert detected.pending() == ["new.tif"]
    assert hashed == []


@pytest.mark.parametrize("content", [b"garbage\n", b"\xff\xfe\n", b"\0" * 100 + b"\n"])
def test_a_journal_that_is_garbage_is_set_aside(detected, content, caplog):
    write_files(detected.images, {"new.tif": b"n"})
    journal = planning._journal(make_settings(detected.images), detected.results)
    journal.write_bytes(content)
    assert detected.pending() == ["new.tif"]
    assert f"{journal}: " in caplog.text
    assert "set aside" in caplog.text
    assert journal.with_name(f"{journal.name}.damaged").read_bytes() == content


def ledger_row(image: bytes, **columns) -> dict:
    row = dict.fromkeys(LEDGER_COLUMNS, "") | {"image_id": image_id(image), "model_key": KEY}
    return row | {"status": "ok", "seconds_encoding": "2", "seconds_decoding": "3"} | columns


def expected_seconds(run, *rows: dict, **sections) -> float:
    run.results.mkdir(exist_ok=True)
    with (run.results / "ledger.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, LEDGER_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return sum(shard.seconds for shard in run.plan(gpus=1, **sections).shards)


def test_the_ledgers_seconds_replace_the_guess(run):
    guess = run.plan().shards[0].seconds
    row = ledger_row(b"a", seconds_postprocessing="0")
    assert expected_seconds(run, row) == pytest.approx(3 * 5)
    other_model = ledger_row(b"a", model_key="f" * 16, seconds_postprocessing="0")
    assert expected_seconds(run, other_model) == pytest.approx(guess)
    unknown_image = ledger_row(b"removed", seconds_postprocessing="0")
    assert expected_seconds(run, unknown_image) == pytest.approx(guess)


def test_failed_images_in_the_ledger_do_not_hide_those_that_were_measured(run):
    failed = ledger_row(b"bb", status="unreadable", seconds_encoding="", seconds_decoding="")
    measured = ledger_row(b"a", seconds_postprocessing="0")
    assert expected_seconds(run, failed, measured, failed) == pytest.approx(3 * 5)


def tiled_images(run) -> None:
    """Nine images of one tile and one of sixteen, all in small files."""
    sides = {f"s{number}.tif": 500 + number for number in range(9)} | {"z.tif": 1900}
    for name, side in sides.items():
        image = np.zeros((side, side), np.uint8)
        tifffile.imwrite(run.images / name, image, compression="zlib")


def test_an_image_costs_as_much_as_its_tiles(run):
    tiled_images(run)
    sam = {"model": "tiny", "tile_size": 512}
    shard = {"min_seconds": 0}
    shards = run.plan(gpus=2, sam=sam, shard=shard).shards
    # twelve images of one tile, counting those that no header tells, and the one of sixteen alone
    assert run.plan(gpus=1, sam={"model": "tiny"}).shards[0].seconds < 13 * 0.15
    assert sum(shard.seconds for shard in shards) == pytest.approx((12 + 16) * 0.1, rel=0.15)
    assert max(shards, key=lambda shard: shard.seconds).images < 12
    (whole,) = run.plan(gpus=1, sam={"model": "tiny", "tile_size": 2048}).shards
    assert whole.seconds == pytest.approx(13 * 0.1, rel=0.3)


def test_the_seconds_of_a_tile_are_measured(run):
    tiled_images(run)
    sam = {"model": "tiny", "tile_size": 512}
    large = (run.images / "z.tif").read_bytes()
    row = ledger_row(large, seconds_encoding="16", seconds_decoding="32")
    assert expected_seconds(run, row | {"seconds_postprocessing": "0"}, sam=sam) == pytest.approx(
        (12 + 16) * 3
    )


def test_a_damaged_record_of_a_plan_is_no_plan(tmp_path):
    path = tmp_path / "plan.json"
    for text in ("{", "[]", '{"shards": []}', '{"shards": 3}'):
        path.write_text(text)
        assert read_plan(path) is None


@pytest.mark.parametrize(
    ("jobs", "devices", "images", "words"),
    [
        (2, 2, 90, "by 2 jobs on 2 devices, expected to take about 10 minutes"),
        (1, 3, 90, "by 1 job on 1 device of 3 (more jobs would hardly outlast their own start: shard.min_seconds), "
         "expected to take about 10 minutes"),
        (3, 8, 3, "by 3 jobs on 3 devices, expected to take about 10 minutes"),  # an image each
        (5, 2, 90, "by 5 jobs on 2 devices (more jobs than devices, since shard.max_hours limits how long one lasts), "
         "expected to take about 25 minutes"),
    ],
)  # fmt: skip
def test_why_there_are_not_as_many_jobs_as_devices_is_said(jobs, devices, images, words):
    plan = plan_of(*(PlannedShard(f"{n:04d}", 1, 600.0) for n in range(jobs)), images=images)
    assert division(plan, devices) == words
