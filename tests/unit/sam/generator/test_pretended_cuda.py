"""The mask generator on a pretended CUDA device: the same masks, and how little the host waits for it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from samfleet.config.settings import SeedSettings
from samfleet.detection.pipeline import Detection, ReadAhead, find_masks
from samfleet.detection.unfinished import UnfinishedImages
from samfleet.detection.workers import Workers
from samfleet.devices.use import DeviceUse
from samfleet.devices.visible import Device
from samfleet.images.reading import ReadImage
from samfleet.plan.shards import ShardImage
from samfleet.sam.generator import MaskGenerator, encoder, generator
from samfleet.sam.generator.candidates import View
from samfleet.sam.generator.encoder import encode_frames
from samfleet.sam.prompts.prompts import Prompts
from samfleet.sam.tiles import Tiles
from tests import pretended_cuda as pretended
from tests.builders import make_settings
from tests.pretended_cuda import moved, pretended_cuda
from tests.small_sam import SOME, build_sam, image, spotted_sam

RGB = image(48, 64)
FEW = SOME | {"points_per_side": 6}


class Corners:
    """Prompts near the corners of a view."""

    seeds = SeedSettings(0.5, 0.5, 0.5, 0.0, 1)

    def find(self, embedding, frame, unpadded, size) -> Prompts:
        height, width = size
        points = [[x * width, y * height] for x in (0.2, 0.8) for y in (0.3, 0.7)]
        return Prompts(np.array(points), embedding, np.ones((3, *unpadded), np.float32))


EVERY = {"pred_iou_thresh": 0, "stability_score_thresh": 0}
WAYS = {
    "whole": {},
    "crops": {"crop_n_layers": 1, "points_per_side": 4},
    "without background": {"skip_background": True},
    "tiles": {"tiles": Tiles(40, 16), "points_per_side": 3},
    "prompts from maps": EVERY | {"map_prompts": Corners()},
    "outlines from maps": EVERY | {"map_prompts": Corners(), "refine_with_maps": True},
    "boxes of first masks": EVERY | {"map_prompts": Corners(), "refine_with_boxes": True},
}
"""How prompts come about and are shown."""


@pytest.fixture
def device():
    with pretended_cuda() as device:
        device.rounded = False
        yield device


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_device_refuses_what_cuda_refuses(device):
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    assert there.device.type == "cuda"
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    with pytest.raises(RuntimeError, match="same device"):
        here[torch.zeros(1, dtype=torch.int64, device="cuda")]
    with pytest.raises(TypeError, match="cpu"):
        there.numpy()
    assert (there * torch.tensor(2.0)).tolist() == [2, 2, 2]  # a number may come from the host


def test_the_device_counts_what_it_is_given_to_do(device):
    before = device.held
    there = torch.zeros(1000, device="cuda")
    assert (device.launches, device.to_host, device.waits.total()) == (1, 0, 0)
    assert device.held - before == device.peak - before == 4096  # whole blocks of 512 bytes
    view = there[10:].view(-1, 2)
    assert device.held - before == 4096
    assert (there + 1).sum().item() == 1000
    assert (device.launches, device.to_host, device.waits.total()) == (3, 8, 1)
    del view, there
    assert (device.held - before, device.peak - before) == (0, 8704)
    torch.ones(4).to("cuda", non_blocking=True)
    assert (device.to_device, device.waits.total()) == (16, 1)
    device.limit = before + 512
    with pytest.raises(torch.OutOfMemoryError):
        torch.zeros(129, device="cuda")


@pytest.mark.parametrize("way", WAYS)
def test_exact_gives_the_same_records(device, way):
    """Field by field: on the device `exact` runs the library's own operations."""
    sam, parameters = spotted_sam(0.4 if way in ("crops", "tiles") else 1.0), FEW | WAYS[way]
    expected = MaskGenerator(sam, "exact", **parameters).generate(RGB)
    assert expected
    finder = MaskGenerator(moved(sam), "exact", **parameters)
    assert finder.generate(RGB) == expected
    assert not finder._decoder.shared  # the library's transformer would not use it


@pytest.fixture(scope="module")
def sam():
    return build_sam()


@pytest.mark.parametrize("precision", ["fast", "tf32", "bf16"])
def test_every_precision_finds_masks_in_every_way(device, sam, precision):
    device.rounded = True
    there = moved(sam)
    for way in list(WAYS.values())[1:]:
        found = MaskGenerator(there, precision, **FEW | {"points_per_side": 3} | way).find(RGB)
        assert len(found.boxes) == len(found.masks)
        assert np.isfinite(found.predicted_iou).all()
    assert len(found.masks)


