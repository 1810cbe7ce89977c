"""Large images: read in windows, kept tile by tile, and stored as if they had been read at once."""

import dataclasses
import os
import signal
import time

import numpy as np
import pytest
import tifffile
import torch

from samfleet.detection import kept_tiles, measurement
from samfleet.detection.kept_tiles import KeptTiles
from samfleet.detection.stopping import Stopped
from samfleet.detection.workers import Task, Workers, WorkerTimeout
from samfleet.detection.writing import RecordingError
from samfleet.devices.job_device import DeviceError
from samfleet.images import reading, windows
from samfleet.plan.planning import tile_counter
from samfleet.results import unfinished_folder
from samfleet.sam.generator.candidates import Candidates, Chosen
from samfleet.sam.generator.pictures import WholePicture
from samfleet.sam.generator.tiled import FoundInTile, find_in_tiles
from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.records import FoundMasks
from samfleet.sam.tiles import Tiles
from tests.builders import disc, make_settings
from tests.eye import Eye, search_with
from tests.unit.detection.test_job import InlineWorkers, Job
from tests.unit.detection.test_job import job as job  # the fixture

SIZE = (300, 220)
TILES = Tiles(64)
SAM = {"tile_size": 64}
OF_THIS_RUN = ("plan", "when", "shard", "host", "device")


class TiledGenerator:
    """A mask generator that looks at tiles with `Eye`.

    Args:
        before: called with the number of tiles that this generator has looked at, before each.
    """

    points_per_batch = 8
    tiles = TILES
    device_seconds: float | None = None

    def __init__(self, before=lambda number: None):
        self.seconds = {"encoding": 1.0, "decoding": 2.0, "postprocessing": 3.0}
        self.eye = Eye(sees_background=False)
        self._before = before

    @property
    def looked_at(self) -> int:
        """How many tiles this generator has looked at."""
        return sum(box != [0, 0, SIZE[1], SIZE[0]] for box in self.eye.views)

    def why_not_shown(self, height: int, width: int) -> str:
        return ""

    def find(self, image, points_per_batch: int, finished: dict) -> FoundMasks:
        def look(view):
            self._before(self.looked_at)
            return self.eye.look(view)

        picture = WholePicture(image) if isinstance(image, np.ndarray) else image
        search = search_with(self.eye, np.zeros((*picture.size, 3)), look=look)
        chosen, report, layout = find_in_tiles(picture, self.tiles, search, finished)
        return FoundMasks(
            size=picture.size,
            boxes=chosen.candidates.boxes.numpy(),
            predicted_iou=chosen.candidates.predicted_iou.numpy(),
            stability=chosen.candidates.stability.numpy(),
            points=chosen.candidates.points.numpy(),
            crops=chosen.crops,
            masks=chosen.masks,
            min_mask_region_area=5,
            nms_thresh=0.7,
            reductions=chosen.reductions,
            tiles=report,
            layout=layout,
        )


@pytest.fixture
def large(job, monkeypatch) -> Job:
    """A job of one image of 300 × 220 pixels that counts as large, with 20 tiles or more."""
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(windows, "_BAND_PIXELS", 1)
    monkeypatch.setattr(windows, "_BAND_ROWS", 32)
    monkeypatch.setattr(measurement, "_ROWS_AT_ONCE", 32)
    for name in "abc":
        (job.images / f"{name}.png").unlink()
    random = np.random.default_rng(0)
    pixels = random.integers(90, 110, (2, *SIZE), np.uint16)
    for y in range(20, 300, 26):
        for x in range(20, 220, 26):
            pixels[:, disc(*SIZE, y, x, random.integers(5, 10))] += 3000
    pixels[:, disc(*SIZE, 150, 110, 60)] += 2000  # no tile holds it
    tifffile.imwrite(
        job.images / "d.tif", pixels, tile=(32, 48), ome=True, metadata={"axes": "CYX"}
    )
    settings, detect = job.settings, job.detect
    job.settings = lambda **sections: settings(**{"sam": {**_sam(job), **SAM}} | sections)
    job.detect = lambda generator, **sections: detect(generator, **sections)
    job.plan()
    return job


