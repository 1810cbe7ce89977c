"""Decode one page of a TIFF after checking that its data are complete."""

import math

import imagecodecs
import numpy as np
import tifffile

from samfleet.images.formats.image import Limits, unreadable, unsupported
from samfleet.images.formats.jpeg import check_jpeg_data, parse_jpeg
from samfleet.images.formats.jpeg2000 import parse_jpeg2000
from samfleet.images.formats.tiff.kinds import (
    JPEG2000_COMPRESSIONS,
    JPEG_COMPRESSIONS,
    check_kind,
)

_LARGEST_JPEG = 65500


def check_header(page: tifffile.TiffPage, channels: int, limits: Limits) -> None:
    """Raise ImageError, before decoding, if the page is not supported or too large."""
    dtype = check_kind(page)
    height, width = page.imagelength, page.imagewidth
    within = math.prod(page.shape) // max(1, height * width)  # the samples and depths of a page
    limits.check(height, width, max(channels, within), dtype.itemsize)


def read_page(page: tifffile.TiffPage | tifffile.TiffFrame | None, limits: Limits) -> np.ndarray:
    """Decode a page in its own shape; raises ImageError if its data are incomplete."""
    if page is None or (keyframe := page.keyframe) is None:
        raise unreadable("the TIFF is incomplete: a page is missing")
    if page.parent.filehandle.closed:  # another file of its set, which tifffile has closed
        page.parent.filehandle.open()
    if keyframe.jpegheader is not None:
        page = page.aspage()
        _check_ndpi_jpeg(page, limits)
    elif keyframe.is_contiguous:
        check_within_file(page, page.dataoffsets[0] if page.dataoffsets else 0, keyframe.nbytes)
    else:
        _check_segments(page, keyframe, limits)
    pixels = page.asarray(maxworkers=1)
    if pixels.shape != keyframe.shape:
        raise unreadable(
            "the TIFF is damaged: the shape of the data differs from the one in the header"
        )
    return pixels


def read_contiguous(keyframe: tifffile.TiffPage, offset: int) -> np.ndarray:
    """Read a page of the layout of `keyframe` whose data lie in one piece at `offset`."""
    filehandle = keyframe.parent.filehandle
    if offset + keyframe.nbytes > filehandle.size:
        raise unreadable("the TIFF is truncated")
    filehandle.seek(offset)
    dtype = check_kind(keyframe).newbyteorder(keyframe.parent.byteorder)
    return np.frombuffer(filehandle.read(keyframe.nbytes), dtype).reshape(keyframe.shape)


def check_within_file(
    page: tifffile.TiffPage | tifffile.TiffFrame, offset: int, count: int
) -> None:
    if offset <= 0 or count <= 0:
        raise unreadable("the TIFF is incomplete: a page, strip or tile is missing")
    if offset + count > page.parent.filehandle.size:
        raise unreadable("the TIFF is truncated")


def _check_segments(
    page: tifffile.TiffPage | tifffile.TiffFrame, keyframe: tifffile.TiffPage, limits: Limits
) -> None:
    """Raise ImageError unless every strip or tile lies within the file and is complete."""
    filehandle = page.parent.filehandle
    expected = math.prod(keyframe.chunked)
    found = min(len(page.dataoffsets), len(page.databytecounts))
    if found < expected:
        raise unreadable(f"the TIFF has {found} of {expected} strips or tiles")
    for index in range(expected):
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        check_within_file(page, offset, count)
        if keyframe.compression in JPEG_COMPRESSIONS | JPEG2000_COMPRESSIONS:
            filehandle.seek(offset)
            check_segment(page, filehandle.read(count), index, limits)


def check_segment(
    page: tifffile.TiffPage | tifffile.TiffFrame, segment: bytes, index: int, limits: Limits
) -> None:
    """Raise ImageError unless the data of a strip or tile are complete, where decoders would not notice."""
    keyframe = page.keyframe
    assert keyframe is not None
    if keyframe.compression in JPEG2000_COMPRESSIONS:
        parse_jpeg2000(segment, limits)
    if keyframe.compression not in JPEG_COMPRESSIONS:
        return

    def decode(data: bytes) -> np.ndarray:
        pixels, _, _ = keyframe.decode(data, index, jpegtables=page.jpegtables)
        if pixels is None:
            raise unreadable("the TIFF is incomplete: a strip or tile has no data")
        return pixels

    check_jpeg_data(parse_jpeg(segment, limits), decode(segment), decode)


def _check_ndpi_jpeg(page: tifffile.TiffPage, limits: Limits) -> None:
    """Check the single JPEG of an NDPI page, which tifffile presents as tiles."""
    if max(page.imagewidth, page.imagelength) > _LARGEST_JPEG:
        raise unsupported(f"an NDPI of more than {_LARGEST_JPEG} pixels per side is not supported")
    offset, count = page.tags.valueof(273)[0], page.tags.valueof(279)[0]
    check_within_file(page, offset, count)
    page.parent.filehandle.seek(offset)
    data = page.parent.filehandle.read(count)
    jpeg = parse_jpeg(data, limits)
    check_jpeg_data(jpeg, imagecodecs.jpeg_decode(data), imagecodecs.jpeg_decode)
