"""Read windows of a TIFF: of its strips or tiles only those that a window touches."""

import math
from collections import OrderedDict

import numpy as np

from samfleet.images.formats.image import Image, Limits, unreadable
from samfleet.images.formats.orientation import orientation_tag
from samfleet.images.formats.tiff.kinds import JPEG_COMPRESSIONS, check_kind
from samfleet.images.formats.tiff.pages import check_segment, check_within_file
from samfleet.images.formats.tiff.planes import TiffPlanes
from samfleet.images.formats.tiff.reading import as_image
from samfleet.images.formats.tiff.stacks import PageData

_ANY_SIZE = Limits(1 << 62)
_AXES = ("YX", "YXS", "SYX", "YXC", "CYX")  # of a page that windows are read of
_SEGMENT_BYTES = 1 << 27
"""A strip or tile of more bytes than this is no window: who decodes it may as well read the whole image."""
_KEPT_BYTES = 1 << 26
"""So many bytes of decoded strips and tiles are kept for the next window, and at least a row of each page."""


class KeptSegments:
    """Strips and tiles of a file that were decoded last, of whatever plane, for the next window."""

    def __init__(self) -> None:
        self._segments: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._segments)

    def get(self, key: tuple[int, int, int]) -> np.ndarray | None:
        """What was kept."""
        if key in self._segments:
            self._segments.move_to_end(key)
        return self._segments.get(key)

    def keep(self, key: tuple[int, int, int], pixels: np.ndarray, most: int) -> None:
        """Keep this, and of the others the latest, so many bytes in all."""
        self._segments[key] = pixels
        self._bytes += pixels.nbytes
        while self._bytes > most and len(self._segments) > 1:
            self._bytes -= self._segments.popitem(last=False)[1].nbytes


