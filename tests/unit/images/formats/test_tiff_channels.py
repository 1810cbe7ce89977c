"""decode_image: the channels of a TIFF whose metadata and pages disagree, or whose set has several files."""

import io
import json
import struct

import numpy as np
import pytest
import tifffile

from samfleet.images.formats.decoding import decode_image
from tests.images import RGB8, check, refused, tiff

RNG = np.random.default_rng(7)
PAGES = RNG.integers(0, 65536, (6, 16, 20), np.uint16)
NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def described(text: str, pages: np.ndarray = PAGES, **options) -> bytes:
    return tiff(pages, description=text, metadata=None, photometric="minisblack", **options)


def ome(
    channels: int = 1, slices: int = 1, times: int = 1, planes: str = "<TiffData/>", **changed: str
) -> str:
    """OME metadata of 20 x 16 pixels; `changed` are the attributes of Pixels and `root` those of the root."""
    root = changed.pop("root", "")
    names = changed.pop("names", "").split()
    sizes = {"SizeX": "20", "SizeY": "16", "SizeC": channels, "SizeZ": slices, "SizeT": times}
    pixels = {"DimensionOrder": "XYCZT", "ID": "P", "Type": "uint16"} | sizes | changed
    attributes = " ".join(f'{name}="{value}"' for name, value in pixels.items())
    listed = "".join(
        f'<Channel ID="C:{n}" SamplesPerPixel="1"' + (f' Name="{names[n]}"' if names else "") + "/>"
        for n in range(channels)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}"{root}><Image ID="I">'
        f"<Pixels {attributes}>{listed}{planes}</Pixels></Image></OME>"
    )


def at(*places: tuple) -> str:
    """TiffData for each (channel, slice, page) or (channel, slice, page, file)."""
    text = ""
    for channel, z, page, *file in places:
        named = "".join(f'<UUID FileName="{name}">urn:uuid:{name}</UUID>' for name in file)
        place = f'FirstC="{channel}" FirstZ="{z}" FirstT="0" IFD="{page}" PlaneCount="1"'
        text += f"<TiffData {place}>{named}</TiffData>"
    return text


def channels(*numbers: int) -> np.ndarray:
    return np.moveaxis(PAGES[list(numbers)], 0, 2)


# a file that names itself


@pytest.mark.parametrize("root", ["", ' UUID="urn:uuid:own.ome.tif"', ' UUID="urn:uuid:other"'])
@pytest.mark.parametrize("name", ["own.ome.tif", "renamed.tif", ""])
def test_a_file_that_names_itself_has_all_of_its_channels(tmp_path, root, name):
    places = at((0, 0, 0, "own.ome.tif"), (1, 0, 1, "own.ome.tif"))
    data = described(ome(2, planes=places, root=root), PAGES[:2])
    check(data, channels(0, 1), name=name)
    path = tmp_path / "own.ome.tif"
    path.write_bytes(data)
    np.testing.assert_array_equal(tifffile.imread(path), PAGES[:2])


def test_metadata_that_are_not_well_formed_are_read_as_far_as_they_can_be():
    places = at((0, 0, 0, "own.tif"), (1, 0, 1, "own.tif"))
    text = ome(2, planes=places)
    check(
        described(text.replace('06">', '06"False>'), PAGES[:2]),
        channels(0, 1),
        warning="well-formed",
    )
    cut = ome(2, 3)[: -len("TiffData/></Pixels></Image></OME>")] + "TiffData/>"
    data = described(cut)
    check(data, channels(2, 3), plane="page 1 of 3 (Z=1)", warning="well-formed", page=1)


def test_metadata_that_cannot_be_understood_leave_no_guess_what_a_channel_is():
    for text in (
        f'<OME xmlns="{NAMESPACE}"><Image></OME>',
        ome(2, SizeX="33"),
        ome(2).replace('"1"/><T', '"2"/><T'),
    ):
        refused(described(text, PAGES[:2]), "unsupported", "which of its 2 pages are channels")
    check(described(ome(2, SizeX="33"), PAGES[0]), PAGES[0], warning="they name 2 channels")
    times = described(ome(times=2, SizeX="33"), PAGES[:2])
    check(times, PAGES[1], plane="page 1 of 2", warning="do not fit its pages", page=1)