def _sam(job: Job) -> dict:
    return {"checkpoint": str(job.folder / "weights.pth")}


def parts(job: Job) -> list:
    return sorted(unfinished_folder(job.store).rglob("*.npz"))


def rows(job: Job) -> list[dict]:
    """What is stored, without what differs from run to run."""
    return [
        {k: v for k, v in row.items() if k not in OF_THIS_RUN and not k.startswith("seconds_")}
        for row in job.rows()
    ]


def clear(job: Job) -> None:
    for path in job.store.glob("*.parquet"):
        path.unlink()
    job.plan()


def test_windows_are_stored_as_the_whole_image_is(large, monkeypatch):
    large.detect(TiledGenerator())
    found = rows(large)
    assert len(found) > 60 and {row["status"] for row in found} == {"ok"}
    assert found[0]["tiles"] >= 20 and found[0]["tile_size"] == 64
    assert {row["crop_width"] for row in found} == {67, 220}  # of the whole image, too
    assert len(found[0]["background"]) == 4 and found[0]["dtype"] == "uint16"
    clear(large)
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 10**9)
    generator = TiledGenerator()
    large.detect(generator)
    assert repr(rows(large)) == repr(found)  # empty masks have no centre


def test_worker_processes_read_the_windows(large):
    large.workers = Workers
    large.settings = (lambda before: lambda **s: before(**{"image": {"max_pixels": 9000}} | s))(
        large.settings
    )
    large.detect(TiledGenerator())
    assert {row["status"] for row in large.rows()} == {"ok"}
    assert len(large.rows()) > 60


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_job_keeps_the_tiles_that_are_finished(large, number):
    whole = TiledGenerator()
    large.detect(whole)
    expected = rows(large)
    clear(large)

    def stop(tiles: int) -> None:
        if tiles == 7:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped):
        large.detect(TiledGenerator(stop))
    assert len(parts(large)) == 1
    assert large.stored() == {} and not list(large.store.glob("*.parquet"))
    large.plan()  # which keeps them, too
    again = TiledGenerator()
    large.detect(again)
    assert again.looked_at == whole.looked_at - 7
    assert rows(large) == expected
    assert parts(large) == [] and not unfinished_folder(large.store).exists()


def test_a_killed_job_loses_at_most_a_flush_interval(large, monkeypatch):
    large.detect(TiledGenerator())
    expected = rows(large)
    clear(large)

    class Killed(BaseException):
        pass

    def kill(tiles: int) -> None:
        if tiles == 9:
            # nothing runs any more after SIGKILL
            monkeypatch.setattr(KeptTiles, "flush", lambda self: None)
            raise Killed

    with pytest.raises(Killed):
        large.detect(TiledGenerator(kill), shard={"flush_seconds": 0})
    monkeypatch.undo()
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(measurement, "_ROWS_AT_ONCE", 32)
    assert len(parts(large)) == 9
    parts(large)[3].write_bytes(parts(large)[3].read_bytes()[:-50])
    again, whole = TiledGenerator(), expected[0]["tiles"]
    large.detect(again)
    assert again.looked_at == whole - 8
    assert rows(large) == expected and parts(large) == []


def test_a_device_that_fails_costs_no_finished_tile(large):
    def fail(tiles: int) -> None:
        if tiles == 5:
            raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(DeviceError):
        large.detect(TiledGenerator(fail))
    again = TiledGenerator()
    large.detect(again)
    assert again.looked_at == large.rows()[0]["tiles"] - 5


def test_running_out_of_device_memory_costs_no_finished_tile(large):
    def exhaust(tiles: int) -> None:
        if tiles == 5 and not failed:
            failed.append(1)
            raise torch.cuda.OutOfMemoryError

    failed: list[int] = []
    generator = TiledGenerator(exhaust)
    large.detect(generator)
    assert large.rows()[0]["points_per_batch"] == 4
    assert generator.looked_at == large.rows()[0]["tiles"]


