"""Find the plane of a TIFF that `page` selects, with all of its channels."""

import io
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tifffile

from samfleet.images.formats.image import Limits, check_page, unreadable, unsupported
from samfleet.images.formats.tiff.pages import check_header, read_contiguous, read_page

_COPY_OR_MASK = 1 | 4  # bits of NewSubfileType: reduced resolution, transparency mask


@dataclass(frozen=True)
class Plane:
    """One plane of a TIFF.

    Attributes:
        keyframe: the page that states the layout and the colour model.
        parts: functions that each read an array; the arrays are joined along the channels.
        axes: of each part: Y, X and channels.
        words: which plane this is, for `Image.plane`.
        samples: whether the channels are the samples of one page, so that its colour model applies.
    """

    keyframe: tifffile.TiffPage
    parts: list[Callable[[], np.ndarray]]
    axes: str
    words: str
    samples: bool


def find_plane(tiff: tifffile.TiffFile, data: bytes, page: int, limits: Limits) -> Plane:
    """Find plane `page` among the planes that the metadata describe, or else among the pages."""
    series = _described_series(tiff)
    if not series:
        # Open it again: looking for series has left pages with the layout of another page.
        return _page_plane(tifffile.TiffFile(io.BytesIO(data)), page, limits)
    counts = [math.prod(_plane_sizes(one)) for one in series]
    which, index = _locate(page, counts)
    return _series_plane(series[which], index, page, sum(counts), limits)


def _locate(page: int, counts: list[int]) -> tuple[int, int]:
    """Which of several stacks of so many planes holds plane `page`, and where in that stack."""
    check_page(page, sum(counts))
    which = 0
    while page >= counts[which]:
        page -= counts[which]
        which += 1
    return which, page


def _described_series(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """The series that the metadata describe; empty if there are none or they are implausible."""
    try:
        series = [one for one in tiff.series if math.prod(one.shape)]
    except Exception:  # the metadata are nonsense, but the pages may be intact
        return []
    series = [one for one in series if not one.keyframe.is_reduced] or series
    for one in series:
        if one.kind in ("uniform", "generic") or any(page is None for page in one.pages):
            return []
        if "Y" not in one.axes or "X" not in one.axes:
            return []
    return series


def _plane_sizes(series: tifffile.TiffPageSeries) -> tuple[int, ...]:
    """The lengths of the axes along which `page` counts: all but Y, X and channels."""
    return tuple(n for a, n in zip(series.axes, series.shape, strict=True) if a not in "YXCS")


def _series_plane(
    series: tifffile.TiffPageSeries, index: int, page: int, pages: int, limits: Limits
) -> Plane:
    """Plane `index` of a series, with all of its channels."""
    axes, shape, keyframe = series.axes, series.shape, series.keyframe
    channels = math.prod(n for a, n in zip(axes, shape, strict=True) if a in "CS")
    check_header(keyframe, channels, limits)
    count = math.prod(shape) // math.prod(keyframe.shape)
    lead = 0  # the number of leading axes that run over pages; the others lie within a page
    while math.prod(shape[:lead]) < count:
        lead += 1
    if math.prod(shape[:lead]) != count or set(axes[:lead]) & set("YX"):
        raise unsupported(f"the axes {axes} are not supported: they do not form a stack of pages")
    place = iter(np.unravel_index(index, _plane_sizes(series) or (1,)))
    chosen = [None if a in "YXCS" else int(next(place)) for a in axes]
    numbers = [
        int(np.ravel_multi_index(at, shape[:lead])) if lead else 0
        for at in itertools.product(
            *(range(n) if at is None else [at] for at, n in zip(chosen[:lead], shape, strict=False))
        )
    ]
    inner = tuple(slice(None) if at is None else at for at in chosen[lead:])
    read = _page_reader(series, count, limits)
    parts = [lambda number=number: read(number).reshape(shape[lead:])[inner] for number in numbers]
    named = [f"{a}={at}" for a, at in zip(axes, chosen, strict=True) if at is not None]
    words = f"page {page} of {pages} ({', '.join(named)})" if named else f"page {page} of {pages}"
    rest = "".join(a for a, at in zip(axes[lead:], chosen[lead:], strict=True) if at is None)
    # LSM files call any three channels RGB.
    samples = len(parts) == 1 and series.kind != "lsm"
    return Plane(keyframe, parts, rest, words if pages > 1 else "", samples)


def _page_reader(
    series: tifffile.TiffPageSeries, count: int, limits: Limits
) -> Callable[[int], np.ndarray]:
    """A function that reads page `number` of a series, even if all pages share one header."""
    if len(series.pages) >= count:
        return lambda number: read_page(series.pages[number], limits)
    keyframe = series.keyframe
    offset = series.dataoffset
    if offset is None or not keyframe.is_contiguous or keyframe.predictor != 1 or keyframe.fillorder != 1:  # fmt: skip
        raise unreadable(f"the TIFF has {len(series.pages)} of {count} pages")
    return lambda number: read_contiguous(keyframe, offset + number * keyframe.nbytes)


def _page_plane(tiff: tifffile.TiffFile, page: int, limits: Limits) -> Plane:
    """Plane `page` of a file without metadata; smaller copies of a page are not counted."""
    pages = [one for one in tiff.pages if not one.subfiletype & _COPY_OR_MASK] or list(tiff.pages)
    depths = [one.imagedepth for one in pages]  # a page may be a volume of several planes
    which, z = _locate(page, depths)
    chosen, count = pages[which], sum(depths)
    check_header(chosen, chosen.samplesperpixel, limits)

    def read() -> np.ndarray:
        pixels = read_page(chosen, limits)
        return pixels.take(z, axis=chosen.axes.index("Z")) if "Z" in chosen.axes else pixels

    words = f"page {page} of {count}" if count > 1 else ""
    if tiff.is_ome and "FileName=" in (tiff.ome_metadata or ""):
        words = f"page {page} of {count} in this file; its OME metadata name planes in other files"
    return Plane(chosen, [read], chosen.axes.replace("Z", ""), words, samples=True)