# sets of files


def test_a_file_of_a_set_gives_its_own_planes():
    text = ome(2, 2, planes=at((0, 0, 0, "a"), (1, 0, 1, "a"), (0, 1, 0, "b"), (1, 1, 1, "b")))
    words = "other files (b) are not read"
    check(described(text, PAGES[:2]), channels(0, 1), False, "page 0 of 1 (Z=0)", words, name="a")
    data = described(text.replace('06">', '06" UUID="urn:uuid:b">'), PAGES[:2])
    check(data, channels(0, 1), False, "page 0 of 1 (Z=1)", "other files (a) are not read")
    refused(data, "unsupported", "has 1 page", page=1)
    refused(described(text, PAGES[:2]), "unsupported", "give it its name back", name="c")


def test_what_metadata_call_things_stays_on_one_line():
    text = ome(3, names="A B &#10;white:0")
    check(described(text, PAGES[:2]), channels(0, 1), warning="channel 2 ( white:0) of 3")
    text = ome(1, 2, planes=at((0, 0, 0, "a"), (0, 1, 0, "b\nwhite: 1" + "x" * 5000)))
    image = decode_image(described(text.replace("&#10;", "\n"), PAGES[0]), name="a")
    assert image.warning.isprintable()
    assert len(image.warning) == 500


def test_a_plane_with_channels_in_other_files_is_not_measured_in_part(tmp_path):
    text = ome(2, planes=at((0, 0, 0, "a.tif"), (1, 0, 0, "b.tif")), names="DAPI GFP")
    for number, (name, missing) in enumerate((("a.tif", "1 (GFP)"), ("b.tif", "0 (DAPI)"))):
        data = described(text, PAGES[number])
        (tmp_path / name).write_bytes(data)
        refused(data, "unsupported", f"channel {missing} of 2 of this plane is in another file", name=name)  # fmt: skip
    assert tifffile.imread(tmp_path / "a.tif").shape == (2, 16, 20)


def test_a_file_whose_metadata_are_in_another_says_so():
    only = '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:1"/>'
    text = f'<OME xmlns="{NAMESPACE}">{only}</OME>'
    check(described(text, PAGES[0]), PAGES[0], warning="set.companion.ome, which is not read")
    refused(described(text, PAGES[:4]), "unsupported", "which of its 4 pages are channels")


# planes that are not there


def test_the_first_channels_are_read_if_the_others_are_nowhere():
    data = described(ome(3, names="DAPI GFP Cy5"), PAGES[:2])
    check(data, channels(0, 1), warning="channel 2 (Cy5) of 3 is not in the file")
    stopped = described(ome(2, times=4), PAGES[:5])
    check(stopped, channels(2, 3), False, "page 1 of 3 (T=1)", "name 4 planes", page=1)
    check(stopped, channels(4), False, "page 2 of 3 (T=2)", "channel 1 of 2", page=2)
    refused(stopped, "unsupported", "has 3 pages", page=3)


def test_channels_keep_their_numbers_or_are_not_read():
    data = described(ome(3, planes=at((1, 0, 0), (2, 0, 1))), PAGES[:2])
    refused(data, "unreadable", "channel 0 of 3 of this plane is not in the file")