def test_each_precision_computes_in_its_own_format(device, sam):
    """Relative to float32, TF32 is off by some 2⁻¹¹ and bf16 by some 2⁻⁸ for each rounding."""
    device.rounded = True
    there = moved(sam)
    pixels = np.random.default_rng(0).normal(size=(1, 3, 64, 64))
    frame = torch.as_tensor(pixels.astype(np.float32))
    expected = encode_frames(sam.image_encoder, frame)
    with torch.backends.cudnn.flags(allow_tf32=False):
        errors = {}
        for name in ("fast", "tf32", "bf16"):
            finder = MaskGenerator(there, name, **FEW)
            found = finder._encode_frame(frame.to("cuda")).cpu()
            assert found.dtype == torch.float32
            errors[name] = ((found - expected).norm() / expected.norm()).item()
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert errors["fast"] < 1e-5 < 2**-13 < errors["tf32"] < 2**-10 < errors["bf16"] < 2**-8


def test_bf16_casts_weights_once_and_leaves_the_model_as_it_is(device, sam):
    there = moved(sam)
    before = {name: value.dtype for name, value in there.state_dict().items()}
    finders = [MaskGenerator(there, name, **FEW) for name in ("fast", "bf16")]
    assert {name: value.dtype for name, value in there.state_dict().items()} == before
    launches = []
    frame = torch.zeros(1, 3, 64, 64, device="cuda")
    for finder in finders:
        finder._encode_frame(frame)
        device.restart()
        finder._encode_frame(frame)
        launches.append(device.launches)
    blocks = len(there.image_encoder.blocks)
    # what blocks pass on is cast, but no weight: to the products and back
    assert launches[1] - launches[0] <= 4 * blocks


def test_fast_is_fast_on_the_cpu_but_for_rounding(device, sam):
    expected = MaskGenerator(sam, "fast", **FEW).find(RGB)
    found = MaskGenerator(moved(sam), "fast", **FEW).find(RGB)
    assert (found.boxes == expected.boxes).all()
    assert np.allclose(found.predicted_iou, expected.predicted_iou, rtol=1e-4)
    assert np.allclose(found.stability, expected.stability, rtol=1e-3)


ERRORS: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
]


def detections(finder: MaskGenerator, *pictures: np.ndarray) -> Iterator[Detection]:
    """What a job makes of pictures that are all read before it begins."""
    read = [ReadImage(str(n), rgb, rgb, True, "", "", 0.0) for n, rgb in enumerate(pictures)]
    images = [
        Detection(ShardImage(each.image_id, 1, f"{each.image_id}.png"), each) for each in read
    ]
    with Workers(1) as workers, TemporaryDirectory() as store:
        yield from find_masks(
            make_settings("x"),
            ReadAhead(images, lambda: True),
            finder,
            Device("0", "0"),
            DeviceUse(),
            workers,
            UnfinishedImages(Path(store), flush_seconds=60),
        )


def detected(finder: MaskGenerator) -> Detection:
    (detection,) = detections(finder, RGB)
    return detection


@pytest.mark.parametrize("exhausted", ERRORS, ids=["torch", "cuBLAS"])
def test_where_prompts_do_not_fit_half_of_them_are_decoded_at_once(device, sam, exhausted):
    finder = MaskGenerator(moved(sam), "fast", **FEW)
    peaks = {}
    for prompts in (36, 9):
        device.restart()
        found = finder.find(RGB, prompts)
        peaks[prompts] = device.peak
    assert peaks[9] < peaks[36]
    device.exhausted, device.limit = exhausted, (peaks[9] + peaks[36]) // 2
    finder.points_per_batch = 36
    detection = detected(finder)
    assert detection.ledger["points_per_batch"] in (9, 18)
    assert (detection.found.boxes == found.boxes).all()
    assert device.held < device.limit


@pytest.mark.parametrize("exhausted", ERRORS, ids=["torch", "cuBLAS"])
def test_where_the_encoder_does_not_fit_it_does_half_at_once(
    device, sam, exhausted, monkeypatch, caplog
):
    monkeypatch.setitem(encoder.BIAS_AT_ONCE, "cuda", 1 << 20)
    monkeypatch.setattr(generator, "SMALLEST_BIAS", 1 << 13)
    there = moved(sam)
    frame = torch.zeros(1, 3, 64, 64, device="cuda")
    peaks = {}
    for at_once in (1 << 20, 1 << 14):
        device.restart()
        expected = encode_frames(there.image_encoder, frame, at_once)
        peaks[at_once] = device.peak
    assert peaks[1 << 14] < peaks[1 << 20]
    finder = MaskGenerator(there, "fast", **FEW)
    device.exhausted, device.limit = exhausted, sum(peaks.values()) // 2
    found = finder._encode_frame(frame).cpu()
    assert torch.allclose(found, expected.cpu(), rtol=1e-4, atol=1e-5)
    assert "half as much at once" in caplog.text
    caplog.clear()
    finder._encode_frame(frame)
    assert not caplog.text  # it stays with what fits


