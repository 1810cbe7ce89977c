"""Files of real microscopes, where they lie beside the repository: values, names and sizes by a second reader of each.

The second readers share nothing with the first: bytes and metadata are taken apart here by hand. CZI is in test_czi.py.
"""

import itertools
import json
import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numcodecs
import numpy as np
import PIL.Image
import pytest

from samfleet.images.sources.source import describe
from tests.real_files import FORMATS, check_cut_short, planes_of

pytestmark = pytest.mark.skipif(not FORMATS.is_dir(), reason="files of microscopes are not here")


# -- ND2: the map of chunks at the end of the file, and frames of (time stamp, rows of Y, X, C)


def nd2_chunks(data: bytes) -> dict[str, int]:
    """Where each chunk is."""
    (place,) = struct.unpack("<Q", data[-8:])
    (_, skipped, length) = struct.unpack_from("<IIQ", data, place)
    body, at, found = data[place + 16 + skipped :][:length], 0, {}
    while (end := body.find(b"!", at)) >= 0 and not body.startswith(b"ND2 CHUNK MAP SIG", at):
        name = body[at : end + 1].decode()
        (found[name], _) = struct.unpack_from("<QQ", body, end + 1)
        at = end + 17
    return found


@pytest.mark.parametrize(
    ("name", "times", "slices", "channels", "side", "pixels_um"),
    [
        ("example-cerevisiae", 1, 1, ["DIC", "FITC BP"], 256, 0.108333),
        ("example-timelapse", 53, 1, ["GFP 488 nm"], 64, 0.325),
        ("example-zstack", 1, 11, ["FITC BP"], 128, 0.323390),
    ],
)
def test_nd2(name, times, slices, channels, side, pixels_um):
    path = FORMATS / "nd2" / f"{name}.nd2"
    (scene,) = describe(path).scenes
    assert (scene.times, scene.slices, list(scene.channels)) == (times, slices, channels)
    assert scene.pixel_size_um == pytest.approx(pixels_um, rel=1e-5)
    data = path.read_bytes()
    chunks = nd2_chunks(data)
    for channel in channels:  # written as UTF-16 in the metadata
        assert channel.encode("utf-16-le") in data
    for (_, time, slice), pixels in planes_of(path):
        start = chunks[f"ImageDataSeq|{max(time, slice)}!"]
        _, skipped, _ = struct.unpack_from("<IIQ", data, start)
        start += 16 + skipped + 8
        frame = np.frombuffer(data, "<u2", side * side * len(channels), start)
        np.testing.assert_array_equal(pixels, frame.reshape(side, side, len(channels)))


# -- LIF: bytes by the steps of the XML's dimensions


def lif_blocks(data: bytes) -> tuple[ElementTree.Element, dict[str, int]]:
    """The XML, and where each block of pixels begins."""
    (length,) = struct.unpack_from("<I", data, 9)
    root = ElementTree.fromstring(data[13 : 13 + 2 * length].decode("utf-16-le"))
    at, found = 13 + 2 * length, {}
    while at < len(data):
        size, name_length = struct.unpack_from("<Q", data, at + 9)[0], struct.unpack_from("<I", data, at + 18)[0]  # fmt: skip
        name = data[at + 22 : at + 22 + 2 * name_length].decode("utf-16-le")
        found[name] = at + 22 + 2 * name_length
        at = found[name] + size
    return root, found


def test_lif():
    (path,) = (FORMATS / "lif").glob("*.lif")
    data = path.read_bytes()
    root, blocks = lif_blocks(data)
    images = [each for each in root.iter("Element") if each.find("Data/Image") is not None]
    scenes = describe(path).scenes
    assert [scene.name for scene in scenes] == [each.get("Name") for each in images]
    steps = []
    for image, scene in zip(images, scenes, strict=True):
        described = {each.get("DimID"): each for each in image.iter("DimensionDescription")}
        x = described["1"]
        side = float(x.get("Length")) / (int(x.get("NumberOfElements")) - 1) * 1e6
        assert scene.pixel_size_um == pytest.approx(side)
        found = {n: (int(each.get("NumberOfElements")), int(each.get("BytesInc"))) for n, each in described.items()}  # fmt: skip
        waves = [found.get(n, (1, 0)) for n in ("5", "9")]  # emission, excitation
        assert len(scene.channels) == waves[0][0] * waves[1][0]
        assert (scene.times, scene.slices) == (found.get("4", (1, 0))[0], found.get("3", (1, 0))[0])
        block = blocks[image.find("Memory").get("MemoryBlockID")]
        steps.append((block, found, max(waves)))
    for (number, time, slice), pixels in planes_of(path):
        block, found, (count, step) = steps[number]
        for channel in range(count):
            start = block + channel * step + time * found.get("4", (1, 0))[1] + slice * found.get("3", (1, 0))[1]  # fmt: skip
            (width, _), (height, row) = found["1"], found["2"]
            rows = np.lib.stride_tricks.as_strided(np.frombuffer(data, np.uint8, offset=start), (height, width), (row, 1))  # fmt: skip
            np.testing.assert_array_equal(pixels[:, :, channel], rows)


