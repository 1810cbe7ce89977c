"""A shard on one device: what is stored of each image, whatever happens on the way."""

import json
import logging
import os
import signal
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch

from samfleet.config.settings import Settings
from samfleet.detection import pipeline
from samfleet.detection.job import OutOfTimeError, PlanError, detect_shard
from samfleet.detection.stopping import Stopped
from samfleet.detection.workers import Task, Workers, WorkerTimeout
from samfleet.devices import job_device
from samfleet.devices.job_device import DeviceError
from samfleet.devices.lease import LeaseError
from samfleet.devices.visible import Device
from samfleet.digests import image_id
from samfleet.errors import PermanentError
from samfleet.files import TableError
from samfleet.images.reading import read_image
from samfleet.plan.collection import scan_collection
from samfleet.plan.planning import make_plan
from samfleet.plan.stamp import plan_stamp
from samfleet.results import (
    chunks_file,
    chunks_folder,
    done_file,
    shard_file,
    store_folder,
    store_settings_file,
)
from samfleet.sam.generator.generator import NotFiniteError
from samfleet.sam.masks.records import FoundMasks, TileReport
from samfleet.sam.model_key import configured_model_key
from samfleet.store.index import read_stored_images
from samfleet.store.segments import read_segment, rebuild_index
from samfleet.summary.job import MissingResults, summarize_plan
from tests.builders import disc, found_masks, job_ledgers, make_settings, rle_counts, weights_stub

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
MASK = disc(40, 50, 20, 25, 10)


class InlineWorkers:
    """Workers whose calls are done at once in this process."""

    def __init__(self, count: int, timeout: float):
        self.count, self.timeout = count, timeout

    def submit(self, function, *arguments, times=1) -> Task:
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return Task(future, limit=times * self.timeout)

    def result(self, task: Task) -> object:
        return task.future.result()

    def __enter__(self) -> "InlineWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Generator:
    """A mask generator that finds one disc, after calling `before` with the image's number."""

    points_per_batch = 8
    device_seconds: float | None = None
    tiles = None
    mask = MASK

    def __init__(self, before=lambda number, points_per_batch: None):
        self.before = before
        self.seconds = {"encoding": 1.0, "decoding": 2.0, "postprocessing": 3.0}
        self.shown: list[np.ndarray] = []
        self.batches: list[int] = []

    def why_not_shown(self, height: int, width: int) -> str:
        return "too narrow" if height == 1 else ""

    def find(self, rgb: np.ndarray, points_per_batch: int, finished: dict) -> FoundMasks:
        self.batches.append(points_per_batch)
        self.before(len(self.shown), points_per_batch)
        self.shown.append(rgb)
        return found_masks(self.mask)