def test_a_quick_image_leaves_nothing_on_the_way(large, monkeypatch):
    written = []
    monkeypatch.setattr(kept_tiles, "atomic_path", written.append)
    large.detect(TiledGenerator())
    assert written == [] and len(large.rows()) > 60


def test_a_full_disk_is_named_while_tiles_are_kept(large, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_tiles, "atomic_path", full)
    with pytest.raises(RecordingError, match="No space left on device"):
        large.detect(TiledGenerator(), shard={"flush_seconds": 0})


def test_tiles_are_kept_while_trying_again_may_help_and_until_the_result_is_on_the_disk(
    large, monkeypatch
):
    from samfleet.detection import pipeline

    def exhausted(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "measure_found", exhausted)
        large.detect(TiledGenerator(), shard={"flush_seconds": 0})
    assert {row["status"] for row in large.rows()} == {"out_of_memory"}
    assert parts(large)
    large.plan()
    again = TiledGenerator()
    large.detect(again)
    assert again.looked_at == 0 and parts(large) == []
    assert large.stored() == {large.id("d.tif"): "ok"}


def test_a_plan_removes_tiles_that_nobody_needs(large):
    large.detect(TiledGenerator())
    folder = unfinished_folder(large.store)
    for name in (large.id("d.tif"), "0" * 32, "1" * 32):
        (folder / name).mkdir(parents=True)
    long_ago = time.time() - 31 * 86400
    os.utime(folder / ("1" * 32), (long_ago, long_ago))
    large.plan()
    assert [path.name for path in folder.iterdir()] == ["0" * 32]


def test_a_file_that_changes_on_the_way_fails_for_now(large):
    def change(tiles: int) -> None:
        if tiles == 3:
            with (large.images / "d.tif").open("ab") as file:
                file.write(b"more")

    large.detect(TiledGenerator(change))
    (row,) = large.rows()
    assert (row["status"], row["transient"]) == ("unreadable", True)
    assert "has changed" in row["reason"]


def test_a_window_that_does_not_come_fails_its_image_alone(large):
    class LateWorkers(InlineWorkers):
        def submit(self, function, *arguments, times=1) -> Task:
            task = super().submit(function, *arguments)
            if function.__name__ == "paint":
                task.future = type(task.future)()
                task.future.set_exception(WorkerTimeout("late"))
            return task

    large.workers = LateWorkers
    large.detect(TiledGenerator())
    (row,) = large.rows()
    assert (row["status"], row["transient"]) == ("unreadable", True)
    assert row["reason"].endswith("(image.timeout_seconds)")


def test_a_tile_larger_than_max_pixels_is_refused(large):
    large.detect(TiledGenerator(), image={"max_pixels": 4000})
    (row,) = large.rows()
    assert row["status"] == "too_large"
    assert row["reason"] == "a tile of 67 x 73 pixels exceeds image.max_pixels (4000)"


def test_tiles_come_back_from_the_disk_as_they_were(tmp_path):
    random = np.random.default_rng(0)

    def candidates(count: int) -> Candidates:
        return Candidates(
            torch.from_numpy(random.integers(0, 99, (count, 4))),
            *(torch.from_numpy(random.random(count).astype("f4")) for _ in range(2)),
            torch.from_numpy(random.random((count, 2))),
        )

    def tile(count: int, large: int, left_out: bool = False) -> FoundInTile:
        masks = [BitMask.of(random.random((5, 9 + n)) < 0.5, (n, 3 + n)) for n in range(count)]
        crops = random.integers(0, 99, (count, 4))
        chosen = Chosen(candidates(count), masks, crops, np.ones(count, np.int64))
        return FoundInTile(chosen, candidates(large), left_out)

    kept = KeptTiles(tmp_path, "a" * 32, 1e9)
    tiles = {
        (64, (0, 0, 64, 64)): tile(3, 0),
        (64, (48, 0, 112, 64)): tile(0, 0, left_out=True),
        (32, (48, 0, 80, 32)): tile(1, 4),
    }
    for key, value in tiles.items():
        kept[key] = value
    kept.flush()
    again = KeptTiles(tmp_path, "a" * 32, 1e9)
    assert again.keys() == tiles.keys()
    for key, value in tiles.items():
        assert again[key].left_out == value.left_out
        for one, other in (
            (again[key].large, value.large),
            (again[key].chosen.candidates, value.chosen.candidates),
        ):
            for field in dataclasses.fields(Candidates):
                two = getattr(one, field.name), getattr(other, field.name)
                assert torch.equal(*two) and two[0].dtype == two[1].dtype
        assert np.array_equal(again[key].chosen.crops, value.chosen.crops)
        for one, other in zip(again[key].chosen.masks, value.chosen.masks, strict=True):
            assert (one.corner, one.shape) == (other.corner, other.shape)
            assert np.array_equal(one.region(), other.region())


