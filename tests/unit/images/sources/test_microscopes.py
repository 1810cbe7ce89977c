"""Files of microscopes: what they hold, and that each plane has the values that were written, and no other is read."""

import shutil

import numpy as np
import pytest
import tifffile

from samfleet.images.formats.image import ImageError, Limits
from samfleet.images.sources.source import Reading, describe, open_source, read, read_plane
from samfleet.planes import ONLY, Plane, Selection, select
from tests.microscopes import (
    write_dv,
    write_group,
    write_ims,
    write_lif,
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


def test_a_window_of_a_zarr_reads_no_other_chunk(tmp_path):
    data = RNG.integers(0, 255, (64, 64), np.uint8)
    write_ome_zarr(tmp_path / "a.zarr", data, "yx")
    for chunk in (tmp_path / "a.zarr" / "0").glob("[0-3].[0-3]"):
        if chunk.name != "1.2":
            chunk.write_bytes(b"damaged")
    source = open_source(tmp_path / "a.zarr", Reading(Limits(10)))
    with pytest.raises(ImageError):
        source.read_window(0, 0, 0, (18, 34, 11, 1))
    window = open_source(tmp_path / "a.zarr", READING).read_window(0, 0, 0, (18, 34, 7, 9))
    np.testing.assert_array_equal(window.pixels[:, :, 0], data[18:25, 34:43])


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
            failed += 1
        else:
            np.testing.assert_array_equal(found, DATA[t, z].transpose(1, 2, 0))
    if name in ("a.lif", "a.dv") and share == 0.9:
        assert 0 < failed < T * Z  # one broken plane costs no other
    assert failed or name == "a.oif" or share == 0.999


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
