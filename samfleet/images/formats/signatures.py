"""Recognise a format by the first bytes of a file.

To add a format, write a module with its `Reader`, list its signature in `_READERS`, and add the
format to docs/images.md and to the tests of damage in tests/unit/images/formats/test_damage.py.
"""

from typing import Protocol

from samfleet.images.formats.bmp import read_bmp
from samfleet.images.formats.image import Image, Limits, Wanted, unreadable, unsupported
from samfleet.images.formats.jpeg import read_jpeg
from samfleet.images.formats.jpeg2000 import read_jpeg2000
from samfleet.images.formats.png import read_png
from samfleet.images.formats.tiff.reading import read_tiff
from samfleet.images.formats.webp import read_webp


class Reader(Protocol):
    """A function that reads one format."""

    def __call__(self, data: bytes, wanted: Wanted, limits: Limits) -> Image:
        """Decode an image whose signature has been recognised.

        A reader must call `limits.check` before it decodes, and must raise an ImageError rather
        than return pixels that are incomplete or not stored in the file.

        Args:
            data: the whole file.
            wanted: what to read; `check_page` raises if the file does not have that page.
            limits: how large the image may be.

        Returns:
            The image. Its pixels may also be (height, width), of any strides and byte order.

        Raises:
            ImageError: "unreadable", "unsupported" or "too_large". `decode_image` turns any other
                exception into "unreadable".
        """


_READERS: tuple[tuple[bytes, Reader], ...] = (
    (b"\x89PNG\r\n\x1a\n", read_png),
    (b"\xff\xd8\xff", read_jpeg),
    (b"II*\x00", read_tiff),
    (b"MM\x00*", read_tiff),
    (b"II+\x00", read_tiff),
    (b"MM\x00+", read_tiff),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", read_jpeg2000),
    (b"\xff\x4f\xff\x51", read_jpeg2000),
    (b"BM", read_bmp),
)
# Formats that are recognised only to name them in the refusal.
_REFUSED = (
    (0, b"ZISRAWFILE", "a Zeiss CZI file"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (0, b"\x70\x00\x00\x00", "a Leica LIF file"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE2 file (OIB, ZVI, ...)"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (IMS, H5, ...)"),
    (128, b"DICM", "a DICOM file"),
    (0, b"GIF8", "a GIF file"),
)


def find_reader(data: bytes) -> Reader:
    """The reader for these bytes; raises ImageError if there is none."""
    if not any(data):
        raise unreadable(f"all {len(data)} bytes are zero" if data else "the file is empty")
    for signature, reader in _READERS:
        if data.startswith(signature):
            return reader
        if signature.startswith(data):
            raise unreadable(f"the file ends after {len(data)} bytes")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return read_webp
    for offset, signature, name in _REFUSED:
        if data.startswith(signature, offset):
            raise unsupported(f"the content is {name}; export it as OME-TIFF")
    raise unsupported(f"not a known image format; the file begins with {data[:16]!r}")
