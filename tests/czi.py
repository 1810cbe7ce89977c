"""CZIs made by hand, since nothing writes them. Imports no more than a reader of CZIs needs."""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

Subblock = tuple[Mapping[str, int], np.ndarray]
"""Where a subblock begins along each axis, which may be of S (scene), M (tile of a mosaic), T, Z, C, Y and X, and its
pixels: (rows, columns), or (rows, columns, 3) in blue, green, red. A key `step` says how many pixels of the image one
of a pyramid covers on each side."""
_KINDS = {("uint8", 2): 0, ("uint16", 2): 1, ("uint8", 3): 3}


def subblocks_of(data: np.ndarray, tile: int) -> Iterator[Subblock]:
    """An image of (T, Z, C, Y, X) in tiles of one mosaic."""
    times, slices, channels, height, width = data.shape
    corners = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
    for t, z, c in np.ndindex(times, slices, channels):
        for m, (y, x) in enumerate(corners):
            pixels = data[t, z, c, y : y + tile, x : x + tile]
            yield {"X": x, "Y": y, "C": c, "Z": z, "T": t, "M": m}, pixels


def _segment(name: str, content: bytes) -> bytes:
    content += bytes(-len(content) % 32)
    return struct.pack("<16sqq", name.encode(), len(content), len(content)) + content


def _entry(start: Mapping[str, int], pixels: np.ndarray, position: int) -> bytes:
    kind = _KINDS[pixels.dtype.name, pixels.ndim]
    axes = {axis: at for axis, at in start.items() if axis != "step"}
    step, stored = start.get("step", 1), {"X": pixels.shape[1], "Y": pixels.shape[0]}
    sizes = {axis: size * step for axis, size in stored.items()}
    level = 0 if step == 1 else 2
    head = struct.pack("<2siqiiBB4si", b"DV", kind, position, 0, 0, level, 0, b"", len(axes))
    return head + b"".join(
        struct.pack("<4siifi", axis.encode(), at, sizes.get(axis, 1), 0.0, stored.get(axis, 1))
        for axis, at in axes.items()
    )


def _xml(names: Sequence[str], scenes: Sequence[str], pixel_um: float) -> bytes:
    channels = "".join(
        f'<Channel Id="Channel:{n}" Name={quoteattr(name)}/>' for n, name in enumerate(names)
    )
    found = "".join(f'<Scene Index="{n}" Name={quoteattr(name)}/>' for n, name in enumerate(scenes))
    sides = "".join(
        f'<Distance Id="{axis}"><Value>{pixel_um * 1e-6}</Value></Distance>' for axis in "XY"
    )
    return (
        "<ImageDocument><Metadata><Information><Image>"
        "<AcquisitionDateAndTime>2020-01-02T03:04:05Z</AcquisitionDateAndTime>"
        f"<Dimensions><Channels>{channels}</Channels><S><Scenes>{found}</Scenes></S></Dimensions>"
        f"</Image></Information><Scaling><Items>{sides}</Items></Scaling></Metadata></ImageDocument>"
    ).encode()


def write_czi(
    path: Path,
    subblocks: Iterable[Subblock],
    names: Sequence[str],
    *,
    scenes: Sequence[str] = (),
    pixel_um: float = 0.5,
) -> list[int]:
    """A CZI that is not compressed; where the pixels of each subblock begin."""
    entries, starts = [], []
    with path.open("wb") as file:
        file.write(bytes(32 + 512))  # of the header, which is written last
        for start, pixels in subblocks:
            entry = _entry(start, pixels, file.tell())
            head = struct.pack("<iiq", 0, 0, pixels.nbytes) + entry
            entries.append(entry)
            starts.append(file.tell() + 32 + 256)
            file.write(_segment("ZISRAWSUBBLOCK", head.ljust(256, b"\0") + pixels.tobytes()))
        metadata, xml = file.tell(), _xml(names, scenes, pixel_um)
        file.write(
            _segment("ZISRAWMETADATA", struct.pack("<ii", len(xml), 0).ljust(256, b"\0") + xml)
        )
        directory = file.tell()
        count = struct.pack("<i", len(entries)).ljust(128, b"\0")
        file.write(_segment("ZISRAWDIRECTORY", count + b"".join(entries)))
        file.seek(0)
        header = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", 0, directory, metadata, 0, 0)
        file.write(_segment("ZISRAWFILE", header.ljust(512, b"\0")))
    return starts