PICTURES = (RGB, RGB[::-1].copy(), RGB[:, ::-1].copy())


def same(ones: list, others: list) -> bool:
    """Whether what was found has the same bits."""
    names = ("boxes", "predicted_iou", "stability", "points", "crops")
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for one, other in zip(ones, others, strict=True)
        for name in names
    ) and all(
        np.array_equal(one.region(number)[0], other.region(number)[0])
        for one, other in zip(ones, others, strict=True)
        for number in range(len(one.boxes))
    )


def noted(events: list[str], name: str, function: Callable, *arguments, **options):
    events.append(name)
    return function(*arguments, **options)


def test_the_next_picture_is_encoded_while_the_host_is_at_the_present_one(device, sam, monkeypatch):
    finder = MaskGenerator(moved(sam), "fast", **FEW, points_per_batch=36)
    finder.find(RGB)
    device.restart()
    expected = [finder.find(rgb) for rgb in PICTURES]
    waits, launches, copied = device.waits.total(), device.launches, device.to_host
    events: list[str] = []
    monkeypatch.setattr(finder, "_encoder", partial(noted, events, "encode", finder._encoder))
    decoder, packer = finder._decoder, generator.packer_of
    monkeypatch.setattr(decoder, "decode", partial(noted, events, "decode", decoder.decode))
    monkeypatch.setattr(generator, "packer_of", partial(noted, events, "pack", packer))
    device.restart()
    found = []
    for detection in detections(finder, *PICTURES):
        events.append("found")
        found.append(detection.found)
        assert detection.ledger["seconds_encoding"] > 0
    first, middle, last = (
        ["encode"],
        ["decode", "encode", "pack", "found"],
        ["decode", "pack", "found"],
    )
    assert events == first + 2 * middle + last
    assert same(found, expected)
    assert (device.launches, device.to_host) == (launches, copied)
    assert device.waits.total() <= waits


def test_nothing_is_encoded_ahead_once_memory_ran_out_for_it(device, sam, monkeypatch, caplog):
    finder = MaskGenerator(moved(sam), "fast", **FEW)
    expected = [finder.find(rgb) for rgb in PICTURES]
    encoder, calls = finder._encoder, []

    def scarce(frame: torch.Tensor) -> torch.Tensor:
        calls.append(frame)
        if len(calls) == 2:  # the second picture, before its turn
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return encoder(frame)

    monkeypatch.setattr(finder, "_encoder", scarce)
    found = list(detections(finder, *PICTURES))
    assert same([each.found for each in found], expected)
    assert len(calls) == 4
    assert caplog.text.count("no longer encoded ahead") == 1
    assert "half as much" not in caplog.text
    # and every picture had as many prompts at once as it would have had
    assert {each.ledger["points_per_batch"] for each in found} == {finder.points_per_batch}


def test_an_encoder_that_fails_ahead_of_its_turn_costs_no_other_picture(device, sam, monkeypatch):
    finder = MaskGenerator(moved(sam), "fast", **FEW)
    encoder = finder._encoder

    def fails_for_the_second(frame: torch.Tensor) -> torch.Tensor:
        if torch.equal(frame.cpu(), second.cpu()):
            raise RuntimeError("something is wrong with it")
        return encoder(frame)

    second = finder._frame(finder._resized(PICTURES[1]))
    monkeypatch.setattr(finder, "_encoder", fails_for_the_second)
    statuses = [getattr(each.read, "status", "ok") for each in detections(finder, *PICTURES)]
    assert statuses == ["ok", "error", "ok"]


@pytest.mark.parametrize("way", ["crops", "tiles", "without background"])
def test_every_view_is_encoded_once_and_ahead_but_for_the_first(device, sam, way, monkeypatch):
    finder = MaskGenerator(moved(sam), "fast", **FEW | {"points_per_side": 3} | WAYS[way])
    finder._ahead.is_of_use = False
    expected = finder.find(RGB)
    device.restart()
    finder.find(RGB)
    launches, waits = device.launches, device.waits.total()
    finder._ahead.is_of_use = True
    ahead: list[str] = []
    encode = finder._ahead.encode
    monkeypatch.setattr(finder._ahead, "encode", partial(noted, ahead, "view", encode))
    device.restart()
    assert same([finder.find(RGB)], [expected])
    assert (len(ahead) >= 3) == (way != "without background")
    assert device.launches == launches
    assert device.waits.total() <= waits