class Job:
    """A planned shard of three images and what a job makes of it."""

    def __init__(self, folder: Path, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        self.images, self.results = folder / "images", folder / "results"
        self.images.mkdir()
        for number, name in enumerate("abc"):
            self.image(f"{name}.png", 50 + number)
        (folder / "weights.pth").write_bytes(weights_stub())
        self.workers = InlineWorkers
        self.fluorescence: dict = {}

    def image(self, name: str, value: int) -> bytes:
        pixels = np.full((40, 50), value, np.uint8)
        pixels[0] = 200
        data = cv2.imencode(".png", pixels)[1].tobytes()
        (self.images / name).write_bytes(data)
        return data

    def id(self, name: str) -> str:
        return image_id((self.images / name).read_bytes())

    def settings(self, **sections) -> Settings:
        sam = {"checkpoint": str(self.folder / "weights.pth")}
        default = {"device": "cpu", "sam": sam, "fluorescence": self.fluorescence}
        return make_settings(self.images, **default | sections)

    def plan(self, devices: int = 1) -> None:
        self.key = configured_model_key(self.settings(), self.results)
        # as many shards as devices, and chunks of one image each
        settings = self.settings(shard={"min_seconds": 0} if devices > 1 else {})
        self.last = make_plan(settings, self.results, self.key, devices)

    def detect(
        self, generator: Generator | None = None, load=None, of=1, ends=None, **sections
    ) -> Generator:
        generator = generator or Generator()
        # every job is a process of its own: it inherits no device from the one before
        self.monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        detect_shard(
            self.settings(**sections),
            self.results,
            shard_list=shard_file(self.results, self.last.id, f"{of:04d}"),
            done=done_file(self.results, self.last.id, f"{of:04d}"),
            threads=1,
            ends=ends,
            open_workers=self.workers,
            load_generator=load or (lambda *_: generator),
        )
        return generator

    @property
    def done(self) -> Path:
        return done_file(self.results, self.last.id, "0001")

    @property
    def store(self) -> Path:
        return store_folder(self.results, self.key)

    def stored(self) -> dict[str, str]:
        rebuild_index(self.store)
        return {name: image.status for name, image in read_stored_images(self.store).items()}

    def rows(self) -> list[dict]:
        segments = sorted(self.store.glob("*.parquet"))
        return [r for path in segments for group in read_segment(path) for r in group.to_pylist()]

    def ledger(self) -> list[dict]:
        return job_ledgers(self.results)


@pytest.fixture
def job(tmp_path, monkeypatch):
    before = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setattr(job_device, "lease_folder", lambda: tmp_path / "locks" / "job")
    (tmp_path / "locks").mkdir(mode=0o700)
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")
    planned = Job(tmp_path, monkeypatch)
    planned.plan()
    yield planned
    for number, handler in before.items():
        signal.signal(number, handler)


def test_every_image_of_a_shard_is_stored_with_what_was_measured(job):
    job.detect()
    assert job.stored() == {job.id(f"{name}.png"): "ok" for name in "abc"}
    rows = {row["image_id"]: row for row in job.rows()}
    row = rows[job.id("b.png")]
    assert (row["area"], row["intensity_mean"]) == (MASK.sum(), [51.0] * 3)
    assert (row["background"], row["image_maximum"]) == ([51.0] * 3, [200.0] * 3)
    assert (row["width"], row["height"], row["dtype"]) == (50, 40, "uint8")
    assert row["plan"] == job.last.id


def test_pixels_without_a_value_and_what_is_doubtful_are_stored_and_said(job, caplog):
    pixels = np.full((2, 40, 50), 7, np.float32)
    pixels[0, 20, 25], pixels[0, :3, 0], pixels[1] = np.inf, np.nan, np.nan
    tifffile.imwrite(job.images / "d.tif", pixels, imagej=True, metadata={"axes": "CYX"})
    job.plan()
    job.detect()
    (row,) = [row for row in job.rows() if row["image_id"] == job.id("d.tif")]
    assert row["warning"] == "all pixels of channel 1 are NaN or infinite"
    assert "d.tif: all pixels of channel 1 are NaN or infinite" in caplog.text
    assert row["n_invalid_pixels"] == 2000
    found = int(MASK.sum()) - 1
    assert row["valid_pixels"] == [found, found, found, 0]
    assert row["intensity_mean"] == [7.0, 7.0, 7.0, None]
    assert row["background"] == [7.0, 7.0, 7.0, None]


@pytest.mark.parametrize("only_largest_part", [True, False])
def test_masks_in_several_pieces_are_stored_as_configured(job, only_largest_part):
    generator = Generator()
    generator.mask = MASK | disc(40, 50, 5, 45, 3)
    job.fluorescence = {"largest_part": only_largest_part}
    job.plan()
    job.detect(generator)
    rows = job.rows()
    right = MASK if only_largest_part else generator.mask
    assert {row["area"] for row in rows} == {right.sum()}
    assert {row["rle"] for row in rows} == {rle_counts(right)}
    assert {row["n_parts"] for row in rows} == {2}
    settings = json.loads(store_settings_file(job.store).read_text())
    assert settings["largest_part"] is only_largest_part


def test_an_image_whose_masks_are_not_finite_fails_with_the_reason(job, caplog):
    def spoil(*_: int) -> None:
        if len(generator.batches) == 2:
            raise NotFiniteError("the model's output is not finite: sam.checkpoint")

    generator = Generator(spoil)
    job.detect(generator)
    (failed,) = [row for row in job.rows() if row["status"] != "ok"]
    reason = "the model's output is not finite: sam.checkpoint"
    assert (failed["status"], failed["reason"], failed["transient"]) == ("error", reason, True)
    assert reason in caplog.text
    assert "Traceback" not in caplog.text


def test_the_record_of_a_shard_is_written_at_its_end(job):
    job.detect()
    record = json.loads(job.done.read_text())
    assert (record["images"], record["detected"], record["failed"]) == (3, 3, 0)
    assert len(list(job.store.glob("*.parquet"))) == 1


def test_the_ledger_has_a_row_for_every_detection(job):
    job.detect()
    assert sorted(row["image_id"] for row in job.ledger()) == sorted(job.stored())
    for row in job.ledger():
        seconds = [row[f"seconds_{n}"] for n in ("encoding", "decoding", "postprocessing")]
        assert seconds == ["1.0", "2.0", "3.0"]
        assert (row["device"], row["points_per_batch"]) == ("cpu", "8")
        assert float(row["seconds_reading"]) > 0
        assert float(row["seconds_measuring"]) > 0


def test_a_job_says_how_long_its_device_had_no_work(job, monkeypatch, caplog):
    """Two seconds of work an image, one of waiting for it to be read and one behind."""
    caplog.set_level(logging.INFO)
    clock = [0.0]

    def work(*_):
        clock[0] += 2

    class SlowWorkers(InlineWorkers):
        def result(self, task: Task) -> object:
            clock[0] += 1
            return super().result(task)

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    job.workers = SlowWorkers
    job.detect(Generator(work))
    record = json.loads(job.done.read_text())
    # the last image is measured when the device is done with all
    assert (record["seconds"], record["device_idle"]) == (11.0, round(1 - 6 / 11, 3))
    assert "the device had work for 6.0 s of 11.0 s: 45.5 % idle" in caplog.text
    assert [row["seconds_waiting"] for row in job.ledger()] == ["2.0", "2.0", "2.0"]


def test_a_gpu_is_busy_by_its_own_clock(job, monkeypatch):
    """Two seconds of the host an image, in which the GPU works for half a second."""
    clock = [0.0]

    def work(*_):
        clock[0] += 2
        generator.device_seconds += 0.5

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    generator = Generator(work)
    generator.device_seconds = 7.0
    job.detect(generator)
    record = json.loads(job.done.read_text())
    assert (record["seconds"], record["device_idle"]) == (6.0, 0.75)


def test_without_masks_to_look_for_a_device_is_neither_idle_nor_busy(job):
    for name in "abc":
        (job.images / f"{name}.png").unlink()
    job.detect()
    assert json.loads(job.done.read_text())["device_idle"] is None


def test_a_job_without_memory_to_measure_says_so(job, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(pipeline, "measure_found", exhausted)
    job.detect()
    rows = job.rows()
    assert {(row["status"], row["transient"]) for row in rows} == {("out_of_memory", True)}


def test_the_first_images_are_read_while_the_model_is_loaded(job, monkeypatch):
    for number in range(20):
        job.image(f"{number}.png", 100 + number)
    job.plan()
    read = []
    monkeypatch.setattr(
        pipeline, "read_image", lambda path, *_: read.append(path) or read_image(path, *_)
    )
    generator = Generator()

    def load(*_):
        assert len(read) == 3
        return generator

    job.detect(generator, load)
    assert len(generator.shown) == len(read) == 23


def test_what_the_store_holds_is_not_detected_again(job):
    job.detect()
    assert job.detect().shown == []
    assert job.done.exists()
    assert len(job.ledger()) == 3


def test_the_work_is_the_same_with_real_workers(job):
    job.workers = Workers
    job.detect()
    assert set(job.stored().values()) == {"ok"}
    assert len(job.rows()) == 3


def test_an_image_that_hangs_is_named_and_given_up_and_what_is_finished_reaches_the_disk_meanwhile(
    job, caplog
):
    """As where the image lies on a network mount that is gone."""
    meanwhile = {}

    class LateWorkers(InlineWorkers):
        def submit(self, function, *arguments, times=1) -> Task:
            if str(arguments[0]) != str(job.images / "a.png"):
                return super().submit(function, *arguments)
            task = Task(started=time.monotonic() - 70, limit=self.timeout)
            threading.Timer(4, self.give_up, [task]).start()
            return task

        def give_up(self, task: Task) -> None:
            meanwhile.update(job.stored(), log=caplog.text)
            task.future.set_exception(WorkerTimeout())

    job.workers = LateWorkers
    job.detect(shard={"flush_seconds": 2})
    log = meanwhile.pop("log")
    assert "a.png: reading it takes more than 7" in log
    assert "s; after 600 s (image.timeout_seconds) it is given up" in log
    assert meanwhile == {job.id("b.png"): "ok", job.id("c.png"): "ok"}
    (failed,) = [row for row in job.rows() if row["status"] != "ok"]
    assert (failed["image_id"], failed["status"]) == (job.id("a.png"), "unreadable")
    assert failed["transient"]
    assert failed["reason"] == "reading it took longer than 600 s (image.timeout_seconds)"
    assert job.done.exists()


def test_a_large_image_may_take_longer_to_be_read_and_measured(job, monkeypatch):
    """In proportion, from 100 pixels or bytes on in place of hundreds of millions."""
    allowed = []

    class Patience(InlineWorkers):
        def submit(self, function, *arguments, times=1) -> Task:
            allowed.append((function.__name__, times))
            return super().submit(function, *arguments)

    monkeypatch.setattr(pipeline, "_LARGE_PIXELS", 100)
    monkeypatch.setattr(pipeline, "_BYTES_A_PIXEL", 1)
    job.workers = Patience
    job.detect()
    bytes_of_files = [path.stat().st_size for path in sorted(job.images.iterdir())]
    expected = [("read_image", max(1, size / 100)) for size in bytes_of_files]
    assert sorted(allowed) == sorted([*expected, *[("measure_found", 40 * 50 / 100)] * 3])


def test_masks_that_are_measured_for_too_long_are_a_transient_failure(job, monkeypatch):
    def late(*_):
        raise WorkerTimeout

    monkeypatch.setattr(pipeline, "measure_found", late)
    job.detect(image={"timeout_seconds": 2.5})
    reason = "measuring its masks took longer than 2.5 s (image.timeout_seconds)"
    assert {(r["status"], r["reason"], r["transient"]) for r in job.rows()} == {
        ("error", reason, True)
    }


def test_a_pipe_in_the_place_of_an_image_is_unreadable_at_once(job):
    (job.images / "b.png").unlink()
    os.mkfifo(job.images / "b.png")
    job.detect()
    (failed,) = [row for row in job.rows() if row["status"] != "ok"]
    assert (failed["reason"], failed["transient"]) == ("cannot be read: not a regular file", True)


def test_an_image_that_is_replaced_meanwhile_is_stored_as_what_was_read(job):
    planned = job.id("b.png")
    job.image("b.png", 99)
    job.detect()
    stored = job.stored()
    assert (stored[planned], stored[job.id("b.png")]) == ("changed", "ok")
    reason = next(row["reason"] for row in job.rows() if row["image_id"] == planned)
    assert job.id("b.png") in reason


def test_images_that_swap_their_content_meanwhile_are_both_detected(job):
    a, b = job.images / "a.png", job.images / "b.png"
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)
    job.detect()
    assert set(job.stored().values()) == {"ok"}


def test_an_image_that_becomes_a_copy_of_another_is_detected_once(job):
    planned = job.id("b.png")
    (job.images / "b.png").write_bytes((job.images / "a.png").read_bytes())
    generator = job.detect()
    assert job.stored()[planned] == "changed"
    assert [row["image_id"] for row in job.rows()].count(job.id("a.png")) == 1
    assert len(generator.shown) == 3


@pytest.mark.parametrize(("cut", "words"), [(0, ""), (1, "1 object is"), (7, "7 objects are")])
def test_the_ledger_says_what_was_done_with_tiles(job, caplog, cut, words):
    generator = Generator()
    report = TileReport(size=256, done=5, left_out=11, cut=cut)
    generator.find = lambda *_, **__: replace(found_masks(MASK), tiles=report)
    job.detect(generator)
    names = ("tile_size", "tiles", "tiles_left_out", "objects_cut")
    for row in job.ledger():
        assert [int(row[name]) for name in names] == [256, 5, 11, cut]
    warnings = [line for line in caplog.messages if "cut by every tile" in line]
    assert len(warnings) == (3 if cut else 0)
    assert all(f".png: about {words} cut by" in line for line in warnings)


def test_an_image_that_is_gone_is_unreadable_and_costs_no_other(job):
    planned = job.id("b.png")
    (job.images / "b.png").unlink()
    job.detect()
    stored = job.stored()
    assert stored.pop(planned) == "unreadable"
    assert set(stored.values()) == {"ok"}
    assert json.loads(job.done.read_text())["failed"] == 1


def test_an_error_costs_its_image_alone_and_is_said_in_words(job):
    def fail(number, _):
        if number == 1 and len(generator.batches) == 2:
            raise LookupError("of the second")

    generator = Generator(fail)
    job.detect(generator)
    assert sorted(job.stored().values()) == ["error", "ok", "ok"]
    (failed,) = [row for row in job.rows() if row["status"] == "error"]
    assert (failed["reason"], failed["transient"]) == ("LookupError: of the second", True)
    assert job.detect().shown == []  # the plan is carried out; the next one has it again
    job.plan()
    assert len(job.detect().shown) == 1
    assert set(job.stored().values()) == {"ok"}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
    ids=["torch", "CUDA", "cuBLAS", "host"],
)
def test_out_of_memory_halves_the_prompts_per_batch_for_that_image(job, error):
    def exhausted(number, points_per_batch):
        if number == 0 and points_per_batch > 2:
            raise error

    generator = job.detect(Generator(exhausted))
    assert generator.batches == [8, 4, 2, 8, 8]
    assert set(job.stored().values()) == {"ok"}
    assert sorted(row["points_per_batch"] for row in job.ledger()) == ["2", "8", "8"]


