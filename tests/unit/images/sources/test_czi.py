"""CZI, hand-made and real. `make test-czi` runs this without torch in a Python that czifile supports.

Hence it imports no more than a reader of CZIs needs.
"""

import hashlib
import importlib
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from samfleet.images.formats.image import ImageError, Limits
from samfleet.images.sources.large import FileWindows, large_image
from samfleet.images.sources.source import Reading, describe, open_source, read, read_plane
from samfleet.images.units import square_side
from samfleet.planes import ONLY, Plane, Selection, select
from tests.czi import Subblock, subblocks_of, write_czi
from tests.real_files import FORMATS, check_cut_short, planes_of

RNG = np.random.default_rng(5)
T, Z, C, H, W = 2, 3, 2, 21, 26
DATA = RNG.integers(1, 4000, (T, Z, C, H, W), np.uint16)
NAMES = ["DAPI", "GFP"]
READING = Reading(Limits(10_000))


def has_czifile() -> bool:
    try:
        return int(importlib.import_module("czifile").__version__.partition(".")[0]) >= 2026
    except (ImportError, SyntaxError):
        return False


needs_czifile = pytest.mark.skipif(
    not has_czifile(), reason="czifile, which needs Python 3.12, is not here: make test-czi"
)
needs_real_files = pytest.mark.skipif(
    not FORMATS.is_dir(), reason="files of microscopes are not here"
)


def windows_of(path: Path, plane: Plane) -> FileWindows:
    return FileWindows(path, (), plane, READING)


def check_windows(path: Path, plane: Plane) -> np.ndarray:
    """Each window of 5 x 4 pixels is a part of what is read whole: (rows, columns, channels)."""
    whole, windows = read(path, plane, READING).pixels, windows_of(path, plane)
    assert windows.shape == whole.shape and windows.dtype == whole.dtype
    height, width = whole.shape[:2]
    for y, x in np.ndindex(height, width):
        if y % 5 == 0 and x % 4 == 0:
            ends = min(y + 5, height), min(x + 4, width)
            found = windows.read(y, ends[0], x, ends[1])
            np.testing.assert_array_equal(found, whole[y : ends[0], x : ends[1]])
    return whole


def damage(path: Path, start: int) -> None:
    """Call the subblock whose pixels begin there something else."""
    data = bytearray(path.read_bytes())
    place = start - 288
    assert data[place : place + 14] == b"ZISRAWSUBBLOCK"
    data[place : place + 14] = b"DELETED".ljust(14, b"\0")
    path.write_bytes(data)


@needs_czifile
def test_every_plane_of_a_mosaic_has_the_values_that_were_written(tmp_path):
    path = tmp_path / "a.czi"
    write_czi(path, subblocks_of(DATA, 8), NAMES)
    (scene,) = describe(path).scenes
    assert (scene.times, scene.slices, scene.height, scene.width) == (T, Z, H, W)
    assert (scene.dtype, scene.channels, scene.pixel_size_um) == ("uint16", ("DAPI", "GFP"), 0.5)
    assert scene.acquired.startswith("2020-01-02T03:04:05") and not scene.is_color
    source = open_source(path, READING)
    for t, z in np.ndindex(T, Z):
        found = read_plane(source, Plane(0, t, str(z))).pixels
        np.testing.assert_array_equal(found, DATA[t, z].transpose(1, 2, 0))
    for slice, expected in (("2", DATA[1, 2]), ("max", DATA[1].max(axis=0))):
        found = check_windows(path, Plane(0, 1, slice))
        np.testing.assert_array_equal(found, expected.transpose(1, 2, 0))
    again = pickle.loads(pickle.dumps(windows_of(path, Plane(0, 1, "2"))))
    np.testing.assert_array_equal(again.read(3, 9, 2, 7), DATA[1, 2, :, 3:9, 2:7].transpose(1, 2, 0))  # fmt: skip


@needs_czifile
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 9, 9), (2, 1, 1, 2, 9), (1, 2, 1, 9, 2), (1, 1, 2, 3, 3)]
)
def test_times_slices_and_channels_may_be_one(tmp_path, shape):
    data = RNG.integers(1, 255, shape, np.uint8)
    write_czi(tmp_path / "a.czi", subblocks_of(data, 4), NAMES[: shape[2]])
    planes = select(describe(tmp_path / "a.czi"), Selection(slices="all")).planes
    assert len(planes) == shape[0] * shape[1] and not any(problem for _, problem in planes)
    for (t, z), (plane, _) in zip(np.ndindex(shape[:2]), planes, strict=True):
        found = check_windows(tmp_path / "a.czi", plane)
        np.testing.assert_array_equal(found, data[t, z].transpose(1, 2, 0))


