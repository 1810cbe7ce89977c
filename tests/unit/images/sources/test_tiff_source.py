"""Images of TIFF files: which there are, and what is read of each."""

import shutil

import cv2
import numpy as np
import pytest
import tifffile

from samfleet.images.formats.image import ImageError, Limits
from samfleet.images.sources.source import Reading, describe, open_source, read, read_plane
from samfleet.planes import ONLY, Plane, Selection, select
from tests.microscopes import write_ome_zarr

RNG = np.random.default_rng(5)
STACK = RNG.integers(0, 4000, (2, 3, 4, 11, 13), np.uint16)  # T Z C Y X
READING = Reading(Limits(1000))


def ome(path, data, axes="TZCYX", **metadata):
    tifffile.imwrite(
        path, data, ome=True, photometric="minisblack", metadata={"axes": axes} | metadata
    )


def pixels(path, plane, reading=READING):
    return read(path, plane, reading).pixels


def test_an_ome_tiff_has_times_slices_and_named_channels(tmp_path):
    names = ["DAPI", "GFP", "RFP", "Cy5"]
    size = {
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 500,
        "PhysicalSizeYUnit": "nm",
    }
    ome(tmp_path / "a.ome.tif", STACK, Channel={"Name": names}, Name="well", **size)
    (scene,) = describe(tmp_path / "a.ome.tif").scenes
    assert (scene.name, scene.times, scene.slices, scene.channels) == ("well", 2, 3, tuple(names))
    assert (scene.height, scene.width, scene.dtype, scene.pixel_size_um) == (11, 13, "uint16", 0.5)
    image = read(tmp_path / "a.ome.tif", Plane(None, 1, "2"), READING)
    np.testing.assert_array_equal(image.pixels, STACK[1, 2].transpose(1, 2, 0))
    assert (image.channels, image.pixel_size_um) == (tuple(names), 0.5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("max", STACK[1].max(axis=0)),
        ("mean", np.rint(STACK[1].astype(float).mean(axis=0)).astype(np.uint16)),
    ],
)
def test_slices_are_projected(tmp_path, kind, expected):
    ome(tmp_path / "a.tif", STACK)
    found = pixels(tmp_path / "a.tif", Plane(None, 1, kind))
    np.testing.assert_array_equal(found, expected.transpose(1, 2, 0))


def test_the_sharpest_slice_is_the_one_with_edges(tmp_path):
    blurred = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)
    sharp = np.indices((40, 50)).sum(axis=0).astype(np.uint8) // 5 % 2 * 90
    ome(tmp_path / "a.tif", np.stack([blurred, sharp, blurred + 1]), "ZYX")
    image = read(tmp_path / "a.tif", Plane(None, None, "sharpest"), Reading(Limits(10_000)))
    np.testing.assert_array_equal(image.pixels[:, :, 0], sharp)
    assert "slice 1 of 3" in image.plane


def test_pages_without_a_meaning_are_scenes(tmp_path):
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as writer:
        for side in (8, 9, 10):
            writer.write(np.full((side, side), side, np.uint8), metadata=None)
    description = describe(path)
    assert [(scene.height, scene.times, scene.slices) for scene in description.scenes] == [(8, 1, 1), (9, 1, 1), (10, 1, 1)]  # fmt: skip
    assert [pixels(path, Plane(n)).shape for n in range(3)] == [(8, 8, 1), (9, 9, 1), (10, 10, 1)]


def test_an_imagej_hyperstack_has_times_slices_channels_and_its_unit(tmp_path):
    path = tmp_path / "a.tif"
    resolution = {"resolution": (4.0, 4.0), "metadata": {"axes": "TZCYX", "unit": "micron"}}
    tifffile.imwrite(path, STACK, imagej=True, **resolution)
    (scene,) = describe(path).scenes
    assert (scene.times, scene.slices, len(scene.channels)) == (2, 3, 4)
    assert scene.pixel_size_um == pytest.approx(0.25)
    np.testing.assert_array_equal(pixels(path, Plane(None, 0, "1")), STACK[0, 1].transpose(1, 2, 0))


def test_positions_of_one_series_are_scenes(tmp_path):
    path = tmp_path / "a.tif"
    data = STACK[:, :, 0]
    tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": "RTYX"})
    assert [(s.name, s.times) for s in describe(path).scenes] == [("R=0", 3), ("R=1", 3)]
    np.testing.assert_array_equal(pixels(path, Plane(1, 2))[:, :, 0], data[1, 2])


def test_of_a_pyramid_another_level_is_read(tmp_path):
    path = tmp_path / "a.ome.tif"
    large = RNG.integers(0, 255, (64, 64), np.uint8)
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(large, subifds=1, tile=(16, 16))
        writer.write(large[::2, ::2], subfiletype=1, tile=(16, 16))
    assert describe(path).scenes[0].levels == 2
    reading = Reading(Limits(10_000), level=1)
    np.testing.assert_array_equal(pixels(path, ONLY, reading)[:, :, 0], large[::2, ::2])
    with pytest.raises(ImageError, match="it has 2 resolutions"):
        describe(path, level=2)


