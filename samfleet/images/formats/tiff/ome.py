"""What the OME metadata of a TIFF say about this file among those of its set.

A set of files shares metadata: each plane names its file by a UUID and a name. A result belongs to the bytes
of one file, so other files are never opened; here is found out which planes are in this one.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import tifffile

from samfleet.images.formats.image import unreadable, unsupported

_TAG = re.compile(r"<(?:\w+:)?(OME|BinaryOnly|Pixels|Channel|TiffData|UUID)\b([^<>]*)>([^<]*)")
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_COUNTS = ("SizeC", "SizeZ", "SizeT", "PlaneCount", "NumPlanes")
_MOST_PLANES = 1_000_000
_CHANNELS = re.compile(r'SizeC\s*=\s*["\']\s*(\d+)')


@dataclass(frozen=True)
class OmeMetadata:
    """The OME metadata of a file.

    Attributes:
        text: XML that names only planes in this file, for tifffile.
        damaged: whether it was put together from what can be read of XML that is not well-formed.
        elsewhere: names of other files that hold planes of the same set.
        kept_in: the file that has the metadata, if this one only refers to it.
        channels: the largest number of channels of an image; None if the metadata do not say.
        names: of the channels of every image.
    """

    text: str
    damaged: bool = False
    elsewhere: tuple[str, ...] = ()
    kept_in: str = ""
    channels: int | None = None
    names: tuple[tuple[str, ...], ...] = ()


def ome_metadata(tiff: tifffile.TiffFile, name: str) -> OmeMetadata | None:
    """The OME metadata of a TIFF; None if it has none.

    Args:
        tiff: the file.
        name: of the file, needed only if its metadata have no UUID of their own.

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
    kept_in = "".join(
        element.attrib.get("MetadataFile", "another file") for element in _named(root, "BinaryOnly")
    )
    for pixels in _named(root, "Pixels"):
        if (
            next(_named(pixels, "TiffData"), None) is None
        ):  # then the pages hold the planes in order
            ElementTree.SubElement(pixels, pixels.tag.replace("Pixels", "TiffData"))
    names = tuple(
        tuple(channel.attrib.get("Name", "") for channel in _named(pixels, "Channel"))
        for pixels in _named(root, "Pixels")
    )
    elsewhere = _leave_only(root, _own_identity(root, name))
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
    return OmeMetadata(text, damaged, elsewhere, kept_in, channels, names)


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


def _leave_only(root: ElementTree.Element, own: str) -> tuple[str, ...]:
    """Remove the planes in other files and the names of this one; return the others' names."""
    elsewhere = set()
    for pixels in _named(root, "Pixels"):
        here = []
        for plane in pixels:
            uuid = next(_named(plane, "UUID"), None)
            if uuid is not None and (uuid.text or "").strip() != own:
                elsewhere.add(uuid.attrib.get("FileName", "") or "another file")
                continue
            if uuid is not None:
                plane.remove(uuid)
            here.append(plane)
        pixels[:] = here
    return tuple(sorted(elsewhere))
