"""The plane of a TIFF that `page` selects, with all of its channels."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tifffile

from samfleet.images.formats.image import Limits, only_page, unreadable, unsupported
from samfleet.images.formats.tiff.pages import check_tiff_page, read_contiguous, read_tiff_page

_COPY_OR_MASK = 1 | 4  # bits of NewSubfileType: at reduced resolution, transparency mask


@dataclass(frozen=True)
class Plane:
    """One plane of a TIFF: arrays to stack along the channel axis, with their axes."""

    keyframe: tifffile.TiffPage
    parts: list[Callable[[], np.ndarray]]
    axes: str  # of each part: Y, X and channels
    words: str
    samples: bool  # the channels are samples of one page, to which its colour model applies


def tiff_plane(tiff: tifffile.TiffFile, data: bytes, page: int, limits: Limits) -> Plane:
    """The plane that `page` selects, among those that the metadata or else the pages list."""
    series = _described_series(tiff)
    if not series:
        # Opened anew: looking for series leaves pages that took their layout from another.
        return _page_plane(tifffile.TiffFile(io.BytesIO(data)), page, limits)
    counts = [math.prod(_plane_sizes(one)) for one in series]
    only_page(page, "the file", sum(counts))
    index = page
    for one, count in zip(series, counts, strict=True):
        if index < count:
            return _series_plane(one, index, page, sum(counts), limits)
        index -= count
    raise AssertionError("unreachable")


def _described_series(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """The series that the file's metadata describe; empty if it has none that can be trusted."""
    try:
        series = [one for one in tiff.series if math.prod(one.shape)]
    except Exception:  # metadata that make no sense: the pages themselves are still there
        return []
    series = [one for one in series if not one.keyframe.is_reduced] or series
    for one in series:
        if one.kind in ("uniform", "generic") or any(page is None for page in one.pages):
            return []
        if "Y" not in one.axes or "X" not in one.axes:
            return []
    return series


def _plane_sizes(series: tifffile.TiffPageSeries) -> tuple[int, ...]:
    """Lengths of the axes along which `page` counts: all but Y, X and channels."""
    return tuple(n for a, n in zip(series.axes, series.shape, strict=True) if a not in "YXCS")


def _series_plane(
    series: tifffile.TiffPageSeries, index: int, page: int, pages: int, limits: Limits
) -> Plane:
    """Plane `index` of a series, with all of its channels."""
    axes, shape, keyframe = series.axes, series.shape, series.keyframe
    channels = math.prod(n for a, n in zip(axes, shape, strict=True) if a in "CS")
    check_tiff_page(keyframe, channels, limits)
    count = math.prod(shape) // math.prod(keyframe.shape)
    lead = 0  # axes along which the pages of the file run; the others lie within a page
    while math.prod(shape[:lead]) < count:
        lead += 1
    if math.prod(shape[:lead]) != count or set(axes[:lead]) & set("YX"):
        raise unsupported(f"axes {axes} that are not a stack of pages are not read")
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
    # LSM calls any three channels RGB.
    samples = len(parts) == 1 and series.kind != "lsm"
    return Plane(keyframe, parts, rest, words if pages > 1 else "", samples)


def _page_reader(
    series: tifffile.TiffPageSeries, count: int, limits: Limits
) -> Callable[[int], np.ndarray]:
    """A function that reads page `number` of a series that may have one header for all pages."""
    if len(series.pages) >= count:
        return lambda number: read_tiff_page(series.pages[number], limits)
    keyframe = series.keyframe
    offset = series.dataoffset
    if offset is None or not keyframe.is_contiguous or keyframe.predictor != 1 or keyframe.fillorder != 1:  # fmt: skip
        raise unreadable(f"the TIFF has {len(series.pages)} of {count} pages")
    return lambda number: read_contiguous(keyframe, offset + number * keyframe.nbytes)


def _page_plane(tiff: tifffile.TiffFile, page: int, limits: Limits) -> Plane:
    """Page `page` of a file without metadata; smaller copies of a page are not counted."""
    pages = [one for one in tiff.pages if not one.subfiletype & _COPY_OR_MASK] or list(tiff.pages)
    count = sum(one.imagedepth for one in pages)
    only_page(page, "the file", count)
    z = page  # a page may be a volume: its depths are counted one by one
    for chosen in pages:
        if z < chosen.imagedepth:
            break
        z -= chosen.imagedepth
    check_tiff_page(chosen, chosen.samplesperpixel, limits)

    def read() -> np.ndarray:
        pixels = read_tiff_page(chosen, limits)
        return pixels.take(z, axis=chosen.axes.index("Z")) if "Z" in chosen.axes else pixels

    words = f"page {page} of {count}" if count > 1 else ""
    if tiff.is_ome and "FileName=" in (tiff.ome_metadata or ""):
        words = f"page {page} of {count} in this file; its OME metadata name planes in other files"
    return Plane(chosen, [read], chosen.axes.replace("Z", ""), words, samples=True)