# -- OIB: every plane is a little TIFF within the OLE2 file, found by the sectors of its streams


def ole_streams(data: bytes) -> dict[str, bytes]:
    """Streams of an OLE2 file by name, without those of the short chain."""
    size = 1 << struct.unpack_from("<H", data, 30)[0]
    difat = [n for n in struct.unpack_from("<109I", data, 76) if n < 0xFFFFFFFA]

    def sector(number: int) -> bytes:
        return data[(number + 1) * size : (number + 2) * size]

    table = np.concatenate([np.frombuffer(sector(n), "<u4") for n in difat])

    def chain(start: int) -> bytes:
        parts = []
        while start < 0xFFFFFFFA:
            parts.append(sector(start))
            start = int(table[start])
        return b"".join(parts)

    entries = chain(struct.unpack_from("<I", data, 48)[0])
    found = {}
    for at in range(0, len(entries), 128):
        (length,) = struct.unpack_from("<H", entries, at + 64)
        name = entries[at : at + max(0, length - 2)].decode("utf-16-le")
        start, bytes_ = struct.unpack_from("<IQ", entries, at + 116)
        if entries[at + 66] == 2 and bytes_ >= 4096:
            found[name] = chain(start)[:bytes_]
    return found


def strip_of(tiff: bytes) -> np.ndarray:
    """The pixels of a TIFF of one page of 16 bits that are not compressed."""
    (page,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, page)
    tags = {}
    for n in range(count):
        tag, kind, number, value = struct.unpack_from("<HHII", tiff, page + 2 + 12 * n)
        if kind == 3 and number == 1:
            value &= 0xFFFF
        tags[tag] = (number, value)
    strips, place = tags[273]
    counts = tags[279][1]
    starts = struct.unpack_from(f"<{strips}I", tiff, place) if strips > 1 else (place,)
    sizes = struct.unpack_from(f"<{strips}I", tiff, counts) if strips > 1 else (counts,)
    raw = b"".join(tiff[a : a + n] for a, n in zip(starts, sizes, strict=True))
    assert tags[259][1] == 1
    return np.frombuffer(raw, "<u2").reshape(tags[257][1], tags[256][1])


def test_oib():
    path = FORMATS / "oib" / "test.oib"
    (scene,) = describe(path).scenes
    assert scene.channels == ("CH1", "Alexa Fluor 546", "TD1")
    assert scene.pixel_size_um == pytest.approx(0.177)
    ((_, pixels),) = planes_of(path)
    streams = [each for each in ole_streams(path.read_bytes()).values() if each[:4] == b"II*\0"]
    tiffs = [strip_of(each) for each in streams if len(each) > 256 * 256 * 2]
    found = [pixels[:, :, channel] for channel in range(3)]
    assert len(tiffs) == 3
    for one, other in itertools.product(found, tiffs):  # each channel is one of them
        tiffs = [t for t in tiffs if not (t is other and np.array_equal(t, one))]
    assert not tiffs


# -- DV: a header of 1024 bytes and sections in the order that it names


def test_dv():
    path = FORMATS / "dv" / "toxo.dv"
    data = path.read_bytes()
    width, height, sections, kind = struct.unpack_from("<4i", data, 0)
    (extended,) = struct.unpack_from("<i", data, 92)
    _, order = struct.unpack_from("<hh", data, 180)
    (waves,) = struct.unpack_from("<h", data, 196)
    assert (kind, order) in {(6, 0), (6, 1), (6, 2)}
    names = struct.unpack_from(f"<{waves}h", data, 198)
    slices = sections // waves
    (scene,) = describe(path).scenes
    assert scene.channels == tuple(f"{wave} nm" for wave in names)
    assert (scene.slices, scene.height, scene.width) == (slices, height, width)
    assert scene.pixel_size_um == 0.13262  # stored in 32 bits
    assert scene.pixel_size_um == pytest.approx(struct.unpack_from("<f", data, 40)[0])
    raw = np.frombuffer(data, "<u2", sections * height * width, 1024 + extended)
    shape = (slices, waves) if order == 1 else (waves, slices)  # 0: ZTW, 1: WZT, 2: ZWT
    stack = raw.reshape(*shape, height, width)
    stack = stack if order == 1 else stack.swapaxes(0, 1)
    for (_, _, slice), pixels in planes_of(path):
        np.testing.assert_array_equal(pixels, stack[slice].transpose(1, 2, 0))