# tiles by the size of pixels


def write_with_pixels(job: Job, size: float | None) -> None:
    """The same image, which says that its pixels have this size in µm."""
    path = job.images / "d.tif"
    known = {"PhysicalSizeX": size, "PhysicalSizeY": size} if size else {}
    pixels = tifffile.imread(path)
    tifffile.imwrite(path, pixels, tile=(32, 48), ome=True, metadata={"axes": "CYX", **known})


def measure_in_micrometres(job: Job, **image) -> list[dict]:
    """What is stored if objects are said to be 1.75 µm wide: 3.5 pixels of half a µm, for tiles of 64."""
    settings = job.settings
    sam = {"object_diameter": "1.75 µm", "points_per_side": 2, **_sam(job)}
    job.settings = lambda **sections: settings(**{"sam": sam, "image": image} | sections)
    job.plan()
    job.detect(TiledGenerator())
    job.settings = settings
    return rows(job)


@pytest.mark.parametrize(("said", "configured"), [(0.5, None), (None, 0.5), (9.0, 0.5)])
def test_objects_in_micrometres_give_tiles_by_the_size_of_pixels(large, said, configured):
    write_with_pixels(large, said)
    large.plan()
    large.detect(TiledGenerator())
    expected = rows(large)
    clear(large)
    found = measure_in_micrometres(large, pixel_size_um=configured)
    assert len(found) > 60 and found == expected


@pytest.mark.parametrize(("said", "words"), [(None, "does not say how large"), (25.4, "less than")])
def test_objects_in_micrometres_of_an_image_without_a_size_of_pixels_are_refused(
    large, said, words
):
    write_with_pixels(large, said)
    (row,) = measure_in_micrometres(large)
    assert (row["status"], row["transient"]) == ("unsupported", False)
    assert words in row["reason"] and "set image.pixel_size_um" in row["reason"]
    assert len(measure_in_micrometres(large, pixel_size_um=0.5)) > 60  # under another model key


def test_the_plan_counts_tiles_by_the_size_of_pixels(large):
    write_with_pixels(large, 0.5)
    sam = {"object_diameter": "1.75 um"}
    count = tile_counter(make_settings(large.images, sam=sam), ["d.tif"])
    assert count("d.tif") == len(TILES.lay(SIZE).boxes)
    write_with_pixels(large, None)
    assert tile_counter(make_settings(large.images, sam=sam), ["d.tif"])("d.tif") == 1
    image = {"pixel_size_um": 0.5}
    count = tile_counter(make_settings(large.images, sam=sam, image=image), ["d.tif"])
    assert count("d.tif") == len(TILES.lay(SIZE).boxes)


def test_the_tiles_of_a_damaged_file_are_forgotten_without_advice_to_trust_it(tmp_path, caplog):
    path = unfinished_folder(tmp_path) / ("a" * 32) / "1-00000.npz"
    path.parent.mkdir(parents=True)
    path.write_text("garbage")
    assert not KeptTiles(tmp_path, "a" * 32, 1e9)
    assert not path.exists()
    assert caplog.messages == [f"{path}: damaged; its tiles are looked at again"]