def test_pages_that_the_metadata_do_not_name_are_said():
    data = described(ome(planes='<TiffData IFD="0"/>'), PAGES[:2])
    check(data, PAGES[0], warning="do not say what 1 page of the file are")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_an_imagej_stack_that_lacks_pages(compression):
    text = "ImageJ=1.53t\nimages=6\nchannels=2\nslices=3\nhyperstack=true\n"
    data = described(text, PAGES[:5], compression=compression)
    check(data, channels(0, 1), plane="page 0 of 3 (Z=0)")
    check(data, channels(4), False, "page 2 of 3 (Z=2)", "channel 1 of 2", page=2)
    three = described("ImageJ=1.53t\nimages=3\nchannels=3\n", PAGES[:2], compression=compression)
    check(three, channels(0, 1), warning="channel 2 of 3 is not in the file")
    nonsense = described("ImageJ=1.53t\nimages=2\nchannels=2\nslices=0\n", PAGES[:2])
    refused(nonsense, "unsupported", "which of its 2 pages are channels")


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_cut_stack_with_one_header_gives_the_planes_that_are_whole(byteorder):
    stack = PAGES.reshape(3, 2, 16, 20)
    data = tiff(stack, imagej=True, truncate=True, metadata={"axes": "ZCYX"}, byteorder=byteorder)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start = file.pages.first.dataoffsets[0]
    cut = data[: start + 3 * PAGES[0].nbytes + 5]
    check(cut, channels(0, 1), plane="page 0 of 3 (Z=0)", warning="ends before the last plane")
    for page in (1, 2):
        refused(cut, "unreadable", "truncated", page=page)
    refused(data[: start + PAGES[0].nbytes], "unreadable", "truncated")


def test_samples_of_a_pixel_are_channels_whatever_the_metadata_count():
    for text in (ome(3, SizeX="37", SizeY="23", Type="uint8"), ome(1, SizeX="37", SizeY="23")):
        data = tiff(RGB8, description=text, metadata=None, photometric="rgb")
        check(data, RGB8, is_color=True, warning="do not fit")


def test_metadata_without_the_places_of_planes_mean_the_pages_in_order():
    check(described(ome(2, planes=""), PAGES[:2]), channels(0, 1))
    missing = described(ome(2, 2, planes=""), PAGES[:3])
    check(missing, channels(2), False, "page 1 of 2 (Z=1)", "channel 1 of 2", page=1)


def test_images_that_the_file_does_not_have_are_said():
    text = ome(2)
    second = text[text.index("<Image") : text.index("</OME>")]
    assert second.count("<TiffData/>") == 1
    first = text.replace("<TiffData/>", at((0, 0, 0), (1, 0, 1)))
    text = first.replace("</OME>", second.replace('SizeX="20"', 'SizeX="21"') + "</OME>")
    check(described(text, PAGES[:2]), channels(0, 1), warning="name 2 images, and the file has 1")


def test_absurd_numbers_of_planes_cost_no_memory():
    for text in (ome(2, times=10**9), ome(1, planes='<TiffData PlaneCount="1000000000"/>')):
        refused(described(text, PAGES[:2]), "unreadable", "000000 planes")
    text = "ImageJ=1.53t\nimages=2000000000\nchannels=2\nslices=1000000000\nhyperstack=true\n"
    refused(described(text, PAGES[:2]), "unsupported", "which of its 2 pages are channels")
    check(described(text, PAGES[0]), PAGES[0], warning="they name 2 channels")


# pages that are named twice


@pytest.mark.parametrize("files", [[(), ()], [("a.tif",), ("a.tif",)]])
def test_two_channels_on_one_page_are_no_channels(files):
    places = at(*((channel, 0, 0, *file) for channel, file in enumerate(files)))
    for pages in (1, 2):
        data = described(ome(2, planes=places), PAGES[:pages])
        refused(data, "unsupported", "which of its pages are channels", name="a.tif")


def test_several_files_of_one_uuid_are_not_told_apart():
    places = at((0, 0, 0, "a.tif"), (1, 0, 0, "b.tif")).replace("uuid:b", "uuid:a")
    refused(
        described(ome(2, planes=places), PAGES[:2]), "unsupported", "are channels", name="a.tif"
    )


def test_planes_without_a_page_of_their_own_are_channels_of_none():
    data = described(ome(2, planes='<TiffData FirstC="0"/><TiffData FirstC="1"/>'), PAGES[:2])
    refused(data, "unsupported", "a page of the file for several planes")
    data = described(ome(1, 2, planes=at((0, 0, 1), (0, 1, 1))), PAGES[:2])
    check(data, PAGES[1], False, "page 1 of 2 (Z=1)", "name a page of the file for several", page=1)


