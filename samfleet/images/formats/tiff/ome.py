"""What the OME metadata of a TIFF say: which planes are in which file of a set, and what the images are called.

A set of files shares metadata: each plane names its file by a UUID and a name. Files of the set that lie beside
this one are followed.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from samfleet.images.formats.image import unreadable, unsupported
from samfleet.images.units import iso_time, micrometres, pixel_side
from samfleet.planes import PixelSide

_TAG = re.compile(r"<(?:\w+:)?(OME|BinaryOnly|Pixels|Channel|TiffData|UUID)\b([^<>]*)>([^<]*)")
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_DATES = ("AcquisitionDate", "AcquiredDate", "CreationDate")
"""What newer and older versions of the schema call the time of an image."""
_COUNTS = ("SizeC", "SizeZ", "SizeT", "PlaneCount", "NumPlanes")
_MOST_PLANES = 1_000_000
_CHANNELS = re.compile(r'SizeC\s*=\s*["\']\s*(\d+)')


@dataclass(frozen=True)
class OmeImage:
    """What OME metadata say of an image.

    Attributes:
        name: of the image, or of the well and the field that it is of.
        channels: their names; empty where one has none.
        pixel_size_um: the side of a pixel in µm.
        acquired: when, in ISO 8601, if that is known.
    """

    name: str
    channels: tuple[str, ...]
    pixel_size_um: PixelSide
    acquired: str


@dataclass(frozen=True)
class OmeMetadata:
    """The OME metadata of a file.

    Attributes:
        text: XML that names only planes in this file and in those beside it, for tifffile.
        damaged: whether it was put together from what can be read of XML that is not well-formed.
        elsewhere: names of other files that hold planes of the same set and do not lie beside this one.
        companions: names of those that do, and of the file that has the metadata.
        kept_in: the file that has the metadata, if this one only refers to it and that is gone.
        channels: the largest number of channels of an image; None if the metadata do not say.
        images: what is said of every image.
    """

    text: str
    damaged: bool = False
    elsewhere: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    kept_in: str = ""
    channels: int | None = None
    images: tuple[OmeImage, ...] = ()

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """The names of the channels of every image."""
        return tuple(image.channels for image in self.images)


def ome_metadata(
    tiff: tifffile.TiffFile, name: str, folder: Path | None = None
) -> OmeMetadata | None:
    """The OME metadata of a TIFF; None if it has none.

    Args:
        tiff: the file.
        name: of the file, needed only if its metadata have no UUID of their own.
        folder: where other files of its set may lie; None if they are not to be looked for.

    Raises:
        ImageError: it belongs to a set, and which of its files it is cannot be told; or its numbers are absurd.
    """
    text = tiff.pages.first.description
    if not (tiff.is_ome or "openmicroscopy.org/Schemas/OME" in text or "<OME" in text[:1000]):
        return None
    sizes = [int(size) for size in _CHANNELS.findall(text)]
    channels = max(sizes) if sizes else None
    damaged = False
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError):
        root, damaged = _salvaged(text), True
    for element in root.iter():  # tifffile makes room for as many planes as are named
        planes = math.prod(
            _count(element.attrib[name]) for name in _COUNTS if name in element.attrib
        )
        if planes > _MOST_PLANES:
            raise unreadable(f"the OME metadata are damaged: they name {planes} planes")
    kept_in, own = "", ""
    companions: set[str] = set()
    for element in list(_named(root, "BinaryOnly")):
        kept_in = element.attrib.get("MetadataFile", "another file")
        if (found := _kept_metadata(folder, kept_in)) is not None:
            root, own = found, element.attrib.get("UUID", "").strip()
            companions, kept_in = {kept_in}, ""
            channels = max(
                map(int, _CHANNELS.findall(ElementTree.tostring(root, "unicode"))), default=None
            )
    for pixels in _named(root, "Pixels"):
        if (
            next(_named(pixels, "TiffData"), None) is None
        ):  # then the pages hold the planes in order
            ElementTree.SubElement(pixels, pixels.tag.replace("Pixels", "TiffData"))
    images = tuple(_images(root))
    others = _leave_only(root, own or _own_identity(root, name), folder)
    if own:
        root.attrib["UUID"] = own
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
    elsewhere = tuple(sorted(each for each in others if not _lies_beside(folder, each)))
    companions |= others - set(elsewhere)
    return OmeMetadata(
        text, damaged, elsewhere, tuple(sorted(companions)), kept_in, channels, images
    )


def _lies_beside(folder: Path | None, name: str) -> bool:
    """Whether a file of that name, which leads nowhere else, is in a folder."""
    return folder is not None and Path(name).name == name != "" and (folder / name).is_file()


def _kept_metadata(folder: Path | None, name: str) -> ElementTree.Element | None:
    """The metadata in a file beside: a companion, or the first file of a set."""
    if folder is None or not _lies_beside(folder, name):
        return None
    try:
        data = (folder / name).read_bytes()
        if data[:2] in (b"II", b"MM"):
            with tifffile.TiffFile(folder / name) as tiff:
                data = tiff.pages.first.description.encode()
        root = ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError, ValueError, tifffile.TiffFileError):
        return None
    return None if next(_named(root, "Pixels"), None) is None else root


def _images(root: ElementTree.Element) -> Iterator[OmeImage]:
    """What is said of every image, in the order of the planes' elements."""
    wells = _wells(root)
    for image in _named(root, "Image"):
        dates = chain.from_iterable(_named(image, name) for name in _DATES)
        acquired = next((iso_time(date.text) for date in dates if date.text), "")
        for pixels in _named(image, "Pixels"):
            sides = (
                micrometres(
                    pixels.attrib.get(f"PhysicalSize{axis}"),
                    pixels.attrib.get(f"PhysicalSize{axis}Unit", "µm"),
                )
                for axis in "XY"
            )
            yield OmeImage(
                wells.get(image.attrib.get("ID", ""), "") or image.attrib.get("Name", ""),
                tuple(each.attrib.get("Name", "") for each in _named(pixels, "Channel")),
                pixel_side(*sides),
                acquired,
            )


