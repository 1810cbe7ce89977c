"""Which pages are channels in a file that tifffile describes by the shape and the axes of arrays.

tifffile itself takes no notice of the descriptions once there is a page that none of them covers.
"""

import json
import math
from itertools import pairwise
from typing import NamedTuple

import tifffile

from samfleet.images.formats.image import ImageError, unreadable
from samfleet.images.formats.tiff.stacks import unknown_channels

_MOST_PLANES = 1_000_000


class DescribedArray(NamedTuple):
    """The array that begins with a page, as described there; `is_truncated` if its pages share one header."""

    axes: str
    shape: tuple[int, ...]
    is_truncated: bool

    @property
    def channels(self) -> int:
        sizes = zip(self.axes, self.shape, strict=False)
        return math.prod(size for axis, size in sizes if axis in "CS")


def shaped_series(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """The arrays that some of the pages describe; empty unless one of them has pages that are channels.

    Raises:
        ImageError: which pages are channels cannot be told.
    """
    pages = [page.aspage() for page in tiff.pages]
    starts = [n for n, page in enumerate(pages) if page.shaped_description]
    series, have_channels = [], False
    for start, end in pairwise([*starts, len(pages)]):
        page = pages[start]
        array = check_channels(page)
        if not array.axes or not _fits(array, page):
            array = DescribedArray(page.axes, page.shape, False)
        count = 1 if array.is_truncated else math.prod(array.shape) // max(1, math.prod(page.shape))
        parts = pages[start : min(start + count, end)]
        if array.channels > page.samplesperpixel:
            have_channels = True
            if any(part.hash != page.hash for part in parts):
                raise _unknown(array, page)
        axes, shape, is_truncated = array
        series.append(
            tifffile.TiffPageSeries(
                parts, shape, page.dtype, axes, kind="shaped", truncated=is_truncated
            )
        )
    return series if have_channels else []


def check_channels(page: tifffile.TiffPage) -> DescribedArray:
    """The array that begins with a page.

    Raises:
        ImageError: it has channels and does not fit the pages, of which there are several; or its size is absurd.
    """
    try:
        metadata = json.loads(page.shaped_description or "{}")
        shape = tuple(int(size) for size in metadata.get("shape", ()))
    except (ValueError, TypeError):  # an older description has a shape only
        return DescribedArray("", (), False)
    array = DescribedArray(str(metadata.get("axes", "")), shape, bool(metadata.get("truncated")))
    if math.prod(shape) > _MOST_PLANES * max(1, math.prod(page.shape)):
        raise unreadable(f"the metadata are damaged: they name an array of {_sizes(array)}")
    if {"C", "S"} & set(array.axes) and len(page.parent.pages) > 1 and not _fits(array, page):
        raise _unknown(array, page)
    return array


def _fits(array: DescribedArray, page: tifffile.TiffPage) -> bool:
    """Whether the last axes of an array are those of a page."""
    sizes = [size for size in array.shape if size != 1]
    within = [size for size in page.shape if size != 1]
    tail = sizes[max(0, len(sizes) - len(within)) :]
    return (
        len(array.axes) == len(array.shape) and tail == within and min(array.shape, default=0) > 0
    )


def _unknown(array: DescribedArray, page: tifffile.TiffPage) -> ImageError:
    return unknown_channels(
        f"its metadata name the axes {array.axes} and the sizes {_sizes(array)}, which do not fit its pages, so "
        f"which of its {len(page.parent.pages)} pages are channels is not known"
    )


def _sizes(array: DescribedArray) -> str:
    return " x ".join(map(str, array.shape))
