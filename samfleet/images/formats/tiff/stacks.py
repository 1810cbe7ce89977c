"""A series of planes that metadata describe, of which the file may have only some."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import tifffile

from samfleet.images.formats.image import ImageError, Limits, unreadable, unsupported
from samfleet.images.formats.tiff.pages import check_header, read_contiguous, read_page


@dataclass(frozen=True)
class PageData:
    """A page of which windows can be read.

    Attributes:
        page: where its data are, and its layout; None if the file does not have it.
        offset: where its data are if they are in one piece without a header of their own; else None.
    """

    page: tifffile.TiffPage | tifffile.TiffFrame | None
    offset: int | None = None


@dataclass(frozen=True)
class Plane:
    """One plane of a TIFF.

    Attributes:
        keyframe: the page that states the layout and the colour model.
        parts: functions that each read an array; the arrays are joined along the channels.
        axes: of each part: Y, X and channels.
        words: which plane this is, for `Image.plane`.
        samples: whether the channels are the samples of one page, so that its colour model applies.
        warning: what is doubtful about it, for `Image.warning`.
        pages: for each part the page that it is all of; empty if parts are less than a page.
    """

    keyframe: tifffile.TiffPage
    parts: Sequence[Callable[[], np.ndarray]]
    axes: str
    words: str
    samples: bool
    warning: str = ""
    pages: Sequence[PageData] = ()


class Stack:
    """A series of planes that the metadata describe, of which the file may have only some.

    Args:
        series: as tifffile finds it.
        names: of its channels, or nothing.

    Attributes:
        kind: of metadata.
        names: of its channels, or nothing.
        sizes: of the axes that are neither height, width nor channels, in the order of the planes; a second axis of
            the same name is told apart by a stroke.
        described: the number of planes that the metadata describe.
        planes: which of them have a page in the file, by their numbers among those described.
        channels: of a plane, as described.
        pages: which pages of the file belong to it, in the order of the planes.
        is_contiguous: whether all planes share one header.
        is_cut: whether in that case the file ends before the last of them.

    Raises:
        ImageError: the series is no stack of pages.
    """

    def __init__(self, series: tifffile.TiffPageSeries, names: Sequence[str]):
        self.series, self.names, self.kind = series, tuple(names), series.kind
        self._axes, self._shape = series.axes, series.shape
        sizes = [*zip(self._axes, self._shape, strict=True)]
        self.sizes: dict[str, int] = {}
        for axis, size in sizes:
            while axis in self.sizes:
                axis = f"{axis}'"
            if axis not in "YXCS":
                self.sizes[axis] = size
        self.described = math.prod(self.sizes.values())
        self.channels = math.prod(size for axis, size in sizes if axis in "CS")
        keyframe = series.keyframe
        count = math.prod(self._shape) // math.prod(keyframe.shape)
        lead = 0  # the number of leading axes that run over pages; the others lie within a page
        while math.prod(self._shape[:lead]) < count:
            lead += 1
        if math.prod(self._shape[:lead]) != count or set(self._axes[:lead]) & set("YX"):
            raise unsupported(
                f"the axes {self._axes} are not supported: they do not form a stack of pages"
            )
        self._lead = lead
        self.is_contiguous = _is_contiguous(series, count)
        self._offset = series.dataoffset or 0
        end = self._offset + count * keyframe.nbytes
        self.is_cut = self.is_contiguous and end > keyframe.parent.filehandle.size
        # one row for each combination of the leading axes that are not channels
        order = sorted(range(lead), key=lambda axis: self._axes[axis] in "CS")
        numbers = np.arange(count).reshape(self._shape[:lead]).transpose(order)
        channels = math.prod(size for axis, size in sizes[:lead] if axis in "CS")
        self._numbers = numbers.reshape(-1, channels)
        pages = [keyframe] if self.is_contiguous else [_page_of(series, n) for n in range(count)]
        there = [self.is_contiguous or pages[n] is not None for n in range(count)]
        self._there = np.array(there)[self._numbers]
        self._within = self.described // len(self._numbers)  # planes that a page holds
        self.planes = np.flatnonzero(np.repeat(self._there.any(axis=1), self._within)).tolist()
        self.pages = [page.treeindex for page in pages if page is not None]

    @cached_property
    def _indices(self) -> dict[int, int]:
        return {number: index for index, number in enumerate(self.planes)}

    def index_of(self, number: int) -> int | None:
        """Where plane `number` of those described is among `planes`; None if the file does not have it."""
        return self._indices.get(number)

    def is_in(self, index: int, tiff: tifffile.TiffFile) -> bool:
        """Whether the first page of a plane, by its place in `planes`, is in this file of a set."""
        row = self.planes[index] // self._within
        number = int(self._numbers[row][self._there[row]][0])
        page = None if self.is_contiguous else _page_of(self.series, number)
        return page is None or page.parent is tiff

    def plane(
        self, index: int, page: int, pages: int, elsewhere: Sequence[str], limits: Limits
    ) -> Plane:
        """One plane, with all of its channels that the file has.

        Args:
            index: among `planes`.
            page: among the planes of the file.
            pages: the number of planes of the file.
            elsewhere: names of other files with planes of the same series.
            limits: how large the image may be.
        """
        keyframe, number = self.series.keyframe, self.planes[index]
        check_header(keyframe, self.channels, limits)
        there = self._there[number // self._within]
        warning = self._missing(there.tolist(), elsewhere)
        place = iter(np.unravel_index(number, (*self.sizes.values(),) or (1,)))
        chosen = [None if a in "YXCS" else int(next(place)) for a in self._axes]
        inner = tuple(slice(None) if at is None else at for at in chosen[self._lead :])

        def read_part(part: int) -> np.ndarray:
            return self._read(part, limits).reshape(self._shape[self._lead :])[inner]

        numbers = self._numbers[number // self._within][there].tolist()
        parts = [partial(read_part, part) for part in numbers]
        named = [f"{a}={at}" for a, at in zip(self._axes, chosen, strict=True) if at is not None]
        words = f"page {page} of {pages}" + (f" ({', '.join(named)})" if named else "")
        rest = "".join(a for a in self._axes[self._lead :] if a in "YXCS")
        # LSM files call any three channels RGB.
        samples = len(there) == 1 and self.kind != "lsm"
        many = pages > 1 or self.described > 1
        pages_read = [self._page_data(part) for part in numbers] if self._within == 1 else []
        return Plane(keyframe, parts, rest, words if many else "", samples, warning, pages_read)

    def _missing(self, there: list[bool], elsewhere: Sequence[str]) -> str:
        """A warning if the file has only the first channels of a plane.

        Raises:
            ImageError: it has others than the first ones, or other files have the rest.
        """
        if all(there):
            return ""
        missing = [_channel(n, self.names) for n, is_there in enumerate(there) if not is_there]
        words = f"{', '.join(missing)} of {len(there)}"
        if elsewhere:
            raise unknown_channels(
                f"{words} of this plane is in another file ({listed(elsewhere)}), and other files are not read"
            )
        if sorted(there, reverse=True) != there:
            raise unreadable(
                f"{words} of this plane is not in the file, though the metadata name it, and "
                "the numbers of the others would be wrong"
            )
        return f"{words} is not in the file, though the metadata name it"

    def _page_data(self, number: int) -> PageData:
        if self.is_contiguous:
            keyframe = self.series.keyframe
            return PageData(keyframe, self._offset + number * keyframe.nbytes)
        return PageData(_page_of(self.series, number))

    def _read(self, number: int, limits: Limits) -> np.ndarray:
        """Page `number`, even if all pages share one header."""
        if self.is_contiguous:
            keyframe = self.series.keyframe
            return read_contiguous(keyframe, self._offset + number * keyframe.nbytes)
        return read_page(_page_of(self.series, number), limits)


def _channel(number: int, names: Sequence[str]) -> str:
    name = names[number] if number < len(names) else ""
    return f"channel {number} ({name})" if name else f"channel {number}"


def _is_contiguous(series: tifffile.TiffPageSeries, count: int) -> bool:
    """Whether a series has fewer headers than pages because the data lie in one piece after the first."""
    keyframe = series.keyframe
    return (
        len(series) < count
        and len(series) == 1
        and keyframe.is_contiguous
        and keyframe.predictor == 1
        and keyframe.fillorder == 1
        and series.dataoffset is not None
    )


def _page_of(
    series: tifffile.TiffPageSeries, number: int
) -> tifffile.TiffPage | tifffile.TiffFrame | None:
    """Page `number` of a series; None if the file does not have it."""
    try:
        return series[number] if number < len(series) else None
    except IndexError:
        return None


def listed(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def unknown_channels(reason: str) -> ImageError:
    """The error that the channels of a plane cannot be told or are not all in the file."""
    return unsupported(f"{reason}; save it as a single OME-TIFF")