def _wells(root: ElementTree.Element) -> dict[str, str]:
    """For images of a plate the well and the number of the field, such as "B03/0"."""
    names = {}
    for well in _named(root, "Well"):
        row, column = (_count(well.attrib.get(name, "0")) for name in ("Row", "Column"))
        for field, sample in enumerate(_named(well, "WellSample")):
            for reference in _named(sample, "ImageRef"):
                names[reference.attrib.get("ID", "")] = f"{_row_name(row)}{column + 1:02d}/{field}"
    return names


def _row_name(row: int) -> str:
    """The letters of a plate's row: A for 0, Z for 25, AA for 26."""
    letters = chr(ord("A") + row % 26)
    return letters if row < 26 else _row_name(row // 26 - 1) + letters


def _salvaged(text: str) -> ElementTree.Element:
    """The elements that say where the planes are, from XML that is not well-formed."""
    root = ElementTree.Element("OME")
    pixels: ElementTree.Element | None = None
    for name, inside, following in _TAG.findall(text):
        attributes = dict(_ATTRIBUTE.findall(inside))
        if name == "OME":
            root.attrib.update({"UUID": attributes["UUID"]} if "UUID" in attributes else {})
        elif name == "BinaryOnly":
            ElementTree.SubElement(root, name, attributes)
        elif name == "Pixels":
            pixels = ElementTree.SubElement(ElementTree.SubElement(root, "Image"), name, attributes)
        elif pixels is not None and name != "UUID":
            ElementTree.SubElement(pixels, name, attributes)
        elif pixels is not None and len(pixels):
            ElementTree.SubElement(pixels[-1], name, attributes).text = following
    return root


def _count(text: str) -> int:
    return int(text) if text.isdecimal() else 1


def _named(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """The elements of a name, in whatever version of the schema."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def _references(root: ElementTree.Element) -> set[tuple[str, str]]:
    """UUID and file name of every file that holds planes."""
    return {
        ((uuid.text or "").strip(), uuid.attrib.get("FileName", ""))
        for uuid in _named(root, "UUID")
    }


def _own_identity(root: ElementTree.Element, name: str) -> str:
    """The UUID by which the metadata name this file; empty if they name no file.

    It is the one that the metadata carry, else the only one, whatever the file is called now, else the one of
    this name. Micro-Manager writes none at the root.
    """
    references = _references(root)
    uuids = {uuid for uuid, _ in references}
    own = root.attrib.get("UUID", "").strip()
    if not uuids or own in uuids:
        return own
    if len(uuids) == 1:
        return uuids.pop()
    same = {uuid for uuid, file in references if name and file.lower() == name.lower()}
    if len(same) == 1:
        return same.pop()
    files = ", ".join(sorted(file for _, file in references)[:3])
    raise unsupported(
        f"its OME metadata describe a set of {len(uuids)} files ({files}, ...), and none of them has the name "
        "of this one; give it its name back, or save the set as a single OME-TIFF"
    )


def _leave_only(root: ElementTree.Element, own: str, folder: Path | None) -> set[str]:
    """Remove the planes in files that are not beside this one, and the names of this one; return the others' names."""
    others = set()
    for pixels in _named(root, "Pixels"):
        here = []
        for plane in pixels:
            uuid = next(_named(plane, "UUID"), None)
            if uuid is not None and (uuid.text or "").strip() != own:
                name = uuid.attrib.get("FileName", "") or "another file"
                others.add(name)
                if not _lies_beside(folder, name):
                    continue
            elif uuid is not None:
                plane.remove(uuid)
            here.append(plane)
        pixels[:] = here
    return others