def test_out_of_memory_with_one_prompt_is_a_transient_failure(job):
    def exhausted(number, _):
        if len(generator.batches) <= 4:
            raise torch.cuda.OutOfMemoryError

    generator = Generator(exhausted)
    job.detect(generator)
    assert generator.batches == [8, 4, 2, 1, 8, 8]
    (failed,) = [row for row in job.rows() if row["status"] != "ok"]
    assert (failed["status"], failed["transient"]) == ("out_of_memory", True)
    assert failed["reason"] == "out of memory even with one prompt at a time"


def test_where_fewer_prompts_would_not_help_they_are_not_tried(job):
    def exhausted(number, _):
        if len(generator.batches) == 1:
            raise MemoryError("out of memory in the encoder")

    generator = Generator(exhausted)
    job.detect(generator)
    assert generator.batches == [8, 8, 8]
    (failed,) = [row for row in job.rows() if row["status"] != "ok"]
    assert (failed["status"], failed["reason"]) == ("out_of_memory", "out of memory in the encoder")


def test_a_device_that_fails_while_its_memory_is_freed_is_not_tried_again(job, monkeypatch):
    """An error of an earlier kernel comes with the next call to CUDA."""

    def exhausted(*_):
        raise torch.OutOfMemoryError

    def poisoned():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "empty_cache", poisoned)
    generator = Generator(exhausted)
    with pytest.raises(DeviceError, match="illegal memory access"):
        job.detect(generator, device="auto", devices=["left", "right"])
    assert generator.batches == [8]


