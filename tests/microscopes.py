"""Small files as programs of microscopes write them, made by hand where no writer exists."""

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import zarr

_SIZES = {1: "X", 2: "Y", 3: "Z", 4: "T"}


def write_lif(path: Path, images: dict[str, np.ndarray], pixel_um: float = 0.5) -> None:
    """Images of (T, Z, C, Y, X) as a LIF of version 2."""
    elements, blocks = [], []
    for number, (name, data) in enumerate(images.items()):
        times, slices, channels, height, width = data.shape
        item = data.itemsize
        steps = {1: item, 2: item * width, 3: item * width * height * channels}
        steps[4] = steps[3] * slices
        counts = {1: width, 2: height, 3: slices, 4: times}
        side = pixel_um * 1e-6
        dimensions = "".join(
            f'<DimensionDescription DimID="{n}" NumberOfElements="{count}" Origin="0" '
            f'Length="{side * (count - 1)}" Unit="{"s" if n == 4 else "m"}" BitInc="0" BytesInc="{steps[n]}"/>'
            for n, count in counts.items()
            if count > 1 or n < 3
        )
        described = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * item}" NameOfMeasuredQuantity="" '
            f'Min="0" Max="1" Unit="" LUTName="Lut{n}" IsLUTInverted="0" BytesInc="{item * width * height * n}" BitInc="0"/>'
            for n in range(channels)
        )
        elements.append(
            f'<Element Name="{name}" Visibility="1"><Data><Image><ImageDescription><Channels>{described}</Channels>'
            f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{data.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        blocks.append((f"MemBlock_{number}", data.tobytes()))
    text = (
        '<LMSDataContainerHeader Version="2"><Element Name="test" Visibility="1"><Data/>'
        f"<Children>{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    content = struct.pack("<BI", 0x2A, len(text) // 2) + text
    with path.open("wb") as file:
        file.write(struct.pack("<II", 0x70, len(content)) + content)
        for name, pixels in blocks:
            words = name.encode("utf-16-le")
            head = struct.pack("<BQBI", 0x2A, len(pixels), 0x2A, len(words) // 2) + words
            file.write(struct.pack("<II", 0x70, len(head)) + head + pixels)


def write_oif(path: Path, data: np.ndarray, dyes: list[str], pixel_um: float = 0.25) -> Path:
    """An image of (T, Z, C, Y, X) as an OIF; the folder of its planes."""
    times, slices, channels, height, width = data.shape
    sizes = {"X": width, "Y": height, "C": channels, "Z": slices, "T": times}
    axes = [*sizes, "L", "A", "P"]
    sections = ["[ProfileSaveInfo]", 'Name="COFAImages"', 'Version="2.0.0.0"']
    sections += ["[Axis Parameter Common]", 'AxisOrder="XYCZT"', "AxisCount=8"]
    for number, axis in enumerate(axes):
        sections += [
            f"[Axis {number} Parameters Common]",
            f'AxisCode="{axis}"',
            f"MaxSize={sizes.get(axis, 0)}",
        ]
    sections += [
        "[Reference Image Parameter]",
        f"ImageHeight={height}",
        f"ImageWidth={width}",
        "ValidBitCounts=12",
        f"HeightConvertValue={pixel_um}",
        f"WidthConvertValue={pixel_um}",
        'HeightUnit="um"',
        'WidthUnit="um"',
        "[Acquisition Parameters Common]",
        "ImageCaputreDate='2020-01-02 03:04:05'",
    ]
    for number, dye in enumerate(dyes, start=1):
        sections += [f"[Channel {number} Parameters]", f'DyeName="{dye}"', f'CH Name="CH{number}"']
    path.write_bytes(b"\xff\xfe" + "\r\n".join(sections).encode("utf-16-le"))
    folder = path.with_name(f"{path.name}.files")
    folder.mkdir()
    for t, z, c in np.ndindex(times, slices, channels):
        name = f"s_C{c + 1:03d}Z{z + 1:03d}T{t + 1:03d}.tif"
        tifffile.imwrite(folder / name, data[t, z, c], metadata=None)
    return folder


def write_dv(path: Path, data: np.ndarray, waves: list[int], pixel_um: float = 0.125) -> None:
    """An image of (T, C, Z, Y, X), uint16, as a DV in the order of sections ZWT."""
    times, channels, slices, height, width = data.shape
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, width, height, times * channels * slices, 6)
    struct.pack_into("<3f", header, 40, pixel_um, pixel_um, 1.0)
    struct.pack_into("<i", header, 92, 0)
    struct.pack_into("<h", header, 96, -16224)
    struct.pack_into("<hh", header, 180, times, 2)
    struct.pack_into("<h", header, 196, channels)
    struct.pack_into(f"<{len(waves)}h", header, 198, *waves)
    path.write_bytes(bytes(header) + data.astype("<u2").tobytes())


def write_ims(path: Path, data: np.ndarray, names: list[str], pixel_um: float = 0.5) -> None:
    """An image of (T, C, Z, Y, X) as an IMS with two resolutions, whose arrays are padded."""

    def text(group: h5py.Group, **attributes: object) -> None:
        for name, value in attributes.items():
            group.attrs[name] = np.array(list(str(value)), "S1")

    with h5py.File(path, "w") as file:
        for level in (0, 1):
            small = data[..., :: 2**level, :: 2**level]
            for t, c in np.ndindex(data.shape[:2]):
                group = file.create_group(
                    f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}"
                )
                padded = np.pad(small[t, c], ((0, 1), (0, 3), (0, 2)))
                group.create_dataset("Data", data=padded, chunks=True)
                text(
                    group,
                    **dict(
                        zip(
                            ("ImageSizeZ", "ImageSizeY", "ImageSizeX"), small.shape[2:], strict=True
                        )
                    ),
                )
        image = file.create_group("DataSetInfo/Image")
        height, width = data.shape[-2:]
        text(
            image,
            Unit="um",
            ExtMin0=0,
            ExtMin1=1,
            ExtMax0=width * pixel_um,
            ExtMax1=1 + height * pixel_um,
        )
        text(image, RecordingDate="2020-01-02 03:04:05.000")
        for number, name in enumerate(names):
            text(file.create_group(f"DataSetInfo/Channel {number}"), Name=name)


def _lite(name: str, value: Any) -> bytes:
    """A value of the metadata of an ND2, with what lies below it."""
    words = (name + "\0").encode("utf-16-le")
    if isinstance(value, str):
        kind, content = 8, (value + "\0").encode("utf-16-le")
    elif isinstance(value, bool):
        kind, content = 1, struct.pack("<?", value)
    elif isinstance(value, int):
        kind, content = 3, struct.pack("<I", value)
    elif isinstance(value, float):
        kind, content = 6, struct.pack("<d", value)
    else:
        named = value.items() if isinstance(value, dict) else (("", each) for each in value)
        parts = [_lite(*each) for each in named]
        size = 2 + len(words) + 12 + sum(map(len, parts))  # up to the offsets of the parts
        kind, content = 11, struct.pack("<IQ", len(parts), size) + b"".join(parts)
        content += bytes(8 * len(parts))
    return struct.pack("<BB", kind, len(words) // 2) + words + content


def write_nd2(
    path: Path,
    data: np.ndarray,
    names: Sequence[str],
    *,
    positions: Sequence[str] = (),
    pixel_um: float = 0.5,
    is_compressed: bool = False,
) -> list[int]:
    """An image of (P, T, Z, C, Y, X) as an ND2 of version 3; where each frame begins.

    Without positions there is no P, neither in the data nor in the file. One name for three channels makes them blue,
    green and red.
    """
    frames = data.reshape(-1, *data.shape[-3:])
    *loops, channels, height, width = data.shape
    row_bytes = -(-width * channels * data.itemsize // 4) * 4
    experiment: dict = {}
    for kind, count in reversed(list(zip((2, 1, 4)[3 - len(loops) :], loops, strict=True))):
        parameters: dict = {"uiCount": count}
        if kind == 1:
            parameters |= {"dStart": 0.0, "dPeriod": 1000.0, "dDuration": 1000.0 * count}
        elif kind == 2:
            parameters["Points"] = [{"pPosName": name, "dPosX": 0.0} for name in positions]
        else:
            parameters |= {"dZLow": 0.0, "dZHigh": count - 1.0, "dZStep": 1.0}
        level: dict = {"eType": kind, "uLoopPars": parameters}
        experiment = level | ({"ppNextLevelEx": [experiment]} if experiment else {})
    planes = {
        f"a{number}": {
            "uiCompCount": channels // len(names),
            "uiSampleIndex": number,
            "sDescription": name,
            "pFluorescentProbe": {"m_sName": name},
        }
        for number, name in enumerate(names)
    }
    metadata = {
        "ImageAttributesLV!": {
            "SLxImageAttributes": {
                "uiWidth": width,
                "uiWidthBytes": row_bytes,
                "uiHeight": height,
                "uiComp": channels,
                "uiBpcInMemory": 8 * data.itemsize,
                "uiBpcSignificant": 8 * data.itemsize,
                "uiSequenceCount": len(frames),
                "eCompression": 0 if is_compressed else 2,
            }
        },
        "ImageMetadataSeqLV|0!": {
            "SLxPictureMetadata": {
                "bCalibrated": True,
                "dCalibration": pixel_um,
                "sPicturePlanes": {"uiCount": len(names), "sPlaneNew": planes},
            }
        },
        "ImageMetadataLV!": {"SLxExperiment": experiment},
        "ImageTextInfoLV!": {"SLxImageTextInfo": {"TextInfoItem_9": "01/02/2020  03:04:05 AM"}},
    }
    with path.open("wb") as file:

        def begin(name: str, size: int, room: int = 4096) -> int:
            """The head of a chunk, whose content of so many bytes is to follow; where it begins."""
            start, words = file.tell(), name.encode()
            file.write(struct.pack("<IIQ", 0x0ABECEDA, room - 16, size))
            file.write(words.ljust(room - 16, b"\0"))
            return start

        begin("ND2 FILE SIGNATURE CHUNK NAME01!", 64, 48)
        file.write(b"Ver3.0".ljust(64, b"\0"))
        chunks = {}
        for name, value in metadata.items():
            content = b"".join(_lite(*each) for each in value.items())
            chunks[name] = begin(name, len(content)), len(content)
            file.write(content)
        starts = []
        for number, frame in enumerate(frames):
            rows: Iterable[bytes] = (
                row.T.tobytes().ljust(row_bytes, b"\0") for row in frame.swapaxes(0, 1)
            )
            name, size = f"ImageDataSeq|{number}!", 8 + height * row_bytes
            if is_compressed:
                rows = [zlib.compress(b"".join(rows))]
                size = 8 + len(rows[0])
            chunks[name] = begin(name, size, 4088), size
            file.write(struct.pack("<d", 1000.0 * number))
            starts.append(file.tell())
            file.writelines(rows)
        content = b"".join(
            name.encode() + struct.pack("<QQ", *place) for name, place in chunks.items()
        )
        end, signature = file.tell(), b"ND2 CHUNK MAP SIGNATURE 0000001!"
        content += signature
        begin("ND2 FILEMAP SIGNATURE NAME 0001!", len(content))
        file.write(content + struct.pack("<QQ", end, 0) + signature + struct.pack("<Q", end))
    return starts


def write_ome_zarr(
    folder: Path,
    data: np.ndarray,
    axes: str,
    *,
    version: str = "0.4",
    levels: int = 1,
    names: Sequence[str] = (),
    pixel_um: float | tuple[float, float] = 0.5,
    chunks: int = 16,
    compressors: Any = "auto",
) -> None:
    """One image as OME-Zarr 0.4 or 0.5, each level half as large as the one before."""  # fmt: skip
    kinds = {"t": "time", "c": "channel"}
    datasets = []
    for level in range(levels):
        small = data[..., :: 2**level, :: 2**level]
        array = zarr.create_array(
            folder / str(level),
            shape=small.shape,
            chunks=tuple(
                min(chunks, size) if axis in "yx" else 1
                for axis, size in zip(axes, small.shape, strict=True)
            ),
            dtype=small.dtype,
            zarr_format=2 if version == "0.4" else 3,
            compressors=compressors,
        )
        array[:] = small
        sides = pixel_um if isinstance(pixel_um, tuple) else (pixel_um, pixel_um)  # of y and x
        scale = [sides["yx".index(axis)] * 2**level if axis in "yx" else 1.0 for axis in axes]
        transformations = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    named = [
        {"name": axis, "type": kinds.get(axis, "space")}
        | ({"unit": "micrometer"} if axis in "zyx" else {})
        for axis in axes
    ]
    attributes: dict = {"multiscales": [{"axes": named, "datasets": datasets, "version": version}]}
    if names:
        attributes["omero"] = {"channels": [{"label": name} for name in names]}
    write_group(folder, attributes, version)


def write_group(folder: Path, attributes: dict, version: str = "0.4") -> None:
    """The metadata of a group of OME-Zarr 0.4 or 0.5."""
    folder.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))
    else:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": attributes}}
        (folder / "zarr.json").write_text(json.dumps(group))
