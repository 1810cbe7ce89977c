"""The planes of a TIFF, each with all of its channels that the file has.

Metadata say which pages are channels of one plane, and they may name pages that the file does not have. The first
channels of a plane are read with a warning if the others are nowhere; channels are never taken for planes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from samfleet.images.formats.image import Limits, check_level, check_page, unsupported
from samfleet.images.formats.tiff.metadata import channel_names, side_of_pixel, when_acquired
from samfleet.images.formats.tiff.ome import OmeImage, OmeMetadata, ome_metadata
from samfleet.images.formats.tiff.pages import check_header, read_page
from samfleet.images.formats.tiff.shaped import check_channels, shaped_series
from samfleet.images.formats.tiff.stacks import PageData, Plane, Stack, listed, unknown_channels
from samfleet.images.units import scaled
from samfleet.wording import counted

_MOST_PLANES = 1_000_000
_OF_SLIDES = {"thumbnail", "label", "macro", "map"}
"""Series beside a slide that show it small, or something else."""
_COPY_OR_MASK = 1 | 4  # bits of NewSubfileType: reduced resolution, transparency mask


class TiffPlanes:
    """The planes of a TIFF that its metadata describe, or else its pages, in the order of the file.

    Args:
        opened: opens the file, perhaps with other OME metadata than those in it.
        name: of the file, by which one that belongs to a set may call itself.
        folder: where other files of its set may lie; None if they are not to be looked for.
        level: which resolution of a pyramid; 0 is the full one.

    Attributes:
        stacks: the series of planes; empty if pages are the planes.
        ome: the OME metadata, if there are any.

    Raises:
        ImageError: which pages are channels cannot be told.
    """

    def __init__(
        self,
        opened: Callable[..., tifffile.TiffFile],
        name: str = "",
        folder: Path | None = None,
        level: int = 0,
    ):
        tiff = opened()
        self.ome = ome_metadata(tiff, name, folder)
        if self.ome is not None:
            tiff = opened(omexml=self.ome.text)
            tiff.is_ome = True  # tifffile recognises only metadata that end as they should
        self.tiff = tiff
        described = _described_series(tiff)
        names: Sequence[Sequence[str]] = [channel_names(tiff)] * len(described)
        if self.ome is not None and len(self.ome.names) == len(described):
            names = self.ome.names
        self._widths = [series.keyframe.imagewidth for series in described]
        described = [_at_level(series, level) for series in described]
        stacks = [Stack(*one) for one in zip(described, names, strict=True)]
        self.numbers = [number for number, stack in enumerate(stacks) if stack.planes]
        self.stacks = [stack for stack in stacks if stack.planes]
        if self.stacks:
            self._doubts = list(_doubts(tiff, self.ome, self.stacks))
        else:
            self._doubts = [_why_pages_are_planes(tiff, self.ome)]
            # Open it again: looking for series has left pages with the layout of another page.
            self.pages = _pages(opened())
            check_level(level)

    def plane(self, page: int, limits: Limits) -> Plane:
        """Plane `page` of all; raises ImageError if there is none, or if it is too large or not supported."""
        if not self.stacks:
            return replace(_page_plane(self.pages, page, limits), warning=self._doubts[0])
        counts = [len(stack.planes) for stack in self.stacks]
        which, index = _locate(page, counts)
        elsewhere = self.ome.elsewhere if self.ome is not None else ()
        plane = self.stacks[which].plane(index, page, sum(counts), elsewhere, limits)
        doubts = filter(None, [*self._doubts, plane.warning])
        return replace(plane, warning="; ".join(doubts))

    def about(self, page: int) -> OmeImage:
        """What metadata say of the image that plane `page` belongs to."""
        if not self.stacks:
            return self._about_stack(None)
        which, _ = _locate(page, [len(stack.planes) for stack in self.stacks])
        return self._about_stack(which)

    def _about_stack(self, which: int | None) -> OmeImage:
        about = self._said_of(which)
        if which is None:
            return about
        smaller = self._widths[self.numbers[which]] / self.stacks[which].series.keyframe.imagewidth
        return replace(about, pixel_size_um=scaled(about.pixel_size_um, smaller))

    def _said_of(self, which: int | None) -> OmeImage:
        if (
            self.ome is not None
            and which is not None
            and len(self.ome.images) > self.numbers[which]
        ):
            return self.ome.images[self.numbers[which]]
        if which is None:
            names = channel_names(self.tiff) if len(self.pages) == 1 else ()
        else:
            names = self.stacks[which].names
        return OmeImage("", names, side_of_pixel(self.tiff), when_acquired(self.tiff))


def _at_level(series: tifffile.TiffPageSeries, level: int) -> tifffile.TiffPageSeries:
    """A resolution of a pyramid; the full one of what has no other."""
    levels = series.levels or [series]
    check_level(level, len(levels))
    return levels[level] if level else series


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
        series = []
    series = [one for one in series if one.name.lower() not in _OF_SLIDES] or series
    series = [one for one in series if not one.keyframe.is_reduced] or series
    if all(one.kind in ("uniform", "generic") for one in series):
        series = list(_imagej_stack(tiff)) if tiff.is_imagej else shaped_series(tiff)
    for one in series:
        if one.kind == "shaped":
            check_channels(one.keyframe)
        if one.kind in ("uniform", "generic") or not {"Y", "X"} <= set(one.axes):
            return []
    return series


def _imagej_stack(tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPageSeries]:
    """The series of an ImageJ stack of which the last planes are missing, so that tifffile finds none."""
    metadata = tiff.imagej_metadata or {}
    order = str(metadata.get("order", "czt")).lower()
    sizes = {
        axis: int(metadata.get(name, 1))
        for axis, name in (("c", "channels"), ("z", "slices"), ("t", "frames"))
    }
    pages = [page.aspage() for page in tiff.pages]
    if sizes["c"] == pages[0].samplesperpixel:
        sizes["c"] = 1
    alike = all(page.hash == pages[0].hash for page in pages)
    if sorted(order) == ["c", "t", "z"] and alike and len(pages) < math.prod(sizes.values()) <= _MOST_PLANES:  # fmt: skip
        lead = order[::-1]
        shape = (*(sizes[axis] for axis in lead), *pages[0].shape)
        axes = lead.upper() + pages[0].axes
        yield tifffile.TiffPageSeries(
            pages, shape, pages[0].dtype, axes, kind="imagej", truncated=True
        )


def _why_pages_are_planes(tiff: tifffile.TiffFile, ome: OmeMetadata | None) -> str:
    """A warning if pages are counted as planes although there are metadata that cannot be followed.

    Raises:
        ImageError: pages may be channels of one plane.
    """
    pages, samples = len(tiff.pages), tiff.pages.first.samplesperpixel
    if ome is None:
        metadata = tiff.micromanager_metadata if tiff.is_micromanager else None
        if pages > 1 and metadata and metadata.get("MajorVersion", 0) >= 2:
            raise unsupported(
                f"which of its {pages} pages are channels is written in NDTiff.index, which is not read; "
                "export the data set as OME-TIFF"
            )
        channels = int((tiff.imagej_metadata or {}).get("channels", 1)) if tiff.is_imagej else 1
        said = "its ImageJ metadata do not fit its pages"
    elif ome.kept_in:
        channels, said = 0, f"its OME metadata are in {ome.kept_in}, which is not read"
    else:
        channels, said = ome.channels or 0, "its OME metadata are damaged or do not fit its pages"
    if pages > 1 and (channels == 0 or channels > samples):
        raise unknown_channels(f"{said}, so which of its {pages} pages are channels is not known")
    if channels > samples:
        return f"{said}: they name {channels} channels, and the file has {samples}"
    return "" if ome is None and channels == 1 else said


def _doubts(tiff: tifffile.TiffFile, ome: OmeMetadata | None, stacks: list[Stack]) -> Iterator[str]:
    """Where metadata and pages disagree, for all planes of a file alike.

    Raises:
        ImageError: the channels that the file has are not the first ones, or cannot be told.
    """
    if ome is not None and ome.damaged:
        yield "its OME metadata are not well-formed and were read as far as they can be"
    if ome is not None and ome.elsewhere:
        yield f"planes of its set in other files ({listed(ome.elsewhere)}) are not read"
    else:
        if ome is not None and len(ome.names) > len(stacks):
            yield f"the metadata name {len(ome.names)} images, and the file has {len(stacks)}"
        named = sum(stack.described for stack in stacks)
        there = sum(len(stack.planes) for stack in stacks)
        if there < named:
            yield f"the metadata name {named} planes, and the file has {there}"
    kind = stacks[0].kind
    pages = [page for stack in stacks for page in stack.pages]
    if kind == "ome" and len(set(pages)) < len(pages):
        said = "its OME metadata name a page of the file for several planes"
        if any(stack.channels > tiff.pages.first.samplesperpixel for stack in stacks):
            raise unknown_channels(f"{said}, so which of its pages are channels is not known")
        yield said
    if any(stack.is_cut for stack in stacks):
        yield "the file ends before the last plane that its metadata name"
    elif kind in ("ome", "imagej", "shaped"):
        more = len(tiff.pages) - len(set(pages))
        if more > 0 and (more := more - sum(_is_copy(page) for page in tiff.pages)) > 0:
            yield f"the metadata do not say what {counted(more, 'page')} of the file are"
    if kind == "mmstack":
        metadata = tiff.micromanager_metadata or {}
        planned = int(metadata["Summary"].get("Channels", 1))
        if planned > stacks[0].channels:
            if metadata["IndexMap"][:, 0].min() > 0:
                raise unknown_channels("the file does not have the first channels of its planes")
            yield f"{planned} channels were planned, and the file has {stacks[0].channels}"


def _is_copy(page: tifffile.TiffPage | tifffile.TiffFrame) -> bool:
    """Whether a page is a smaller copy of another or its mask."""
    return bool(page.aspage().subfiletype & _COPY_OR_MASK)


def _pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The pages of a file without metadata; smaller copies of a page are not counted."""
    everything = [one.aspage() for one in tiff.pages]
    return [one for one in everything if not _is_copy(one)] or everything


def _page_plane(pages: list[tifffile.TiffPage], page: int, limits: Limits) -> Plane:
    """Plane `page` of a file without metadata."""
    depths = [one.imagedepth for one in pages]  # a page may be a volume of several planes
    which, z = _locate(page, depths)
    chosen, count = pages[which], sum(depths)
    check_header(chosen, chosen.samplesperpixel, limits)

    def read() -> np.ndarray:
        pixels = read_page(chosen, limits)
        return pixels.take(z, axis=chosen.axes.index("Z")) if "Z" in chosen.axes else pixels

    words = f"page {page} of {count}" if count > 1 else ""
    data = () if "Z" in chosen.axes else (PageData(chosen),)
    return Plane(chosen, [read], chosen.axes.replace("Z", ""), words, samples=True, pages=data)