class TiffWindows:
    """Windows of one plane of a TIFF.

    Args:
        planes: the planes of the file.
        page: which of them.
        lookup_table: the setting `image.lookup_table`.
        checked: whether an earlier reader has found every strip and tile complete.
        kept: where decoded strips and tiles of the file are kept.

    Attributes:
        about: one pixel of the image, and what else is known of it.
        size: (height, width).

    Raises:
        ImageError: the file is damaged, or of a kind that is not supported.
    """

    def __init__(
        self, planes: TiffPlanes, page: int, lookup_table: str, checked: bool, kept: KeptSegments
    ):
        self._planes, self._page, self._lookup_table = planes, page, lookup_table
        self._plane = planes.plane(page, _ANY_SIZE)
        pages = self._plane.pages
        self._pages = [_Page(data, checked, kept, len(pages)) for data in pages]
        self._orientation = orientation_tag(self._plane.keyframe)
        stored = self._plane.keyframe.imagelength, self._plane.keyframe.imagewidth
        self.size = stored[::-1] if self._orientation >= 5 else stored
        self.about = self._image(0, 1, 0, 1) if self.can_read else Image(np.zeros((1, 1)), False)

    @property
    def can_read(self) -> bool:
        """Whether windows can be read; if not, the whole image may be."""
        known = bool(self._pages) and self._plane.axes in _AXES
        return known and all(page.can_read for page in self._pages)

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The pixels of rows y0 to y1 and columns x0 to x1 of the upright image."""
        height, width = self.size
        if self._orientation in (3, 4, 7, 8):
            y0, y1 = height - y1, height - y0
        if self._orientation in (2, 3, 6, 7):
            x0, x1 = width - x1, width - x0
        if self._orientation >= 5:
            (y0, y1), (x0, x1) = (x0, x1), (y0, y1)
        return self._image(y0, y1, x0, x1).pixels

    def _image(self, y0: int, y1: int, x0: int, x1: int) -> Image:
        parts = [page.read(y0, y1, x0, x1, self._plane.axes) for page in self._pages]
        return as_image(self._planes, self._page, self._plane, parts, self._lookup_table)


class _Page:
    """Windows of one page, as stored.

    Attributes:
        can_read: whether its data are in strips or tiles of a size that is read in windows.
    """

    def __init__(self, data: PageData, checked: bool, kept: KeptSegments, pages: int):
        page, keyframe = data.page, data.page.keyframe if data.page is not None else None
        if page is None or keyframe is None:
            raise unreadable("the TIFF is incomplete: a page is missing")
        self._page, self._keyframe, self._checked = page, keyframe, checked
        self._file = page.parent.filehandle
        self._dtype = check_kind(keyframe)
        self._planes, self._depth, self._height, self._width, self._samples = keyframe.shaped
        self._offset = data.offset
        if self._offset is None and keyframe.is_final:
            self._offset = page.dataoffsets[0] if page.dataoffsets else 0
        self._kept = kept
        if self._offset is not None:
            check_within_file(page, self._offset, keyframe.nbytes)
            self.can_read = self._depth == 1
            return
        if keyframe.is_tiled:
            rows, columns = keyframe.tilelength, keyframe.tilewidth
        else:
            rows, columns = min(keyframe.rowsperstrip, self._height), self._width
        self._segment = rows, columns
        self._grid = math.ceil(self._height / rows), math.ceil(self._width / columns)
        size = rows * columns * self._samples * self._dtype.itemsize
        self._most = max(_KEPT_BYTES, (self._grid[1] + 1) * self._planes * pages * size)
        self.can_read = self._depth == 1 and size <= _SEGMENT_BYTES and keyframe.jpegheader is None
        expected = math.prod(keyframe.chunked)
        found = min(len(page.dataoffsets), len(page.databytecounts))
        if found < expected:
            raise unreadable(f"the TIFF has {found} of {expected} strips or tiles")

    def read(self, y0: int, y1: int, x0: int, x1: int, axes: str) -> np.ndarray:
        """A window with its axes in the order of the page's."""
        reading = self._segments if self._offset is None else self._rows
        window = reading(y0, y1, x0, x1)  # samples that are planes of their own come first
        if "S" not in axes and "C" not in axes:
            return window[0, :, :, 0]
        return window[0] if axes.index("Y") == 0 else window[..., 0]

    def _rows(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """A window of data that lie in one piece."""
        dtype = self._dtype.newbyteorder(self._keyframe.parent.byteorder)
        pixel = self._samples * dtype.itemsize
        out = np.empty((self._planes, y1 - y0, x1 - x0, self._samples), dtype)
        assert self._offset is not None
        for plane in range(self._planes):
            start = self._offset + plane * self._height * self._width * pixel
            if (x0, x1) == (0, self._width):
                self._read_into(start + y0 * self._width * pixel, out[plane])
                continue
            for row in range(y0, y1):
                self._read_into(start + (row * self._width + x0) * pixel, out[plane, row - y0])
        return out

    def _read_into(self, place: int, out: np.ndarray) -> None:
        self._file.seek(place)
        data = self._file.read(out.nbytes)
        if len(data) < out.nbytes:
            raise unreadable("the TIFF is truncated")
        out[...] = np.frombuffer(data, out.dtype).reshape(out.shape)

    def _segments(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """A window of strips or tiles."""
        rows, columns = self._segment
        out = np.empty((self._planes, y1 - y0, x1 - x0, self._samples), self._dtype)
        for plane in range(self._planes):
            for row in range(y0 // rows, -(-y1 // rows)):
                for column in range(x0 // columns, -(-x1 // columns)):
                    top, left = row * rows, column * columns
                    pixels = self._decoded((plane * self._grid[0] + row) * self._grid[1] + column)
                    low, high = max(y0, top), min(y1, top + rows)
                    first, end = max(x0, left), min(x1, left + columns)
                    out[plane, low - y0 : high - y0, first - x0 : end - x0] = pixels[
                        low - top : high - top, first - left : end - left
                    ]
        return out

    def _decoded(self, index: int) -> np.ndarray:
        """The pixels of a strip or tile: (rows, columns, samples)."""
        key = id(self._page.parent), self._page.offset, index  # files of a set stay open
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        offset, count = self._page.dataoffsets[index], self._page.databytecounts[index]
        check_within_file(self._page, offset, count)
        self._file.seek(offset)
        data = self._file.read(count)
        if not self._checked:
            check_segment(self._page, data, index, _ANY_SIZE)
        options = {}
        if self._keyframe.compression in JPEG_COMPRESSIONS:
            options = {"jpegtables": self._page.jpegtables}
        pixels, _, _ = self._keyframe.decode(data, index, **options)
        if pixels is None:
            raise unreadable("the TIFF is incomplete: a strip or tile has no data")
        self._kept.keep(key, pixels[0], self._most)
        return pixels[0]