def test_exact_and_a_cpu_encode_nothing_ahead(device, sam):
    def asked() -> None:
        raise AssertionError

    for finder in (MaskGenerator(sam, "fast", **FEW), MaskGenerator(moved(sam), "exact", **FEW)):
        finder.following = asked
        finder.find(RGB)


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_an_encoder_that_does_not_fit_at_all_fails_the_image_at_once(
    device, sam, precision, monkeypatch
):
    monkeypatch.setattr(generator, "SMALLEST_BIAS", 1 << 27)
    finder = MaskGenerator(moved(sam), precision, **FEW)
    device.limit = device.held + (1 << 17)
    detection = detected(finder)
    assert (detection.read.status, detection.read.transient) == ("out_of_memory", True)
    assert detection.read.reason == "out of memory in the encoder"
    assert detection.ledger["points_per_batch"] == finder.points_per_batch


def test_a_lost_device_ends_the_job(device, sam, monkeypatch):
    def lost(*_):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    finder = MaskGenerator(moved(sam), "fast", **FEW)
    monkeypatch.setattr(pretended, "_count", lost)
    with pytest.raises(Exception, match=r"device 0 on .* failed: CUDA error"):
        detected(finder)


def test_nothing_of_an_image_stays_on_the_device(device, sam):
    finder = MaskGenerator(moved(sam), "fast", **FEW)
    finder.find(RGB)  # tables for pictures of this size stay
    held = device.held
    for way in (RGB, RGB[::-1].copy()):
        finder.find(way)
    # the embedding and what all prompts share are replaced by the next image
    assert device.held == held


def test_the_device_clock_counts_what_the_device_does(device, sam):
    finder = MaskGenerator(moved(sam), "fast", **FEW)
    assert finder.device_seconds == 0
    finder.find(RGB)
    assert 0 < finder.device_seconds <= sum(finder.seconds.values())
    before = finder.device_seconds
    finder.find(RGB)
    assert finder.device_seconds > before
    assert MaskGenerator(sam, "fast", **FEW).device_seconds is None


@pytest.mark.parametrize("precision", ["exact", "fast", "tf32", "bf16"])
def test_a_batch_makes_the_host_wait_twice(device, sam, precision):
    """To know which masks to upscale, and how many cells lie along outlines."""
    finder = MaskGenerator(moved(sam), precision, **FEW, points_per_batch=9)
    finder.find(RGB)
    counts = []
    for prompts in (36, 9):
        device.restart()
        finder.find(RGB, prompts)
        counts.append((device.waits.total(), device.launches))
    (waits, launches), (more_waits, more_launches) = counts
    waits_a_batch, launches_a_batch = (more_waits - waits) / 3, (more_launches - launches) / 3
    assert waits_a_batch <= 2
    assert launches_a_batch <= 380
    # the rest: the view itself, suppression, and two for each block of the library's encoder
    blocks = len(sam.image_encoder.blocks) if precision == "exact" else 0
    assert waits - waits_a_batch <= 6 + 2 * blocks
    if precision == "exact":  # 4096 prompts, 64 at once, and the 32 blocks of vit_h
        assert 64 * waits_a_batch + waits - waits_a_batch + 2 * (32 - blocks) <= 200


def test_what_4096_prompts_take(device, sam):
    finder = MaskGenerator(moved(sam), "fast", **SOME | {"points_per_side": 64})
    assert finder.points_per_batch == 256
    finder.find(RGB)
    device.restart()
    finder.find(RGB)
    assert device.waits.total() <= 40
    assert device.launches < 8000
    assert device.to_host < 1 << 20


def noting(look: Callable, views: list[View], view: View, *more: object):
    views.append(view)
    return look(view, *more)


def test_tiles_and_crops_wait_for_no_more_than_their_views(device, sam, monkeypatch):
    """Their edges, and the places of what they hold, cost no wait for each batch."""
    there = moved(sam)
    for way in (WAYS["crops"], WAYS["tiles"]):
        finder = MaskGenerator(there, "fast", **FEW | {"points_per_side": 2} | way)
        finder.find(RGB)
        views: list[View] = []
        monkeypatch.setattr(finder, "look", partial(noting, finder.look, views))
        device.restart()
        finder.find(RGB)
        assert len(views) >= 5
        assert device.waits.total() <= 7 * len(views) + 2