def test_a_device_without_memory_for_the_model_is_left_out_of_the_plan(job):
    def load(*_):
        raise RuntimeError("CUDA error: out of memory")

    with pytest.raises(DeviceError, match="device left"):
        job.detect(load=load, device="auto", devices=["left", "right"])
    job.detect(device="auto", devices=["left", "right"])
    assert json.loads(job.done.read_text())["device"] == "right"


def test_a_host_without_memory_for_the_model_is_not_the_devices_fault(job):
    def load(*_):
        raise MemoryError

    with pytest.raises(MemoryError):
        job.detect(load=load, device="auto", devices=["left", "right"])
    job.detect(device="auto", devices=["left", "right"])
    assert json.loads(job.done.read_text())["device"] == "left"


def broken(number, _):
    if number == 1:
        raise RuntimeError("CUDA error: unspecified launch failure")


def test_a_device_that_fails_ends_the_job_and_is_left_out_of_the_plan(job):
    with pytest.raises(DeviceError, match=r"device left on .* failed: CUDA error"):
        job.detect(Generator(broken), device="auto", devices=["left", "right"])
    assert not job.done.exists()
    job.detect(device="auto", devices=["left", "right"])
    assert json.loads(job.done.read_text())["device"] == "right"
    assert set(job.stored().values()) == {"ok"}