@needs_czifile
def test_scenes_have_their_names_and_places_and_the_file_may_count_from_elsewhere(tmp_path):
    fields = [RNG.integers(1, 255, size, np.uint8) for size in ((9, 7), (6, 12))]
    subblocks: list[Subblock] = [
        ({"X": -50, "Y": 3, "T": 4, "S": 0}, fields[0]),
        ({"X": 700, "Y": -20, "T": 4, "S": 1}, fields[1]),
        ({"X": -50, "Y": 3, "T": 5, "S": 0}, fields[0] // 2),
    ]
    write_czi(tmp_path / "a.czi", subblocks, ["DAPI"], scenes=["left", "right"])
    scenes = describe(tmp_path / "a.czi").scenes
    assert [(s.name, s.times, s.height, s.width) for s in scenes] == [("left", 2, 9, 7), ("right", 1, 6, 12)]  # fmt: skip
    expected = {(0, 0): fields[0], (0, 1): fields[0] // 2, (1, 0): fields[1]}
    for (scene, time), pixels in expected.items():
        plane = Plane(scene, time if scene == 0 else None)
        np.testing.assert_array_equal(check_windows(tmp_path / "a.czi", plane)[:, :, 0], pixels)


@needs_czifile
def test_a_colour_image_is_red_green_and_blue(tmp_path):
    data = RNG.integers(1, 255, (9, 12, 3), np.uint8)
    subblocks = [({"X": x, "Y": 0, "M": x // 6}, data[:, x : x + 6]) for x in (0, 6)]
    write_czi(tmp_path / "a.czi", subblocks, [])
    assert describe(tmp_path / "a.czi").scenes[0].is_color
    np.testing.assert_array_equal(check_windows(tmp_path / "a.czi", ONLY), data[:, :, ::-1])


@needs_czifile
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 2, 3), (2, 3, 1, 0)])
def test_where_tiles_overlap_the_one_of_the_higher_number_is_seen(tmp_path, order):
    corners = [(0, 0), (0, 6), (5, 0), (5, 6)]
    tiles = RNG.integers(1, 255, (4, 8, 9), np.uint8)
    subblocks = [({"X": corners[n][1], "Y": corners[n][0], "M": m}, tiles[n]) for m, n in enumerate(order)]  # fmt: skip
    expected = np.zeros((13, 15), np.uint8)
    for number in order:
        y, x = corners[number]
        expected[y : y + 8, x : x + 9] = tiles[number]
    # they may lie in the file in any order
    write_czi(tmp_path / "a.czi", sorted(subblocks, key=lambda s: s[0]["X"]), ["DAPI"])
    np.testing.assert_array_equal(check_windows(tmp_path / "a.czi", ONLY)[:, :, 0], expected)


@needs_czifile
def test_between_tiles_and_where_a_channel_has_none_pixels_are_0(tmp_path):
    tile = RNG.integers(1, 255, (6, 6), np.uint8)
    corners = {0: [(0, 0), (14, 20)], 1: [(0, 0), (0, 20)]}
    subblocks = [({"X": x, "Y": y, "C": c, "M": m}, tile + c) for c in corners for m, (y, x) in enumerate(corners[c])]  # fmt: skip
    expected = np.zeros((20, 26, 2), np.uint8)
    for c, (y, x) in ((0, (0, 0)), (0, (14, 20)), (1, (0, 0)), (1, (0, 20))):
        expected[y : y + 6, x : x + 6, c] = tile + c
    write_czi(tmp_path / "a.czi", subblocks, NAMES)
    np.testing.assert_array_equal(check_windows(tmp_path / "a.czi", ONLY), expected)


@needs_czifile
def test_of_a_large_mosaic_only_the_subblocks_are_read_that_a_window_touches(tmp_path):
    path = tmp_path / "a.czi"
    starts = write_czi(path, subblocks_of(DATA[:1, :1], 8), NAMES)
    tiles = len(starts) // C
    across = -(-W // 8)
    touched = {c * tiles + row * across + column for c in range(C) for row in (1, 2) for column in (0, 1)}  # fmt: skip
    for number in (
        set(range(len(starts))) - touched - {0, tiles}
    ):  # a pixel of the first is looked at
        damage(path, starts[number])
    reading = Reading(Limits(H * W - 1))
    with pytest.raises(ImageError) as error:
        read(path, ONLY, reading)
    assert error.value.status == "too_large"
    large = large_image(path, (), ONLY, reading, H * W - 1)
    assert large is not None and large.shape == (H, W, C)
    np.testing.assert_array_equal(large.read(9, 20, 3, 16), DATA[0, 0, :, 9:20, 3:16].transpose(1, 2, 0))  # fmt: skip
    with pytest.raises(ImageError) as error:
        large.read(9, 20, 3, 17)
    assert error.value.status == "unreadable"


@needs_czifile
def test_of_a_file_only_the_plane_is_read_that_is_wanted(tmp_path):
    path = tmp_path / "a.czi"
    starts = write_czi(path, subblocks_of(DATA, 8), NAMES)
    a_plane = len(starts) // (T * Z)
    for start in starts[:a_plane] + starts[2 * a_plane :]:
        damage(path, start)
    found = read(path, Plane(0, 0, "1"), READING).pixels
    np.testing.assert_array_equal(found, DATA[0, 1].transpose(1, 2, 0))
    for plane in (Plane(0, 0, "0"), Plane(0, 1, "2"), Plane(0, 1, "max")):
        with pytest.raises(ImageError, match="damaged") as error:
            read(path, plane, READING)
        assert error.value.status == "unreadable"
    projected = read(path, Plane(0, 0, "max"), READING)
    assert "2 of 3 slices" in projected.warning
    np.testing.assert_array_equal(projected.pixels, DATA[0, 1].transpose(1, 2, 0))


@needs_czifile
def test_a_plane_or_a_channel_that_is_not_there_costs_no_other(tmp_path):
    """As where an acquisition was stopped: the last time point has a slice with one channel, and then none."""
    path = tmp_path / "a.czi"
    kept = [
        (start, pixels)
        for start, pixels in subblocks_of(DATA, 100)
        if (start["T"], start["Z"], start["C"]) < (1, 1, 1)
    ]
    write_czi(path, kept, NAMES)
    for plane, words in {(1, 1): "a channel of this plane", (1, 2): "this plane is not"}.items():
        with pytest.raises(ImageError, match=words) as error:
            read(path, Plane(0, plane[0], str(plane[1])), READING)
        assert error.value.status == "unreadable"
        with pytest.raises(ImageError, match=words):
            windows_of(path, Plane(0, plane[0], str(plane[1])))
    found = read(path, Plane(0, 1, "0"), READING).pixels
    np.testing.assert_array_equal(found, DATA[1, 0].transpose(1, 2, 0))


@needs_czifile
def test_a_plane_of_which_tiles_are_missing_has_the_size_of_the_others(tmp_path):
    data = DATA[:, :1, :1, :16, :16]
    kept = [s for s in subblocks_of(data, 8) if s[0]["T"] == 0 or s[0]["M"] == 0]
    write_czi(tmp_path / "a.czi", kept, ["DAPI"])
    found = check_windows(tmp_path / "a.czi", Plane(0, 1))[:, :, 0]
    expected = np.zeros((16, 16), np.uint16)
    expected[:8, :8] = data[1, 0, 0, :8, :8]
    np.testing.assert_array_equal(found, expected)


@needs_czifile
def test_of_a_pyramid_the_full_resolution_is_read_or_another(tmp_path):
    path, data = tmp_path / "a.czi", RNG.integers(1, 255, (2, 1, 2, 16, 24), np.uint8)
    smaller = data[..., ::4, ::4]
    write_czi(path, [*subblocks_of(data, 8), *pyramid_of(smaller, 4)], NAMES)
    scenes = [describe(path, level=level).scenes[0] for level in (0, 1)]
    assert [(s.levels, s.times, s.height, s.width) for s in scenes] == [(2, 2, 16, 24), (2, 2, 4, 6)]  # fmt: skip
    assert [scene.pixel_size_um for scene in scenes] == [0.5, 2]
    np.testing.assert_array_equal(check_windows(path, Plane(0, 1)), data[1, 0].transpose(1, 2, 0))
    found = read(path, Plane(0, 1), Reading(Limits(100), level=1)).pixels
    np.testing.assert_array_equal(found, smaller[1, 0].transpose(1, 2, 0))


def pyramid_of(data: np.ndarray, step: int) -> Iterator[Subblock]:
    """A level of a pyramid, in tiles."""
    for start, pixels in subblocks_of(data, 3):
        yield start | {"X": start["X"] * step, "Y": start["Y"] * step, "step": step}, pixels


@needs_czifile
def test_channels_may_have_one_name(tmp_path):
    write_czi(tmp_path / "a.czi", subblocks_of(DATA, 100), ["GFP", "GFP"])
    assert describe(tmp_path / "a.czi").scenes[0].channels == ("GFP", "GFP")


@needs_czifile
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_unreadable(tmp_path, share):
    path = tmp_path / "a.czi"
    write_czi(path, subblocks_of(DATA, 8), NAMES)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for plane in (Plane(0, 0, "0"), Plane(0, 1, "2")):
        with pytest.raises(ImageError) as error:
            read(path, plane, READING)
        assert error.value.status == "unreadable"


@pytest.mark.parametrize("module", [None, SimpleNamespace(__version__="2019.7.2.3")])
def test_it_is_refused_by_name_without_its_reader_or_with_one_that_is_too_old(
    tmp_path, monkeypatch, module
):
    monkeypatch.setitem(sys.modules, "czifile", module)
    write_czi(tmp_path / "a.czi", subblocks_of(DATA, 100), NAMES)
    with pytest.raises(ImageError, match=r"Zeiss CZI .* Python 3\.12 .* export it as OME-TIFF") as error:  # fmt: skip
        describe(tmp_path / "a.czi")
    assert error.value.status == "unsupported"


# -- real files

CZIS = {
    "100x100": ((1, 1, 1), (10, 10), "8f44bd0fe2286674", 0.1, ["C1"]),
    "CellDivision_T3_Z5_CH2_X240_Y170_comp1": ((1, 3, 5), (170, 240), "f36c4b638a79ee06", None, None),
    "CellDivision_T3_Z6_CH1_X300_Y200_DCV_ZSTD": ((1, 3, 6), (200, 300), "b039c17f35ffca1e", 0.0905767, ["LED555"]),
    "DAPI_GFP": ((1, 1, 1), (640, 640), "967f7801d529c422", None, ["DAPI", "GFP"]),
    "LLS7_small": ((1, 2, 3), (64, 64), "9f95f21585c7f2e0", 0.144992, ["LatticeLightsheet 1-T1", "LatticeLightsheet 2-T2"]),
    "RGB-8bit": ((1, 1, 1), (624, 924), "0939e2417ade33c4", 1.083333, None),
    "WellD6_S1": ((1, 1, 1), (440, 544), "043e0a7669ccb359", 0.1, ["AF488"]),
    "newCZI_compressed": ((1, 1, 1), (512, 512), "fce55da93c01484b", None, None),
    "nuc_small_new_red": ((1, 1, 1), (240, 320), "d21ed4ae517d380a", 0.1, ["nuclei"]),
    "tiles_z": ((1, 1, 2), (512, 510), "e2daacfaddc3707b", 0.830266, ["Ch1", "T PMT"]),
    "xyz__multiple_images": ((2, 1, 2), (251, 251), "690f5f249491a83f", 0.195644, ["ChA"]),
}  # fmt: skip
"""Digests of all planes, channel by channel, as libCZI reads them (pylibCZIrw 6.1.0), with sizes and names."""


@needs_czifile
@needs_real_files
@pytest.mark.parametrize("name", CZIS)
def test_czi(name):
    path = FORMATS / "czi" / f"{name}.czi"
    (scenes, times, slices), size, expected, side, names = CZIS[name]
    found = describe(path).scenes
    assert [(s.times, s.slices, s.height, s.width) for s in found] == [(times, slices, *size)] * scenes  # fmt: skip
    pixel_size = square_side(found[0].pixel_size_um)
    assert pixel_size == (None if side is None else pytest.approx(side, rel=1e-5))
    assert side is None or len(str(pixel_size).replace(".", "").lstrip("0")) <= 9
    assert names is None or list(found[0].channels) == names
    assert " " not in found[0].acquired
    digest = hashlib.blake2b(digest_size=8)
    for _, pixels in planes_of(path):
        digest.update(np.moveaxis(pixels, 2, 0).tobytes())
    assert digest.hexdigest() == expected
    if name == "WellD6_S1":
        assert found[0].name == "D6"


@needs_czifile
@needs_real_files
def test_a_line_scan_of_a_czi_is_refused():
    (scene,) = describe(FORMATS / "czi" / "xt-scan-lsm980.czi").scenes
    assert scene.problem == "unsupported: its axes are TX, so it has no plane of Y and X"


@needs_czifile
@needs_real_files
@pytest.mark.parametrize("name", CZIS)
def test_a_file_that_is_cut_short_gives_errors_or_the_same_planes(name, tmp_path):
    check_cut_short(FORMATS / "czi" / f"{name}.czi", tmp_path)