# -- IMS: the array and its chunk, by HDF5 alone


def test_ims():
    path = FORMATS / "ims" / "Minimal_IMS_File.ims"
    (scene,) = describe(path).scenes
    ((_, pixels),) = planes_of(path)
    with h5py.File(path) as file:
        channel = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        np.testing.assert_array_equal(pixels[:, :, 0], channel["Data"][0])
        image = file["DataSetInfo/Image"].attrs
        ends = [float(b"".join(image[key])) for key in ("ExtMin0", "ExtMax0")]
    assert scene.pixel_size_um == pytest.approx((ends[1] - ends[0]) / scene.width)


# -- OME-Zarr: files of chunks, decoded by numcodecs and put together by hand


def zarr_array(folder: Path) -> np.ndarray:
    """A whole array of version 2, or of 3 without shards."""
    if (folder / ".zarray").exists():
        about = json.loads((folder / ".zarray").read_text())
        chunks, dtype, fill = about["chunks"], np.dtype(about["dtype"]), about["fill_value"]
        codecs = [numcodecs.get_codec(about["compressor"])] if about["compressor"] else []
        name = about.get("dimension_separator", ".").join
    else:
        about = json.loads((folder / "zarr.json").read_text())
        shape = about["chunk_grid"]["configuration"]["chunk_shape"]
        kinds = {"zstd": numcodecs.Zstd, "gzip": numcodecs.GZip, "blosc": numcodecs.Blosc}
        chunks, fill = shape, about["fill_value"]
        little = all(c.get("configuration", {}).get("endian", "little") == "little" for c in about["codecs"])  # fmt: skip
        dtype = np.dtype(about["data_type"]).newbyteorder("<" if little else ">")
        codecs = [kinds[c["name"]]() for c in about["codecs"] if c["name"] in kinds]
        separator = about["chunk_key_encoding"].get("configuration", {}).get("separator", "/")
        name = lambda parts: separator.join(["c", *parts])  # noqa: E731
    array = np.full(about["shape"], fill or 0, dtype)
    for place in np.ndindex(*(-(-s // c) for s, c in zip(about["shape"], chunks, strict=True))):
        file = folder / name(list(map(str, place)))
        if not file.exists():
            continue
        raw = file.read_bytes()
        for codec in codecs:
            raw = codec.decode(raw)
        part = np.frombuffer(raw, dtype).reshape(chunks)
        where = tuple(slice(n * c, n * c + c) for n, c in zip(place, chunks, strict=True))
        into = array[where]
        into[...] = part[tuple(map(slice, into.shape))]
    return array


ZARRS = {
    "galaxy-image-analysis__coins.ome.zarr": ["0/0"],
    "galaxy-image-analysis__image-02.zarr": ["0"],
    "galaxy-image-analysis__image-04.zarr": ["0"],
    "galaxy-image-analysis__xyz_8bit__mitotic_plate_calibrated.ome.zarr": ["0/0"],
    "ome-zarr-models-py__stitched_tiles_2d.zarr": ["tile_0/0", "tile_1/0"],
    "ome-zarr-py__v1": ["0"],
    "ome-zarr-py__v2": ["0"],
    "ome2024-ngff-challenge__2d.zarr": ["0"],
    "ome2024-ngff-challenge__hcs.zarr": [f"{r}/{c}/{f}/0" for r in "AB" for c in "12" for f in "01"],
    "viv__blobs_image_v04.ome.zarr": ["0"],
    "viv__data.zarr": ["0/0"],
}  # fmt: skip


@pytest.mark.parametrize("name", ZARRS)
def test_ome_zarr(name):
    folder = FORMATS / "ome-zarr" / name
    scenes = describe(folder).scenes
    assert len(scenes) == len(ZARRS[name])
    arrays = [zarr_array(folder / path) for path in ZARRS[name]]
    for (number, time, slice), pixels in planes_of(folder):
        scene, array = scenes[number], arrays[number]
        full = array.reshape(scene.times, -1, scene.slices, *array.shape[-2:])
        np.testing.assert_array_equal(pixels, full[time, :, slice].transpose(1, 2, 0))
    if name.endswith("hcs.zarr"):
        assert [s.name for s in scenes] == [path.removesuffix("/0") for path in ZARRS[name]]


# -- TIFF: libtiff, by way of Pillow, and OME-XML and private tags by hand


@pytest.mark.parametrize(
    "path",
    sorted(p for kind in ("ome-tiff", "metamorph-tiff") for p in (FORMATS / kind).glob("*.tif*")),
    ids=lambda path: path.name,
)
def test_tiff(path):
    """Pages in the order that the OME-XML names, all of which have one sample a pixel or are colour."""
    with PIL.Image.open(path) as opened:
        text = opened.tag_v2.get(270, "")
        signed = opened.tag_v2.get(339) in (2, (2,))
        pages = []
        for number in range(opened.n_frames):
            opened.seek(number)
            page = np.atleast_3d(np.asarray(opened))
            pages.append(page.view(np.int8) if signed and page.dtype == np.uint8 else page)
    (scene,) = describe(path).scenes
    order = re.search(r'DimensionOrder="(\w+)"', text)
    sizes = {"C": len(pages) // (scene.times * scene.slices), "Z": scene.slices, "T": scene.times}
    axes = order[1][2:] if order else "CZT"
    for (_, time, slice), pixels in planes_of(path):
        parts = []
        for channel in range(sizes["C"]):
            at, number, step = {"C": channel, "Z": slice, "T": time}, 0, 1
            for axis in axes:
                number, step = number + at[axis] * step, step * sizes[axis]
            parts.append(pages[number])
        np.testing.assert_array_equal(pixels, np.concatenate(parts, axis=2))
    if "AcquiredDate" in text:  # as OME's schema of 2010 has it
        assert scene.acquired == "2010-03-02T15:08:59"
    if path.parent.name == "metamorph-tiff":
        (said,) = re.findall(r'id="acquisition-time-local" type="time" value="(\S+) (\S+)"', text)
        day, hour = said
        assert scene.acquired.removesuffix("000") == f"{day[:4]}-{day[4:6]}-{day[6:]}T{hour}"
        assert scene.channels == (re.findall(r'id="_IllumSetting_".* value="(\w+)"', text)[0],)


def test_lsm():
    (path,) = (FORMATS / "lsm").glob("*.lsm")
    (scene,) = describe(path).scenes
    data = path.read_bytes()
    with PIL.Image.open(path) as opened:
        tags = dict(opened.tag_v2)
    header = bytes(tags[34412])  # CZ_LSMINFO
    width, height, slices, channels, times = struct.unpack_from("<5i", header, 8)
    assert (scene.width, scene.height, scene.slices, scene.times) == (width, height, slices, times)
    assert len(scene.channels) == channels
    assert scene.pixel_size_um == pytest.approx(struct.unpack_from("<d", header, 40)[0] * 1e6)
    ((_, pixels),) = planes_of(path)
    assert tags[259] == 1  # not compressed
    for channel, start in enumerate(tags[273]):
        found = np.frombuffer(data, np.uint8, height * width, start).reshape(height, width)
        np.testing.assert_array_equal(pixels[:, :, channel], found)


def test_stk():
    (path,) = (FORMATS / "stk").glob("*.stk")
    (scene,) = describe(path).scenes
    count = scene.height * scene.width
    with PIL.Image.open(path) as opened:
        (start, *_) = opened.tag_v2[273]
    raw = np.frombuffer(path.read_bytes(), "<u2", 3 * count, start)
    stack = raw.reshape(3, scene.height, scene.width)
    for (_, time, slice), pixels in planes_of(path):
        np.testing.assert_array_equal(pixels[:, :, 0], stack[max(time, slice)])


def test_svs():
    (path,) = (FORMATS / "svs").glob("*.svs")
    ((_, pixels),) = planes_of(path)
    with PIL.Image.open(path) as opened:
        assert "MPP = 0.4990" in opened.tag_v2[270]
        found = np.asarray(opened.convert("RGB"))
        assert "Date = 12/29/09|Time = 09:59:15" in opened.tag_v2[270]
    (scene,) = describe(path).scenes
    assert (scene.pixel_size_um, scene.acquired) == (0.499, "2009-12-29T09:59:15")
    # another JPEG decoder, which may round otherwise
    assert np.abs(pixels.astype(int) - found).max() <= 2


# -- all of them, cut short (those of CZI in test_czi.py)


REAL_FILES = sorted(p for p in FORMATS.glob("*/*") if p.suffix not in (".py", ".tsv", ".czi"))


@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.name)
def test_a_file_that_is_cut_short_gives_errors_or_the_same_planes(path, tmp_path):
    check_cut_short(path, tmp_path)
