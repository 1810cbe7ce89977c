"""The pieces of the mask generator against segment_anything's own functions."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils import amg
from torch.nn import functional

from samfleet.sam.generator import upsampling
from samfleet.sam.generator.geometry import Geometry
from samfleet.sam.generator.packing import Packer, bits_of
from samfleet.sam.generator.upsampling import Upsampler
from samfleet.sam.masks.regions import remove_small_regions
from samfleet.sam.masks.rle import encode, run_lengths
from tests import pretended_cuda as pretended
from tests.examples import examples
from tests.pretended_cuda import pretended_cuda

THRESHOLDS = {"mask_threshold": 0.0, "stability_score_offset": 1.0}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@st.composite
def frames_with_a_region(draw) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """A whole mask, a region outside which it is empty, and the region's corner."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    rows, columns = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    blur = draw(st.integers(1, 6))
    region = cv2.blur(random.random((rows, columns)), (blur, blur)).reshape(rows, columns)
    region = region > np.quantile(region, draw(st.floats(0, 1)))
    if draw(st.booleans()):
        region = ~region
    frame = np.zeros((height, width), bool)
    frame[top : top + rows, left : left + columns] = region
    return frame, region, (top, left)


def put(region: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    frame = np.zeros(shape, bool)
    rows, columns = (slice(c, c + n) for c, n in zip(corner, region.shape, strict=True))
    frame[rows, columns] = region
    return frame


@examples(300)
@given(frames_with_a_region())
def test_run_lengths(case):
    frame, region, corner = case
    theirs = amg.mask_to_rle_pytorch(torch.as_tensor(frame)[None])[0]
    counts = run_lengths(region, corner, frame.shape)
    assert counts == theirs["counts"]
    assert encode(counts, frame.shape) == amg.coco_encode_rle(theirs)


@examples(400)
@given(frames_with_a_region(), st.integers(1, 200))
def test_small_regions(case, min_area):
    frame, region, corner = case
    theirs, filled = amg.remove_small_regions(frame, min_area, "holes")
    theirs, removed = amg.remove_small_regions(theirs, min_area, "islands")
    ours, corner, changed = remove_small_regions(region, corner, frame.shape, min_area)
    assert np.array_equal(put(ours, corner, frame.shape), theirs)
    assert changed == (filled or removed)


@pytest.mark.parametrize("top", [3, 4])
@pytest.mark.parametrize("left", [3, 4])
def test_the_first_of_equal_islands_stays(top, left):
    """Which one is first depends on how OpenCV walks over the frame."""
    frame = np.zeros((12, 12), bool)
    frame[top, left + 4], frame[top + 1, left], frame[top + 5, left + 1] = True, True, True
    region = frame[top : top + 6, left : left + 5]
    theirs, _ = amg.remove_small_regions(frame, 5, "islands")
    ours, corner, changed = remove_small_regions(region, (top, left), frame.shape, 5)
    assert changed and theirs.sum() == 1
    assert np.array_equal(put(ours, corner, frame.shape), theirs)


def test_background_cut_off_at_the_frame_s_edge_is_a_hole():
    frame = np.zeros((30, 30), bool)
    frame[:, 3:6] = True
    ours, corner, changed = remove_small_regions(frame[:, 3:6], (0, 3), frame.shape, 100)
    assert changed
    assert put(ours, corner, frame.shape).sum() == 6 * 30


@st.composite
def geometries(draw) -> Geometry:
    side = draw(st.sampled_from([16, 28, 32]))
    encoder = side * draw(st.sampled_from([2, 4]))
    image = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    if draw(st.booleans()):
        image = (encoder, encoder)
    scale = encoder / max(image)
    unpadded = tuple(max(1, int(length * scale + 0.5)) for length in image)
    return Geometry((side, side), (encoder, encoder), unpadded, image)


def logits_of(kind: str, count: int, side: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, side, side, generator=random)
    if kind == "noise":
        return 3 * noise
    if kind == "flat":
        # On the thresholds themselves, where rounding decides.
        levels = torch.tensor([0.0, 1.0, -1.0, 1 + 1e-6, -1e-7, 5.0])
        return levels[torch.arange(count) % 6, None, None].expand(-1, side, side).clone()
    axis = torch.arange(side, dtype=torch.float32)
    centres = torch.rand(count, 2, 1, 1, generator=random) * side
    radii = torch.rand(count, 1, 1, generator=random) * side / 2
    depths = radii - torch.hypot(axis[:, None] - centres[:, 0], axis - centres[:, 1])
    return (2 * depths + 0.5 * noise).clamp(-9, 9)


def resize_whole_frames(logits: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """As ``Sam.postprocess_masks``, with three masks a prompt."""
    frames = logits.unflatten(0, (-1, 3))
    frames = functional.interpolate(frames, geometry.encoder, mode="bilinear", align_corners=False)
    frames = frames[..., : geometry.unpadded[0], : geometry.unpadded[1]]
    frames = functional.interpolate(frames, geometry.image, mode="bilinear", align_corners=False)
    return frames.flatten(0, 1)


def pack(upsampler, masks, chosen: torch.Tensor) -> list:
    boxes = masks.boxes[chosen].numpy()
    return Packer(upsampler.y, upsampler.x).pack(bits_of(masks, chosen), boxes)


def unpacked(upsampler: Upsampler, masks, number: int) -> np.ndarray:
    (packed,) = pack(upsampler, masks, torch.tensor([number]))
    return put(*packed.unpack(), upsampler.geometry.image)


@examples(80)
@given(
    geometries(),
    st.sampled_from(["noise", "flat", "discs"]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.0, -0.7]),
    st.integers(0, 10**6),
)
def test_masks_are_those_of_whole_frames(geometry, kind, offset, threshold, seed):
    logits = logits_of(kind, 6, geometry.logits[0], seed) + threshold
    frames = resize_whole_frames(logits, geometry)
    upsampler = Upsampler(geometry, threshold, offset, CPU)
    masks = upsampler.masks(logits)
    stability = amg.calculate_stability_score(frames, threshold, offset)
    assert torch.equal(masks.stability.nan_to_num(-1), stability.nan_to_num(-1))
    assert torch.equal(masks.boxes, amg.batched_mask_to_box(frames > threshold))
    for number, frame in enumerate(frames):
        assert np.array_equal(unpacked(upsampler, masks, number), (frame > threshold).numpy())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("image", [(64, 64), (65, 64), (50, 77), (130, 90), (20, 12)])
def test_pixels_on_a_threshold_are_the_library_s(monkeypatch, image, threads):
    """Which kernel the library takes depends on size and threads, and so do the last bits.

    With a tolerance as wide as the logits every pixel is taken from the library's resize.
    """
    torch.set_num_threads(threads)
    monkeypatch.setattr(upsampling, "ROUNDING", 10.0)
    scale = 128 / max(image)
    unpadded = tuple(int(length * scale + 0.5) for length in image)
    geometry = Geometry((32, 32), (128, 128), unpadded, image)
    logits = logits_of("noise", 6, 32, seed=1)
    frames = resize_whole_frames(logits, geometry)
    # Thresholds that some pixels equal.
    threshold = float(frames[0, image[0] // 2, image[1] // 2])
    upsampler = Upsampler(geometry, threshold, 0.5, CPU)
    masks = upsampler.masks(logits)
    for number, frame in enumerate(frames):
        assert np.array_equal(unpacked(upsampler, masks, number), (frame > threshold).numpy())


@examples(40)
@given(
    geometries(),
    st.sampled_from(["noise", "flat", "discs"]),
    st.sampled_from([0.0, 0.3]),
    st.integers(0, 10**6),
    st.sampled_from([3, 6, 9]),
)
def test_a_gpu_gives_the_same_masks_and_is_waited_for_once(geometry, kind, offset, seed, at_once):
    """However many frames are resized at once, the last of which may be fewer."""
    logits = logits_of(kind, 7, geometry.logits[0], seed)
    expected = Upsampler(geometry, 0.0, offset, CPU).masks(logits)
    pixels = max(math.prod(geometry.encoder), math.prod(geometry.image))
    with pytest.MonkeyPatch.context() as patch, pretended_cuda() as device:
        patch.setattr(upsampling, "FRAMES_AT_ONCE", at_once * pixels)
        there = logits.to("cuda")
        upsampler = Upsampler(geometry, 0.0, offset, there.device)
        device.restart()
        masks = upsampler.masks(there)
        assert device.waits == {"nonzero": 1}
        for name in ("whole", "pixels", "cells", "boxes"):
            assert torch.equal(getattr(masks, name).cpu(), getattr(expected, name))
        for name in ("mask", "row", "column"):
            assert torch.equal(getattr(masks.outline, name).cpu(), getattr(expected.outline, name))
        assert torch.equal(masks.stability.cpu().nan_to_num(-1), expected.stability.nan_to_num(-1))


def test_a_gpu_resizes_few_frames_at_once(monkeypatch):
    """Its memory holds no more of them, however many masks there are."""
    geometry = Geometry((16, 16), (64, 64), (64, 64), (128, 128))
    monkeypatch.setattr(upsampling, "FRAMES_AT_ONCE", 3 * 128**2)
    peaks = []
    with pretended_cuda() as device:
        upsampler = Upsampler(geometry, **THRESHOLDS, device=pretended.CUDA)
        for count in (3, 30):
            logits = logits_of("discs", 3, 16, seed=0).repeat(count // 3, 1, 1).to("cuda")
            held = device.held
            device.restart()
            upsampler.masks(logits)
            peaks.append(device.peak - held)
    frames = 4 * 3 * 128**2
    assert peaks[0] > frames
    # what grows with the masks are cells, not frames
    assert peaks[1] - peaks[0] < (30 - 3) * frames / 3 / 2


@pytest.mark.parametrize("masks_per_prompt", [1, 3])
def test_a_gpu_without_masks(masks_per_prompt):
    geometry = Geometry((16, 16), (64, 64), (64, 64), (50, 50), masks_per_prompt)
    with pretended_cuda():
        upsampler = Upsampler(geometry, **THRESHOLDS, device=pretended.CUDA)
        masks = upsampler.masks(torch.zeros(0, 16, 16).to("cuda"))
        assert masks.boxes.shape == (0, 4) and masks.cells.shape == (0,)


def test_fast_masks_differ_in_few_pixels():
    geometry = Geometry((32, 32), (128, 128), (128, 96), (101, 76))
    logits = logits_of("noise", 6, 32, seed=2)
    frames = resize_whole_frames(logits, geometry) > 0
    upsampler = Upsampler(geometry, **THRESHOLDS, device=CPU, exact=False)
    masks = upsampler.masks(logits)
    differing = sum(
        (unpacked(upsampler, masks, number) != frame.numpy()).sum()
        for number, frame in enumerate(frames)
    )
    assert differing <= 3


def test_only_outlines_are_resized(monkeypatch):
    """A disc's inside and the background around it cost nothing at image size."""
    geometry = Geometry((64, 64), (256, 256), (256, 256), (256, 256))
    upsampler = Upsampler(geometry, **THRESHOLDS, device=CPU)
    masks = upsampler.masks(logits_of("discs", 6, 64, seed=0))
    assert 0 < len(masks.outline.mask) < 0.15 * masks.whole.numel()
    assert masks.whole.any()


def test_no_masks():
    geometry = Geometry((16, 16), (64, 64), (64, 64), (50, 50))
    upsampler = Upsampler(geometry, **THRESHOLDS, device=CPU)
    masks = upsampler.masks(torch.zeros(0, 16, 16))
    assert masks.boxes.shape == (0, 4) and masks.stability.shape == (0,)
    assert pack(upsampler, masks, torch.zeros(0, dtype=torch.long)) == []


def test_packed_masks_are_small():
    geometry = Geometry((256, 256), (1024, 1024), (1024, 1024), (1024, 1024))
    upsampler = Upsampler(geometry, **THRESHOLDS, device=CPU)
    masks = upsampler.masks(logits_of("discs", 3, 256, seed=4))
    for packed in pack(upsampler, masks, torch.arange(3)):
        arrays = (packed.whole, packed.row, packed.column, packed.pixels)
        assert sum(array.nbytes for array in arrays) < 40_000