def test_two_images_on_one_page_are_doubtful():
    text = ome(planes='<TiffData IFD="0"/>')
    image = text[text.index("<Image") : text.index("</OME>")]
    data = described(text.replace("</OME>", image + "</OME>"), PAGES[0])
    check(data, PAGES[0], False, "page 1 of 2", "name a page of the file for several", page=1)


# arrays that tifffile describes, and pages that it does not


def written(*writes: tuple[np.ndarray, dict | None], **options) -> bytes:
    """A file of several calls of TiffWriter.write, each of pages and metadata."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pages, metadata in writes:
            writer.write(pages, photometric="minisblack", metadata=metadata, **options)
    return file.getvalue()


CYX = {"axes": "CYX"}


@pytest.mark.parametrize("options", [{}, {"contiguous": False}, {"compression": "zlib"}])
def test_channels_stay_channels_if_pages_without_metadata_are_added(options):
    data = written((PAGES[:3], CYX), (PAGES[3], None), **options)
    check(data, channels(0, 1, 2), warning="do not say what 1 page of the file are")
    refused(data, "unsupported", "has 1 page", page=1)
    slices = PAGES[:4].reshape(2, 2, 16, 20)
    data = written((slices, {"axes": "CZYX"}), (PAGES[4:], None), **options)
    words = "do not say what 2 pages of the file are"
    check(data, channels(1, 3), False, "page 1 of 2 (Z=1)", words, page=1)


def test_channels_stay_channels_whether_a_page_is_added_behind_or_before_them():
    array, page = (PAGES[:3], CYX, {}), (PAGES[3, :8], None, {})
    with_one_header = (PAGES[:3], CYX, {"truncate": True})
    for parts in ((array, page), (page, array), (with_one_header, page), (page, with_one_header)):
        file = io.BytesIO()
        for n, (pages, metadata, options) in enumerate(parts):
            file.seek(0)
            with tifffile.TiffWriter(file, append=n > 0) as writer:
                writer.write(pages, photometric="minisblack", metadata=metadata, **options)
        check(file.getvalue(), channels(0, 1, 2), warning="do not say what 1 page of the file are")


def test_the_first_pages_are_the_channels_that_an_array_has():
    check(described('{"shape": [3, 16, 20], "axes": "CYX"}'), channels(0, 1, 2), warning="3 pages")


def test_planes_that_are_no_channels_are_counted_whatever_describes_them():
    for metadata in ({"axes": "ZYX"}, {"axes": "TYX"}, {}):
        data = written((PAGES[:3], metadata), (PAGES[3], None))
        check(data, PAGES[3], plane="page 3 of 4", page=3)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB8, photometric="rgb", metadata={"axes": "YXS"})
        writer.write(PAGES[0], photometric="minisblack", metadata=None)
    check(file.getvalue(), RGB8, True, "page 0 of 2")
    check(file.getvalue(), PAGES[0], plane="page 1 of 2", page=1)


def test_channels_that_do_not_fit_the_pages_are_not_guessed():
    alone = [(page, CYX) for page in PAGES[:3]]
    for data in (
        written(alone[0], *((page, None) for page in PAGES[1:3]), contiguous=False),
        written(*alone, compression="zlib"),
        described('{"shape": [3, 8, 10], "axes": "CYX"}', PAGES[:3]),
        described('{"shape": [3, 32, 40], "axes": "CYX"}', PAGES[:3]),
        described('{"shape": [3, 17, 20], "axes": "CYX"}', PAGES[:3]),
    ):
        refused(data, "unsupported", "which of its 3 pages are channels is not known")
    check(written(alone[0]), PAGES[0])
    for nonsense in ("[]", "[0, 16, 20]", '"x"', "[3.5, null, {}]", "[-3, 16, 20]"):
        data = described(f'{{"shape": {nonsense}, "axes": "ZYX"}}', PAGES[:3])
        check(data, PAGES[2], plane="page 2 of 3", page=2)
    absurd = '{"shape": [2000000000, 16, 20], "axes": "CYX"}'
    refused(described(absurd, PAGES[:3]), "unreadable", "metadata are damaged")


# values that ImageJ shows otherwise


@pytest.mark.parametrize(
    ("said", "is_doubtful"),
    [
        ("cf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n", True),  # signed 16 bits
        ("cf=3\nc0=1\nc1=2\nc2=3\nc3=4\n", True),
        ("cf=21\nvunit=Uncalibrated OD\n", True),
        ("cf=0\nc0=0.0\nc1=1.0\n", False),
        ("cf=20\n", False),
        ("unit=um\n", False),
    ],
)
def test_a_calibration_of_imagej_is_not_applied_and_this_is_said(said, is_doubtful):
    for images, pages in ((1, PAGES[0]), (2, PAGES[:2])):
        data = described(f"ImageJ=1.53t\nimages={images}\nslices={images}\n{said}", pages)
        plane = "page 0 of 2 (Z=0)" if images == 2 else ""
        check(data, PAGES[0], plane=plane, warning="as stored" if is_doubtful else "")


# Micro-Manager's own layout


def micromanager(places: list[tuple[int, int, int, int]], planned: dict) -> bytes:
    """A stack with a plane at each (channel, slice, time, position), of which `planned` says how many were meant."""
    height, width, size = *PAGES[0].shape, PAGES[0].nbytes
    numbers = {"Channels": 1, "Slices": 1, "Frames": 1, "Positions": 1} | planned
    order = {"MicroManagerVersion": "2.0", "TimeFirst": False, "SlicesFirst": True}
    summary = json.dumps(order | numbers).encode()
    start = 40 + len(summary) + len(summary) % 2
    step = 162 + size + 10
    table, body = struct.pack("<II", 3453623, len(places)), b""
    for n, place in enumerate(places):
        here = start + n * step
        tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: here + 162, 277: 1, 278: height, 279: size, 282: 1, 283: 1, 296: 1}  # fmt: skip
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        entries += struct.pack("<HHII", 51123, 2, 10, here + 162 + size)
        following = here + step if n + 1 < len(places) else 0
        body += struct.pack("<H", 13) + entries + struct.pack("<I", following)
        body += PAGES[n].tobytes() + b'{"a": 10}\0'
        table += struct.pack("<5I", *place, here)
    head = b"II*\0" + struct.pack(
        "<9I", start, 54773648, start + len(body), 483765892, 0, 99384722, 0, 2355492, len(summary)
    )
    return (head + summary).ljust(start, b"\0") + body + table


def test_a_micromanager_stack_that_was_stopped():
    whole = micromanager([(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0), (1, 0, 1, 0)], {"Channels": 2, "Frames": 2})  # fmt: skip
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        assert file.series[0].kind == "mmstack"
    check(whole, channels(2, 3), plane="page 1 of 2 (T=1)", page=1)
    planned = {"Channels": 2, "Frames": 5}
    stopped = micromanager([(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0)], planned)
    check(stopped, channels(0, 1), plane="page 0 of 2 (T=0)")
    check(stopped, channels(2), False, "page 1 of 2 (T=1)", "channel 1 of 2", page=1)
    check(micromanager([(0, 0, 0, 0)], planned), PAGES[0], warning="2 channels were planned")
    refused(micromanager([(1, 0, 0, 0)], planned), "unsupported", "first channels")


def test_what_is_read_does_not_depend_on_the_order_of_pages():
    data = described(ome(2, 2, planes=at((1, 1, 0), (0, 1, 1), (1, 0, 2), (0, 0, 3))), PAGES[:4])
    check(data, channels(3, 2), plane="page 0 of 2 (Z=0)")
    assert decode_image(data, page=1).pixels.tolist() == channels(1, 0).tolist()