def test_whatever_has_no_such_level_says_so_in_the_same_words(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    tifffile.imwrite(tmp_path / "b.ome.tif", STACK[0, 0, 0])
    write_ome_zarr(tmp_path / "c.zarr", STACK[0, 0, 0], "yx")
    (tmp_path / "d.png").write_bytes(cv2.imencode(".png", STACK[0, 0, 0])[1].tobytes())
    said = set()
    for path in tmp_path.iterdir():
        with pytest.raises(ImageError) as refused:
            read(path, ONLY, Reading(Limits(10_000), level=1))
        said.add(str(refused.value))
    words = "it has one resolution, and image.level is 1 (counted from 0)"
    assert said == {f"unsupported: {words}"}


SET = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {root}><Image ID="Image:0" Name="set">
<Pixels DimensionOrder="XYZCT" ID="Pixels:0" SizeC="1" SizeT="2" SizeX="13" SizeY="11" SizeZ="3" Type="uint16">
<Channel ID="Channel:0:0" Name="GFP" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>"""


def write_set(folder, companion: bool) -> list[np.ndarray]:
    """Files z0.tif to z2.tif, each with the two times of a slice; perhaps with metadata in a file of their own."""
    files = [f"z{z}.tif" for z in range(3)]
    planes = "".join(
        f'<TiffData FirstZ="{z}" FirstT="{t}" IFD="{t}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(files)
        for t in range(2)
    )
    for z, name in enumerate(files):
        if companion:
            text = f'<OME UUID="urn:uuid:{z}"><BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:{z}"/></OME>'
        else:
            text = SET.format(root=f'UUID="urn:uuid:{z}"', planes=planes)
        with tifffile.TiffWriter(folder / name) as writer:
            for t in range(2):
                words = text if t == 0 else None
                writer.write(STACK[t, z, 0], description=words, metadata=None)
    if companion:
        (folder / "a.companion.ome").write_text(SET.format(root="", planes=planes))
    return files


@pytest.mark.parametrize("companion", [False, True])
def test_the_files_of_a_set_that_lie_beside_are_followed(tmp_path, companion):
    files = write_set(tmp_path, companion)
    for number, name in enumerate(files):
        description = describe(tmp_path / name)
        (scene,) = description.scenes
        assert (scene.times, scene.slices, scene.channels) == (2, 3, ("GFP",))
        others = {each.name for each in description.companions}
        assert others == ({*files} - {name}) | ({"a.companion.ome"} if companion else set())
        found = select(description, Selection()).planes
        assert [plane.cells for plane, _ in found] == ([("0", "0", "max"), ("0", "1", "max")] if number == 0 else [])  # fmt: skip
        found = select(description, Selection(slices="all")).planes
        assert [plane.cells for plane, _ in found] == [("0", f"{t}", f"{number}") for t in range(2)]
    found = pixels(tmp_path / "z0.tif", Plane(0, 1, "max"))
    np.testing.assert_array_equal(found[:, :, 0], STACK[1, :, 0].max(axis=0))


def test_a_set_with_a_file_that_is_gone_gives_what_is_there_and_says_so(tmp_path):
    write_set(tmp_path, companion=False)
    (tmp_path / "z0.tif").unlink()
    found = select(describe(tmp_path / "z1.tif"), Selection()).planes
    assert [plane.cells for plane, _ in found] == [("0", "0", "max"), ("0", "1", "max")]
    assert select(describe(tmp_path / "z2.tif"), Selection()).planes == []
    image = read(tmp_path / "z1.tif", Plane(0, 1, "max"), READING)
    np.testing.assert_array_equal(image.pixels[:, :, 0], STACK[1, 1:, 0].max(axis=0))
    assert "1 of 3 slices cannot be read" in image.warning and "z0.tif" in image.warning


def test_a_name_that_leads_elsewhere_is_not_followed(tmp_path):
    (tmp_path / "set").mkdir()
    write_set(tmp_path / "set", companion=False)
    shutil.move(tmp_path / "set" / "z0.tif", tmp_path / "z0x")
    data = (tmp_path / "set" / "z1.tif").read_bytes()
    (tmp_path / "set" / "z1.tif").write_bytes(data.replace(b'"z0.tif"', b'"../z0x"'))
    assert {each.name for each in describe(tmp_path / "set" / "z1.tif").companions} == {"z2.tif"}


def test_planes_of_one_open_file_are_read_one_at_a_time(tmp_path):
    """A file whose other planes are damaged gives those that are not."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, STACK[:, 0, 0], imagej=True, metadata={"axes": "TYX"}, compression="zlib"
    )
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[1].dataoffsets[0], tiff.pages[1].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    source = open_source(path, READING)
    np.testing.assert_array_equal(
        read_plane(source, Plane(None, 0)).pixels[:, :, 0], STACK[0, 0, 0]
    )
    with pytest.raises(ImageError) as error:
        read_plane(source, Plane(None, 1))
    assert error.value.status == "unreadable"
    source.close()
