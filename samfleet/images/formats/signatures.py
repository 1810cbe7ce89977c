"""Which format the first bytes are, and the words for those that are not read."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from samfleet.images.formats.bmp import read_bmp
from samfleet.images.formats.gif import read_gif
from samfleet.images.formats.image import ImageError, Limits, unreadable, unsupported
from samfleet.images.formats.jpeg import read_jpeg
from samfleet.images.formats.jpeg2000 import read_jpeg2000
from samfleet.images.formats.png import read_png
from samfleet.images.formats.tiff.reading import read_tiff
from samfleet.images.formats.webp import read_webp

# Takes the file, which page, and how large it may be; returns what an Image holds.
_Reader = Callable[[bytes, int, Limits], tuple[np.ndarray, bool, str]]

# What is recognised in order to be refused with its name.
_OTHER_FORMATS = (
    (b"ZISRAWFILE", "a Zeiss CZI file; export it as OME-TIFF"),
    (b"\xda\xce\xbe\x0a", "a Nikon ND2 file; export it as OME-TIFF"),
    (b"\x70\x00\x00\x00", "a Leica LIF file; export it as OME-TIFF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE2 file (OIB, ZVI, ...); export it as OME-TIFF"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (IMS, H5, ...)"),
    (b"SIMPLE  =", "a FITS file"),
    (b"NRRD0", "an NRRD file"),
    (b"%PDF-", "a PDF file"),
    (b"%!PS", "a PostScript file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xfd7zXZ\x00", "an XZ archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"8BPS", "a Photoshop file"),
    (b"gimp xcf", "a GIMP file"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (b"#?R", "a Radiance HDR file"),
    (b"DDS ", "a DirectDraw surface"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL file"),
    (b"II\xbc\x01", "a JPEG XR file"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x59\xa6\x6a\x95", "a Sun raster file"),
    (b"<?xml", "an XML file"),
    (b"<svg", "an SVG drawing"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"\x7fELF", "a program"),
)


def find_reader(data: bytes) -> _Reader:
    """The function that reads these bytes; raises ImageError when there is none."""
    if not data:
        raise unreadable("the file is empty")
    for signature, reader in (
        (b"\x89PNG\r\n\x1a\n", read_png),
        (b"\xff\xd8\xff", read_jpeg),
        (b"II*\x00", read_tiff),
        (b"MM\x00*", read_tiff),
        (b"II+\x00", read_tiff),
        (b"MM\x00+", read_tiff),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", read_jpeg2000),
        (b"\xff\x4f\xff\x51", read_jpeg2000),
        (b"GIF87a", read_gif),
        (b"GIF89a", read_gif),
        (b"BM", read_bmp),
    ):
        if data.startswith(signature):
            return reader
        if signature.startswith(data):
            raise unreadable(f"the file ends after {len(data)} bytes")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return read_webp
    raise _not_an_image(data)


def _not_an_image(data: bytes) -> ImageError:
    for signature, name in _OTHER_FORMATS:
        if data.startswith(signature):
            return unsupported(f"the content is {name}")
    if data[4:8] == b"ftyp":
        return unsupported("the content is an AVIF, HEIC or MP4 file")
    if data[128:132] == b"DICM":
        return unsupported("the content is a DICOM file")
    if re.match(rb"P[1-7fF]\s", data):
        return unsupported("the content is a Netpbm file (PBM, PGM, PPM, PAM, PFM)")
    start = data[:16]
    if not any(data):
        return unreadable(f"all {len(data)} bytes are zero")
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data[:512]):
        return unsupported(f"not an image but text that begins {start!r:.60}")
    return unsupported(f"no known image format; the first bytes are {start.hex(' ')}")
