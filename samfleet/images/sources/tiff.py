"""TIFF in all its variants: pages, OME (also in several files), ImageJ hyperstacks, LSM, STK, SVS, NDPI, ..."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path

import tifffile

from samfleet.images.formats.image import Image, unreadable
from samfleet.images.formats.tiff.planes import TiffPlanes
from samfleet.images.formats.tiff.reading import (
    FileBytes,
    open_tiff,
    read_plane,
    with_finite_page_list,
)
from samfleet.images.formats.tiff.stacks import Stack
from samfleet.images.formats.tiff.windows import KeptSegments, TiffWindows
from samfleet.images.sources.source import Reading
from samfleet.planes import Companion, Description, Scene


@dataclass(frozen=True)
class _StackScene:
    """A scene within a series of planes: what is fixed of its axes other than T and Z.

    Attributes:
        which: number of the stack.
        first: number of the stack's first plane among those of the file.
        others: for each other axis its position.
    """

    which: int
    first: int
    others: dict[str, int]


class TiffSource:
    """An open TIFF."""

    def __init__(self, path: Path, reading: Reading):
        self._reading, self._folder = reading, path.parent
        with path.open("rb") as file:
            view = FileBytes(file)
            data = with_finite_page_list(view)
            source = partial(io.BytesIO, data) if isinstance(data, bytes) else lambda: path
        self._open: list[tifffile.TiffFile] = []
        self._kept = KeptSegments()
        self._planes = TiffPlanes(
            partial(self._opened, source), path.name, path.parent, reading.level
        )
        self._scenes = list(_stack_scenes(self._planes.stacks))

    def _opened(self, source: object, omexml: str | None = None) -> tifffile.TiffFile:
        tiff = open_tiff(source, omexml)  # type: ignore[arg-type]
        self._open.append(tiff)
        return tiff

    @cached_property
    def description(self) -> Description:
        """What the file holds."""
        planes = self._planes
        if not planes.stacks:
            return Description(tuple(map(self._page_scene, range(len(planes.pages)))))
        scenes = tuple(map(self._stack_scene, self._scenes))
        names = planes.ome.companions if planes.ome is not None else ()
        companions = tuple(_companion(self._folder, name) for name in names)
        own = frozenset(self._own()) if companions else None
        return Description(scenes, companions, own)

    def _page_scene(self, number: int) -> Scene:
        page, about = self._planes.pages[number], self._planes.about(number)
        samples = page.samplesperpixel
        return Scene(
            slices=page.imagedepth,
            channels=about.channels if len(about.channels) == samples else ("",) * samples,
            height=page.imagelength,
            width=page.imagewidth,
            dtype=str(page.dtype or ""),
            pixel_size_um=about.pixel_size_um,
            acquired=about.acquired,
        )

    def _stack_scene(self, place: _StackScene) -> Scene:
        stack, about = self._planes.stacks[place.which], self._planes.about(place.first)
        page = stack.series.keyframe
        others = ", ".join(f"{axis}={at}" for axis, at in place.others.items())
        names = about.channels if len(about.channels) == stack.channels else ("",) * stack.channels
        return Scene(
            name=" ".join(filter(None, [about.name, others])),
            times=stack.sizes.get("T", 1),
            slices=stack.sizes.get("Z", 1),
            channels=tuple(names),
            height=page.imagelength,
            width=page.imagewidth,
            dtype=str(page.dtype or ""),
            pixel_size_um=about.pixel_size_um,
            acquired=about.acquired,
            levels=len(stack.series.levels) or 1,
        )

    def _own(self) -> Iterator[tuple[int, int, int]]:
        """The images of which this file of a set has the first plane, or the first that is there of a projection."""
        for number, place in enumerate(self._scenes):
            stack = self._planes.stacks[place.which]
            times, slices = stack.sizes.get("T", 1), stack.sizes.get("Z", 1)
            for time in range(times):
                there = [
                    (slice, plane)
                    for slice in range(slices)
                    if (plane := self._index(place, time, slice)) is not None
                ]
                for position, (slice, plane) in enumerate(there):
                    if stack.is_in(plane - place.first, self._planes.tiff):
                        yield number, time, slice
                        if position == 0:
                            yield number, time, -1

    def _index(self, place: _StackScene, time: int, slice: int) -> int | None:
        """The number of a plane among those of the file; None if it is not there."""
        stack = self._planes.stacks[place.which]
        wanted = {"T": time, "Z": slice} | place.others
        number = 0
        for axis, size in stack.sizes.items():
            number = number * size + wanted[axis]
        index = stack.index_of(number)
        return None if index is None else place.first + index

    def _there(self, scene: int, time: int, slice: int) -> int:
        """The number of a plane among those of the file; raises ImageError if it is not there."""
        if self._planes.stacks:
            number = self._index(self._scenes[scene], time, slice)
            if number is None:
                raise unreadable("this plane is not in the file, though the metadata name it")
            return number
        return sum(page.imagedepth for page in self._planes.pages[:scene]) + slice

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane."""
        page = self._there(scene, time, slice)
        return read_plane(self._planes, page, self._reading.lookup_table, self._reading.limits)

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> TiffWindows | None:
        """Windows of a plane."""
        page = self._there(scene, time, slice)
        windows = TiffWindows(self._planes, page, self._reading.lookup_table, checked, self._kept)
        return windows if windows.can_read else None

    def close(self) -> None:
        """Close the file."""
        for tiff in self._open:
            tiff.close()


def _companion(folder: Path, name: str) -> Companion:
    found = (folder / name).stat()
    return Companion(name, found.st_size, found.st_mtime_ns)


def _stack_scenes(stacks: list[Stack]) -> Iterator[_StackScene]:
    first = 0
    for which, stack in enumerate(stacks):
        others = {axis: size for axis, size in stack.sizes.items() if axis not in "TZ"}
        for places in product(*map(range, others.values())):
            yield _StackScene(which, first, dict(zip(others, places, strict=True)))
        first += len(stack.planes)