@pytest.mark.parametrize("words", ["CUDA unknown error - this may be due to", "NVML: GPU is lost"])
def test_a_lost_device_is_left_out_whatever_says_so(job, words):
    def lost(*_):
        raise RuntimeError(words)

    generator = Generator(lost)
    with pytest.raises(DeviceError, match="device left"):
        job.detect(generator, device="auto", devices=["left", "right"])
    assert len(generator.batches) == 1
    job.detect(device="auto", devices=["left", "right"])
    assert json.loads(job.done.read_text())["device"] == "right"


def test_when_every_device_failed_the_job_says_so(job):
    for name in ("left", "right"):
        with pytest.raises(DeviceError, match=name):
            job.detect(Generator(broken), device="auto", devices=["left", "right"])
    with pytest.raises(LeaseError, match="left, right failed in this plan"):
        job.detect(device="auto", devices=["left", "right"])


def test_the_leased_device_is_the_only_visible_one(job):
    job.detect(device="auto", devices=["left", "right"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "left"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_cuda_without_a_device_is_an_error_and_auto_says_that_it_runs_on_the_cpu(job, caplog):
    with pytest.raises(PermanentError, match=r"device: cuda needs a GPU, but .*set device: cpu"):
        job.detect(device="cuda")
    assert job.rows() == []
    job.detect(device="auto")
    assert "running on the CPU" in caplog.text
    assert json.loads(job.done.read_text())["detected"] == 3


def test_a_precision_without_its_gpu_is_an_error_before_the_model_is_loaded(job):
    job.monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    sam = {"checkpoint": str(job.folder / "weights.pth"), "precision": "bf16"}
    settings = make_settings(job.images, sam=sam)
    plan = make_plan(settings, job.results, configured_model_key(settings, job.results), 1, 2)

    def load(*_):
        raise AssertionError("loaded")

    with pytest.raises(PermanentError, match=r"sam\.precision: bf16 needs a GPU, but .*fast"):
        detect_shard(
            settings,
            job.results,
            shard_list=shard_file(job.results, plan.id, "0001"),
            done=job.done,
            threads=1,
            load_generator=load,
        )


def test_within_a_schedulers_job_another_machine_may_have_a_gpu(job):
    job.monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(DeviceError, match="device: cuda needs a GPU") as error:
        job.detect(device="cuda")
    assert not isinstance(error.value, PermanentError)


def test_a_device_that_only_cuda_visible_devices_names_is_not_waited_for(job, caplog):
    job.monkeypatch.setattr(job_device, "visible_devices", lambda _: [Device("0", "0")])
    job.monkeypatch.setattr(job_device, "gpu_exists", lambda: False)
    job.detect(device="auto")
    assert "running on the CPU" in caplog.text
    assert {row["device"] for row in job.ledger()} == {"cpu"}


@pytest.mark.parametrize("config", [{"device": "cuda"}, {"devices": ["0"]}])
def test_a_device_that_is_asked_for_or_pretended_is_believed(job, config):
    job.monkeypatch.setattr(job_device, "visible_devices", lambda _: [Device("0", "0")])
    job.monkeypatch.setattr(job_device, "gpu_exists", lambda: False)
    job.detect(**{"device": "auto"} | config)
    assert {row["device"] for row in job.ledger()} == {"0"}


def test_an_image_too_narrow_for_sam_is_unsupported_for_good(job):
    job.images.joinpath("b.png").write_bytes(cv2.imencode(".png", np.zeros((1, 2049), np.uint8))[1])
    job.plan()
    job.detect()
    (failed,) = [row for row in job.rows() if row["status"] != "ok"]
    assert (failed["status"], failed["transient"]) == ("unsupported", False)
    assert failed["reason"] == "too narrow"


def test_a_configuration_that_changed_after_planning_is_refused(job):
    (job.folder / "weights.pth").write_bytes(weights_stub(note="other"))
    with pytest.raises(PlanError, match="run the workflow again"):
        job.detect()
    assert job.rows() == []
    assert not job.done.exists()


def test_a_shard_list_that_lost_an_image_is_refused(job):
    shard = shard_file(job.results, job.last.id, "0001")
    shard.write_text("".join(shard.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(TableError, match=r"0001\.tsv: 2 of 3 images; delete it and run again"):
        job.detect()
    assert not job.done.exists()


def test_a_signal_keeps_what_is_finished(job, caplog):
    caplog.set_level(logging.WARNING)

    def stop(number, _):
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        job.detect(Generator(stop))
    finished = len(job.stored())
    assert 1 <= finished <= 2
    assert not job.done.exists()
    assert "stopped by SIGTERM" in caplog.text
    assert len(job.detect().shown) == 3 - finished
    assert set(job.stored().values()) == {"ok"}


def unloaded(*_):
    raise AssertionError("a model was loaded")


def record(job: Job, shard: int) -> dict:
    return json.loads(done_file(job.results, job.last.id, f"{shard:04d}").read_text())


def test_a_job_takes_the_work_of_others_and_these_then_load_no_model(job, caplog):
    caplog.set_level(logging.INFO)
    job.plan(devices=3)
    assert len(job.last.shards) == 3
    assert len(job.detect(of=2).shown) == 3
    assert record(job, 2)["of_other_shards"] == 2
    for shard in (1, 3):
        job.detect(load=unloaded, of=shard, device="auto", devices=["gpu0"])
        assert "leased" not in caplog.text
        assert f"shard 000{shard}: nothing is left to detect" in caplog.text
        assert (record(job, shard)["images"], record(job, shard)["chunks"]) == (0, 0)
    assert set(job.stored().values()) == {"ok"}
    assert len(job.ledger()) == 3
    assert {row["shard"] for row in job.ledger()} == {"0002"}


def test_an_image_that_another_device_could_have_is_not_read_ahead(job, monkeypatch):
    """Nor claimed: each is a chunk of its own, and jobs whose devices have nothing to do may be there."""
    job.plan(devices=3)
    read = []
    monkeypatch.setattr(
        pipeline, "read_image", lambda path, *_: read.append(path) or read_image(path, *_)
    )
    ahead = []
    generator = Generator(lambda number, _: ahead.append(len(read) - number))

    def load(*_):
        assert len(read) == 1
        return generator

    job.detect(generator, load)
    assert ahead == [2, 2, 1]  # the one that the device is at, and the next


def test_what_another_job_is_at_is_left_to_it(job):
    job.plan(devices=3)
    inner: list[Generator] = []

    def meanwhile(number, _):
        if number == 0:
            inner.append(Generator())
            detect_shard(
                job.settings(),
                job.results,
                shard_list=shard_file(job.results, job.last.id, "0002"),
                done=done_file(job.results, job.last.id, "0002"),
                threads=1,
                open_workers=job.workers,
                load_generator=lambda *_: inner[0],
            )

    outer = job.detect(Generator(meanwhile), of=1)
    assert len(outer.shown) + len(inner[0].shown) == len(job.ledger()) == 3
    assert set(job.stored().values()) == {"ok"}


def stop_at(count: int):
    def stop(number, _):
        if number == count:
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


def test_what_a_stopped_job_leaves_is_done_by_another_and_nothing_twice(job):
    for number in range(9):
        job.image(f"{number}.png", 100 + number)
    job.plan(devices=2)
    with pytest.raises(Stopped):
        job.detect(Generator(stop_at(4)), of=1)
    finished = len(job.stored())
    assert 0 < finished < 12
    assert len(job.detect(of=2).shown) == 12 - finished
    assert set(job.stored().values()) == {"ok"}
    assert len(job.ledger()) == 12
    assert job.detect(load=unloaded, of=1).shown == []


def test_results_count_and_not_claims(job):
    """Claims are lost with half of the work done: the shard's next job goes by the store."""
    with pytest.raises(Stopped):
        job.detect(Generator(stop_at(2)))
    finished = len(job.stored())
    for claim in chunks_folder(job.results, job.last.id).glob("*/*"):
        claim.unlink()
    assert len(job.detect().shown) == 3 - finished
    assert len(job.ledger()) == 3


def test_a_job_of_an_earlier_plan_draws_no_more_once_there_is_another(job):
    for number in range(9):
        job.image(f"{number}.png", 100 + number)
    job.plan(devices=3)
    first = job.last

    def plan_again(number, _):
        if number == 0:
            job.plan(devices=1)
            job.second, job.last = job.last, first

    drawn = job.detect(Generator(plan_again), of=1)
    assert len(drawn.shown) < 12
    job.last = job.second
    job.detect()
    assert set(job.stored().values()) == {"ok"}
    assert len(job.stored()) == 12


def test_a_damaged_list_of_another_shard_costs_that_shard_alone(job, caplog):
    job.plan(devices=3)
    shard_file(job.results, job.last.id, "0002").write_text("garbage\n")
    assert len(job.detect(of=1).shown) == 2
    assert "0002.tsv: not a table of" in caplog.text
    with pytest.raises(TableError, match=r"0002\.tsv: .*; delete it and run again"):
        job.detect(of=2)


def test_damaged_chunks_are_refused_by_name(job):
    chunks_file(job.results, job.last.id).write_text("garbage\n")
    with pytest.raises(TableError, match=r"chunks\.tsv: .*; delete it and run again"):
        job.detect()


def test_a_job_whose_time_is_nearly_over_leaves_the_rest_to_others(job, caplog):
    caplog.set_level(logging.INFO)
    for number in range(9):
        job.image(f"{number}.png", 100 + number)
    job.plan(devices=3)
    early = job.detect(of=1, ends=time.time() + 100)
    assert 0 < len(early.shown) < 12
    left = 12 - len(early.shown)
    assert f"the time of this job is over: {left} images are left to other jobs" in caplog.text
    assert record(job, 1)["chunks"] >= 1
    job.detect(of=2, ends=time.time() + 3600)
    assert len(job.ledger()) == 12
    job.detect(of=3, ends=time.time() - 10, load=unloaded)


def test_the_last_job_whose_time_is_over_fails_so_that_it_is_started_again(job):
    for number in range(9):
        job.image(f"{number}.png", 100 + number)
    job.plan(devices=2)
    job.detect(of=1, ends=time.time() + 10)
    with pytest.raises(OutOfTimeError, match=r"\d+ images of the plan are left.*max_hours"):
        job.detect(of=2, ends=time.time() + 10)
    job.detect(of=2)
    assert set(job.stored().values()) == {"ok"}
    assert len(job.ledger()) == 12


def test_a_run_whose_claims_lie_is_refused_and_the_next_one_detects_what_is_missing(job):
    """As if the store had been restored from a copy that is older than the claims."""
    job.detect()
    (segment,) = job.store.glob("*.parquet")
    segment.unlink()
    job.detect(load=unloaded)
    with pytest.raises(MissingResults, match="3 images of the last plan have no result"):
        summarize_plan(job.settings(), job.results, job.last)
    collection = scan_collection(str(job.images), (".png",), job.results)
    assert plan_stamp(job.settings(), job.results, collection, job.key)[1]
    job.plan()
    assert len(job.detect().shown) == 3
    summarize_plan(job.settings(), job.results, job.last)
