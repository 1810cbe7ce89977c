"""Files of microscopes: what they hold, and that each plane has the values that were written, and no other is read."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import nd2
import numcodecs
import numpy as np
import psutil
import pytest
import tifffile
import zarr

from samfleet import content
from samfleet.images.formats.image import ImageError, Limits
from samfleet.images.formats.tiff import windows as tiff_windows
from samfleet.images.sources import zarr as zarr_source
from samfleet.images.sources.dv import DvSource
from samfleet.images.sources.joined import JoinedSource
from samfleet.images.sources.joined import describe as describe_joined
from samfleet.images.sources.large import FileWindows, large_image
from samfleet.images.sources.source import Reading, describe, open_source, read, read_plane
from samfleet.planes import ONLY, Description, Plane, Selection, select
from tests.microscopes import (
    write_dv,
    write_group,
    write_ims,
    write_lif,
    write_nd2,
    write_oif,
    write_ome_zarr,
)

RNG = np.random.default_rng(3)
T, Z, C, H, W = 2, 3, 2, 21, 26
DATA = RNG.integers(0, 4000, (T, Z, C, H, W), np.uint16)
BY_CHANNEL = DATA.swapaxes(1, 2)
READING = Reading(Limits(10_000))

WRITERS = {
    "a.lif": lambda path: write_lif(path, {"first": DATA, "second": DATA[:1, :1, :1] // 2}),
    "a.oif": lambda path: write_oif(path, DATA, ["DAPI", "None"]),
    "a.dv": lambda path: write_dv(path, BY_CHANNEL, [525, 632]),
    "a.nd2": lambda path: write_nd2(path, DATA, ["DAPI", "GFP"]),
    "a.ims": lambda path: write_ims(path, BY_CHANNEL, ["DAPI", "GFP"]),
    "4.zarr": lambda path: write_ome_zarr(path, BY_CHANNEL, "tczyx", names=["DAPI", "GFP"]),
    "5.zarr": lambda path: write_ome_zarr(path, DATA, "tzcyx", names=["DAPI", "GFP"], version="0.5"),
}  # fmt: skip
NAMES = {"a.lif": ("", ""), "a.oif": ("DAPI", "CH2"), "a.dv": ("525 nm", "632 nm")}
SIDES = {"a.oif": 0.25, "a.dv": 0.125}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    """A file of each format with the same values."""
    path = tmp_path / request.param
    WRITERS[request.param](path)
    return path


def test_what_a_file_holds_is_told_by_its_metadata(written):
    description = describe(written)
    scene = description.scenes[0]
    assert (scene.times, scene.slices, scene.height, scene.width) == (T, Z, H, W)
    assert scene.dtype == "uint16" and not scene.problem
    names = scene.channels if written.suffix == ".lif" else NAMES.get(written.name, ("DAPI", "GFP"))
    assert scene.channels == names and len(names) == C
    assert scene.pixel_size_um == pytest.approx(SIDES.get(written.name, 0.5))


def test_every_plane_has_the_values_that_were_written(written):
    source = open_source(written, READING)
    for t, z in np.ndindex(T, Z):
        image = read_plane(source, Plane(0, t, str(z)))
        np.testing.assert_array_equal(image.pixels, DATA[t, z].transpose(1, 2, 0))
        assert image.pixels.dtype == np.uint16 and not image.is_color
    projected = read_plane(source, Plane(None, 1, "max")).pixels
    np.testing.assert_array_equal(projected, DATA[1].max(axis=0).transpose(1, 2, 0))
    source.close()


def test_an_image_that_is_too_large_is_refused_before_it_is_read(written):
    with pytest.raises(ImageError) as error:
        read(written, Plane(0, 0, "0"), Reading(Limits(H * W - 1)))
    assert error.value.status == "too_large"


def test_there_is_no_other_level_or_plane(written):
    with pytest.raises(ImageError):
        read(written, Plane(0, T, "0"), READING)
    with pytest.raises(ImageError, match="level is 7"):
        description = describe(written, level=7)
        raise ImageError(*description.scenes[0].problem.split(": ", 1))


def test_of_a_pyramid_another_level_is_read(tmp_path):
    write_ims(tmp_path / "a.ims", BY_CHANNEL, ["DAPI", "GFP"])
    write_ome_zarr(tmp_path / "a.zarr", BY_CHANNEL, "tczyx", levels=2)
    for path in (tmp_path / "a.ims", tmp_path / "a.zarr"):
        assert describe(path).scenes[0].levels == 2
        found = read(path, Plane(None, 1, "2"), Reading(Limits(1000), level=1)).pixels
        np.testing.assert_array_equal(found, DATA[1, 2, :, ::2, ::2].transpose(1, 2, 0))
    assert describe(tmp_path / "a.zarr", level=1).scenes[0].pixel_size_um == 1.0


def test_series_of_a_lif_are_scenes_with_their_names(tmp_path):
    WRITERS["a.lif"](tmp_path / "a.lif")
    found = [(scene.name, scene.times) for scene in describe(tmp_path / "a.lif").scenes]
    assert found == [("first", T), ("second", 1)]
    planes = select(describe(tmp_path / "a.lif"), Selection()).planes
    assert [plane.cells for plane, _ in planes] == [("0", "0", "max"), ("0", "1", "max"), ("1", "0", "0")]  # fmt: skip


def test_positions_of_an_nd2_are_scenes_with_their_names(tmp_path):
    data = np.stack([DATA, DATA[::-1] + 1])
    write_nd2(tmp_path / "a.nd2", data, ["DAPI", "GFP"], positions=["left", ""])
    scenes = describe(tmp_path / "a.nd2").scenes
    assert [scene.name for scene in scenes] == ["left", "P=1"]
    assert {scene.acquired for scene in scenes} == {"2020-01-02T03:04:05"}
    for p, t, z in np.ndindex(2, T, Z):
        found = read(tmp_path / "a.nd2", Plane(p, t, str(z)), READING).pixels
        np.testing.assert_array_equal(found, data[p, t, z].transpose(1, 2, 0))
    with nd2.ND2File(tmp_path / "a.nd2") as file:
        np.testing.assert_array_equal(file.asarray(), data)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)])
@pytest.mark.parametrize("size", [(1, 5, 7), (2, 1, 4), (1, 3, 1)])
def test_loops_of_an_nd2_may_have_one_turn_and_rows_may_be_padded(tmp_path, shape, size):
    data = RNG.integers(0, 255, shape + size, np.uint8)
    names, positions = ["DAPI", "GFP"][: size[0]], ["left", "right"][: shape[0]]
    write_nd2(tmp_path / "a.nd2", data, names, positions=positions)
    scenes = describe(tmp_path / "a.nd2").scenes
    assert [(s.times, s.slices, s.height, s.width) for s in scenes] == [(*shape[1:], *size[1:])] * shape[0]  # fmt: skip
    assert [scene.name for scene in scenes] == positions and not scenes[0].problem
    for p, t, z in np.ndindex(shape):
        plane = Plane(p, t, str(z))
        whole = read(tmp_path / "a.nd2", plane, READING)
        np.testing.assert_array_equal(whole.pixels, data[p, t, z].transpose(1, 2, 0))
        window = windows_of(tmp_path / "a.nd2", plane).read(0, 1, 0, 1)
        np.testing.assert_array_equal(window, whole.pixels[:1, :1])


def test_colours_of_an_nd2_are_red_green_and_blue(tmp_path):
    """NIS-Elements stores them the other way round."""
    data = RNG.integers(0, 255, (1, 1, 3, H, W), np.uint8)
    write_nd2(tmp_path / "a.nd2", data, ["Brightfield"])
    whole = read(tmp_path / "a.nd2", ONLY, READING)
    assert describe(tmp_path / "a.nd2").scenes[0].is_color and whole.is_color
    np.testing.assert_array_equal(whole.pixels, data[0, 0, ::-1].transpose(1, 2, 0))
    check_windows(windows_of(tmp_path / "a.nd2", ONLY), whole)


def test_of_a_compressed_nd2_a_damaged_plane_costs_no_other(tmp_path):
    path, data = tmp_path / "a.nd2", DATA[..., :25]  # rows of 25 x 2 x 3 bytes, which are padded
    data = np.concatenate([data, data[:, :, :1]], axis=2)
    starts = write_nd2(path, data, ["DAPI", "GFP", "Cy5"], is_compressed=True)
    with pytest.raises(ImageError, match="only be read whole"):
        windows_of(path, Plane(0, 0, "0"))
    content = bytearray(path.read_bytes())
    content[starts[4] + 100 : starts[4] + 110] = bytes(10)
    path.write_bytes(content)
    for number, (t, z) in enumerate(np.ndindex(T, Z)):
        if number == 4:
            with pytest.raises(ImageError) as error:
                read(path, Plane(0, t, str(z)), READING)
            assert error.value.status == "unreadable"
        else:
            found = read(path, Plane(0, t, str(z)), READING).pixels
            np.testing.assert_array_equal(found, data[t, z].transpose(1, 2, 0))


def test_windows_of_a_large_nd2_keep_nothing_of_it_in_memory(tmp_path):
    """Pages of a file that is mapped would count as memory in use."""
    size = 4096
    data = np.broadcast_to(np.arange(size, dtype=np.uint16), (1, 1, 1, size, size))
    write_nd2(tmp_path / "a.nd2", data, ["GFP"])
    found = windows_of(tmp_path / "a.nd2", ONLY)
    before = psutil.Process().memory_info().rss
    for y in range(0, size, 512):
        window = found.read(y, y + 512, y, y + 512)[:, :, 0]
        assert (window == np.arange(y, y + 512)).all()
        found.read(y, y + 512, 0, 512)
    assert psutil.Process().memory_info().rss - before < size * size


def test_the_planes_of_an_oif_lie_beside_it(tmp_path):
    folder = write_oif(tmp_path / "a.oif", DATA, ["DAPI", "GFP"])
    companions = {each.name for each in describe(tmp_path / "a.oif").companions}
    assert companions == {f"a.oif.files/{file.name}" for file in folder.iterdir()}
    (folder / "s_C002Z001T001.tif").unlink()
    with pytest.raises(ImageError, match="channel of this plane is not in the file"):
        read(tmp_path / "a.oif", Plane(0, 0, "0"), READING)
    assert read(tmp_path / "a.oif", Plane(0, 1, "0"), READING).channels == ("DAPI", "GFP")
    shutil.rmtree(folder)
    with pytest.raises(ImageError) as error:
        describe(tmp_path / "a.oif")
    assert error.value.status == "unreadable"


def plate(folder, version):
    wells = [{"path": f"{row}/{column}"} for row in "AB" for column in (1, 2)]
    write_group(folder, {"plate": {"wells": wells, "version": version}}, version)
    for number, well in enumerate(wells):
        images = {"images": [{"path": "0"}, {"path": "1"}]}
        write_group(folder / well["path"], {"well": images}, version)
        for field in (0, 1):
            data = np.full((2, 8, 9), 10 * number + field, np.uint8)
            write_ome_zarr(folder / well["path"] / str(field), data, "cyx", version=version)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_field_of_every_well_of_a_plate_is_a_scene(tmp_path, version):
    plate(tmp_path / "plate", version)
    scenes = describe(tmp_path / "plate").scenes
    assert [scene.name for scene in scenes] == [f"{row}/{column}/{field}" for row in "AB" for column in (1, 2) for field in (0, 1)]  # fmt: skip
    assert (read(tmp_path / "plate", Plane(5), READING).pixels == 21).all()


def test_a_field_that_is_gone_or_damaged_costs_no_other(tmp_path):
    plate(tmp_path / "plate", "0.4")
    shutil.rmtree(tmp_path / "plate" / "A" / "2" / "0")
    (tmp_path / "plate" / "B" / "1" / "1" / ".zattrs").write_text("{")
    planes = select(describe(tmp_path / "plate"), Selection()).planes
    assert [(plane.scene, bool(problem)) for plane, problem in planes] == [(n, n in (2, 5)) for n in range(8)]  # fmt: skip
    assert "damaged" in planes[5][1] and planes[2][1].startswith("unreadable: ")


def test_the_layout_of_bioformats2raw_has_a_scene_for_each_series(tmp_path):
    write_group(tmp_path / "a.zarr", {"bioformats2raw.layout": 3})
    for number in range(3):
        data = np.full((8, 9), number, np.uint8)
        write_ome_zarr(tmp_path / "a.zarr" / str(number), data, "yx")
    assert len(describe(tmp_path / "a.zarr").scenes) == 3
    assert (read(tmp_path / "a.zarr", Plane(2), READING).pixels == 2).all()


def test_a_missing_chunk_is_its_fill_value_and_a_damaged_one_an_error(tmp_path):
    data = np.full((20, 40), 7, np.uint16)
    write_ome_zarr(tmp_path / "a.zarr", data, "yx")
    (tmp_path / "a.zarr" / "0" / "0.1").unlink()
    found = read(tmp_path / "a.zarr", ONLY, READING).pixels[:, :, 0]
    expected = data.copy()
    expected[:16, 16:32] = 0
    np.testing.assert_array_equal(found, expected)
    (tmp_path / "a.zarr" / "0" / "1.1").write_bytes(b"damaged")
    with pytest.raises(ImageError) as error:
        read(tmp_path / "a.zarr", ONLY, READING)
    assert error.value.status == "unreadable"


WINDOWED = [name for name in WRITERS if name not in ("a.lif", "a.oif")]
PLACES = [(0, H, 0, W), (H - 1, H, W - 1, W), (15, 18, 3, 25), (0, 1, 0, 1)]


def windows_of(path, plane, reading=READING, channels=()):
    return FileWindows(path, channels, plane, reading)


def check_windows(found, whole):
    """Windows at the edges, in the middle, of one pixel and of all give what reading the whole gives."""
    assert (found.shape, found.dtype) == (whole.pixels.shape, whole.pixels.dtype)
    assert replace(found.about, pixels=whole.pixels) == whole
    for y0, y1, x0, x1 in PLACES:
        np.testing.assert_array_equal(found.read(y0, y1, x0, x1), whole.pixels[y0:y1, x0:x1])


@pytest.mark.parametrize("slice", ["0", "2", "max", "mean"])
@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_is_a_part_of_the_plane_or_the_projection(tmp_path, name, slice):
    path = tmp_path / name
    WRITERS[name](path)
    plane = Plane(0, 1, slice)
    check_windows(windows_of(path, plane), read(path, plane, READING))
    again = pickle.loads(pickle.dumps(windows_of(path, plane)))
    np.testing.assert_array_equal(
        again.read(3, 9, 2, 7), read(path, plane, READING).pixels[3:9, 2:7]
    )


@pytest.mark.parametrize("name", ["a.lif", "a.oif", *WINDOWED])
def test_what_cannot_be_read_in_windows_is_read_whole(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    assert large_image(path, (), Plane(0, 1, "sharpest"), READING, 0) is None
    has_windows = large_image(path, (), Plane(0, 1, "1"), READING, 0) is not None
    assert has_windows == (name in WINDOWED)
    assert large_image(path, (), Plane(0, 1, "1"), READING, H * W) is None  # it is not large


def test_pixels_that_are_not_square_are_said_with_both_sides_however_the_file_is_read(tmp_path):
    data = DATA[0, :, 0]
    write_ome_zarr(tmp_path / "a.zarr", data, "zyx", levels=2, pixel_um=(0.65, 0.5))
    sides = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 650, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(tmp_path / "b.ome.tif", data, metadata={"axes": "ZYX"} | sides)
    stack = {"axes": "ZYX", "unit": "um"}
    tifffile.imwrite(
        tmp_path / "c.tif", data, imagej=True, resolution=(2, 1 / 0.65), metadata=stack
    )
    words = "sides of 0.5 and 0.65 µm: sizes in µm need image.pixel_size_um"
    channels = tuple((path.name[0], path) for path in sorted(tmp_path.iterdir()))
    joined = JoinedSource(channels, READING)
    images = [read_plane(joined, Plane(0, None, "max")), windows_of(channels[0][1], Plane(0, None, "mean"), channels=channels).about]  # fmt: skip
    joined.close()
    for _, path in channels:
        (scene,) = describe(path).scenes
        assert scene.pixel_size_um == (0.5, 0.65)
        assert Description.of_json(Description((scene,)).to_json()).scenes == (scene,)
        images += [read(path, Plane(0, None, "max"), READING), windows_of(path, Plane(0, None, "1")).about]  # fmt: skip
    for image in images:
        assert image.warning.count(words) == 1 and image.pixel_size_um is None
    smaller = read(tmp_path / "a.zarr", Plane(0, None, "max"), Reading(Limits(1000), level=1))
    assert "sides of 1 and 1.3 µm" in smaller.warning


def test_joined_files_are_read_in_windows(tmp_path):
    write_ome_zarr(tmp_path / "a.zarr", DATA[0, :, 0], "zyx")
    write_dv(tmp_path / "b.dv", BY_CHANNEL[:1], [525, 632])
    tifffile.imwrite(tmp_path / "c.tif", DATA[0, :, 1], imagej=True, metadata={"axes": "ZYX"})
    channels = tuple((path.name[0], path) for path in sorted(tmp_path.iterdir()))
    for slice in ("1", "max"):
        found = windows_of(channels[0][1], Plane(0, None, slice), channels=channels)
        source = JoinedSource(channels, READING)
        check_windows(found, read_plane(source, Plane(0, None, slice)))
        assert found.about.channels == ("a", "b_0", "b_1", "c")
        source.close()
    with pytest.raises(ImageError, match=r"b\.dv: the file is truncated"):
        (tmp_path / "b.dv").write_bytes((tmp_path / "b.dv").read_bytes()[:-100])
        windows_of(channels[0][1], Plane(0, None, "2"), channels=channels)


@pytest.mark.parametrize(
    ("version", "blosc"), [("0.4", numcodecs.Blosc()), ("0.5", zarr.codecs.BloscCodec())]
)
def test_a_chunk_of_blosc_that_is_cut_short_is_damaged(tmp_path, version, blosc):
    """Blosc itself does not notice, and gives what memory holds behind the chunk."""
    data = np.random.default_rng(1).integers(0, 4000, (40, 40), np.uint16)
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, data, "yx", version=version, chunks=40, compressors=blosc)
    np.testing.assert_array_equal(read(path, ONLY, READING).pixels[:, :, 0], data)
    chunk = max((path / "0").rglob("*"), key=lambda file: file.stat().st_size * file.is_file())
    whole = chunk.read_bytes()
    for length in (0, 12, len(whole) // 2, len(whole) - 1):
        chunk.write_bytes(whole[:length])
        with pytest.raises(ImageError, match="damaged"):
            read(path, ONLY, READING)


def test_a_window_of_a_zarr_reads_no_other_chunk(tmp_path, monkeypatch):
    """Neither do a projection and joined files: what is read is counted in files that are opened."""
    data = RNG.integers(0, 255, (3, 2, 64, 64), np.uint8)  # chunks of 16 x 16
    write_ome_zarr(tmp_path / "a.zarr", data, "zcyx")
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args, **kinds: opened.append(path) or original(path, *args, **kinds))  # fmt: skip
    for slice, expected in (("1", data[1]), ("max", data.max(axis=0))):
        found = windows_of(tmp_path / "a.zarr", Plane(slice=slice), Reading(Limits(10)))
        opened.clear()
        window = found.read(18, 34, 33, 47)
        np.testing.assert_array_equal(window, expected[:, 18:34, 33:47].transpose(1, 2, 0))
        chunks = [path.relative_to(tmp_path / "a.zarr" / "0").as_posix() for path in opened]
        slices = range(3) if slice == "max" else [1]
        assert sorted(chunks) == [f"{z}.{c}.{row}.2" for z in slices for c in (0, 1) for row in (1, 2)]  # fmt: skip
    for chunk in (tmp_path / "a.zarr" / "0").glob("1.*.0.3"):
        chunk.write_bytes(b"damaged")
    found = windows_of(tmp_path / "a.zarr", Plane(slice="max"))
    found.read(18, 34, 33, 47)
    with pytest.raises(ImageError) as error:
        found.read(0, 1, 60, 61)
    assert error.value.status == "unreadable"


def test_a_zarr_of_one_chunk_has_no_windows(tmp_path, monkeypatch):
    write_ome_zarr(tmp_path / "a.zarr", DATA[0, 0], "cyx", chunks=64)
    monkeypatch.setattr(zarr_source, "MOST_CHUNK_BYTES", H * W * 2 - 1)
    with pytest.raises(ImageError, match="only be read whole"):
        windows_of(tmp_path / "a.zarr", ONLY)


def test_a_slice_that_is_gone_is_left_out_of_windows_of_a_projection(tmp_path):
    path = tmp_path / "a.dv"
    write_dv(path, BY_CHANNEL[:1, :1], [525])
    path.write_bytes(path.read_bytes()[: 1024 + 2 * H * W * 2 + 5])
    whole = read(path, Plane(None, None, "max"), READING)
    np.testing.assert_array_equal(whole.pixels[:, :, 0], DATA[0, :2, 0].max(axis=0))
    assert "1 of 3 slices" in whole.warning
    check_windows(windows_of(path, Plane(None, None, "max")), whole)


def test_windows_of_many_slices_keep_no_more_tiles_than_those_of_one(tmp_path, monkeypatch):
    path, data = tmp_path / "a.tif", RNG.integers(0, 255, (8, 64, 64), np.uint8)
    options = {"ome": True, "metadata": {"axes": "ZYX"}, "tile": (16, 16), "compression": "zlib"}
    tifffile.imwrite(path, data, **options)
    monkeypatch.setattr(tiff_windows, "_KEPT_BYTES", 20 * 256)
    found = windows_of(path, Plane(slice="max"))
    np.testing.assert_array_equal(found.read(0, 64, 0, 64)[:, :, 0], data.max(axis=0))
    assert len(found.source._kept) <= 20


@pytest.mark.parametrize(
    ("name", "attributes", "words"),
    [
        ("empty.zarr", None, "empty"),
        ("plain.zarr", {}, "no images with metadata of OME"),
        ("axes.zarr", {"multiscales": [{"datasets": [{"path": "0"}], "axes": ["x"]}]}, "is gone"),
    ],
)
def test_a_zarr_without_images_says_why(tmp_path, name, attributes, words):
    (tmp_path / name).mkdir()
    if attributes is not None:
        write_group(tmp_path / name, attributes)
    with pytest.raises(ImageError) as error:
        ((_, problem),) = select(describe(tmp_path / name), Selection()).planes
        raise ImageError(*problem.split(": ", 1))
    assert words in error.value.reason


@pytest.mark.parametrize("name", [name for name in WRITERS if "zarr" not in name])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_gives_errors_or_the_exact_planes(tmp_path, name, share):
    path = tmp_path / name
    WRITERS[name](path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    failed = 0
    for t, z in np.ndindex(T, Z):
        try:
            found = read(path, Plane(0, t, str(z)), READING).pixels
        except ImageError as error:
            assert error.status in ("unreadable", "unsupported")
            assert name != "a.nd2" or not share or "the list of its planes" in error.reason
            failed += 1
        else:
            np.testing.assert_array_equal(found, DATA[t, z].transpose(1, 2, 0))
    if name in ("a.lif", "a.dv") and share == 0.9:
        assert 0 < failed < T * Z  # one broken plane costs no other
    assert failed or name == "a.oif" or share == 0.999


@pytest.mark.parametrize("joined", [False, True])
def test_what_a_reader_raises_when_it_is_asked_what_a_file_holds_means_damage(
    tmp_path, monkeypatch, joined
):
    path = tmp_path / "a.dv"
    WRITERS["a.dv"](path)

    def damaged(self: object) -> None:
        raise ElementTree.ParseError("no element found")

    monkeypatch.setattr(DvSource, "description", property(damaged))
    with pytest.raises(ImageError, match="no element found") as error:
        describe_joined([path], ["DAPI"]) if joined else describe(path)
    assert error.value.status == "unreadable"


def test_formats_that_are_not_read_are_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.vsi", DATA[0, 0, 0])
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(600))
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    for name, words in (
        ("a.vsi", "export it as OME-TIFF with"),
        ("a.czi", "Zeiss CZI"),
        ("a.h5", ""),
    ):
        with pytest.raises(ImageError) as error:
            describe(tmp_path / name)
        assert words in error.value.reason or error.value.status == "unreadable"


def test_a_folder_is_looked_through_seldom_and_a_file_always(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))  # looking at anything takes 10 s
    monkeypatch.setattr(content.time, "monotonic", lambda: next(clock))
    for name in ("folder", "file"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(b"a")
        path = tmp_path / name if name == "folder" else tmp_path / name / "a"
        before = content.recent_stat([path])
        (tmp_path / name / "a").write_bytes(b"ab")
        assert (content.recent_stat([path]) == before) == (name == "folder")
        assert content.recent_stat([path], anew=True) == content.stat_of([path]) != before
    assert content.recent_stat([tmp_path / "folder"]) == content.stat_of([tmp_path / "folder"])
