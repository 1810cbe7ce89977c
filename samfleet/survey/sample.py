"""Find out what kind of images a collection has, from a sample of limited size."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samfleet.brightness import NOTHING, Brightness
from samfleet.files import escape_name
from samfleet.images.formats.image import Image, ImageError, Limits
from samfleet.images.sources.source import Reading, description_of, open_source, read_plane
from samfleet.plan.collection import Collection, ScannedFile
from samfleet.planes import Plane

SAMPLE_FILES = 24
SAMPLE_BYTES = 2**30


@dataclass(frozen=True)
class Look:
    """One file of the sample.

    Attributes:
        path: relative to the collection's root, printable.
        problem: why it cannot be read; then nothing else is known about it.
        width, height, channels, dtype, is_color: of its pixels.
        holds: how many scenes, times and slices the file has, in words, if it has several; else "".
        warning: what is doubtful about what was read, in words.
        brightness: of its pixels, each being the brightest channel.
        median: of these pixels.
    """

    path: str
    problem: str = ""
    width: int = 0
    height: int = 0
    channels: int = 0
    dtype: str = ""
    is_color: bool = False
    holds: str = ""
    warning: str = ""
    brightness: Brightness = NOTHING
    median: float = math.nan

    @property
    def colors(self) -> str:
        """Its channels, in words."""
        if self.is_color:
            return "colour"
        return "grey" if self.channels == 1 else f"{self.channels} channels"


@dataclass(frozen=True)
class Survey:
    """What is known about a collection.

    Attributes:
        suffixes: how many image files there are of each suffix.
        ignored: how many other files there are of each suffix.
        looks: the files of the sample.
    """

    suffixes: Counter
    ignored: Counter
    looks: list[Look]

    @property
    def readable(self) -> list[Look]:
        """The files of the sample that can be read."""
        return [look for look in self.looks if not look.problem]

    def kinds(self, kind: Callable[[Look], str]) -> Counter:
        """How many readable files of the sample are of each kind, the most frequent first."""
        counts = Counter(map(kind, self.readable))
        return Counter(dict(counts.most_common()))

    def typical_pixels(self) -> int:
        """Width times height of the image in the middle of the sample; 0 if none can be read."""
        areas = sorted(look.width * look.height for look in self.readable)
        return areas[len(areas) // 2] if areas else 0

    def brightness(self) -> Brightness:
        """Of all readable files of the sample together."""
        return sum((look.brightness for look in self.readable), NOTHING)

    def white(self) -> float | None:
        """The value that would count as 255 if the sample were the whole collection.

        None if files differ in their type, or if all pixels are black.
        """
        dtypes = {look.dtype for look in self.readable}
        brightness = self.brightness()
        if len(dtypes) != 1 or not brightness.maximum > 0:
            return None
        (dtype,) = dtypes
        return brightness.white(dtype)

    def background(self) -> float:
        """About how bright the background is: the least median of the files; NaN if none can be read."""
        return float(np.fmin.reduce([look.median for look in self.readable], initial=math.nan))


def look_at(collection: Collection, max_pixels: int) -> Survey:
    """Read a sample of a collection's files.

    Args:
        collection: as scanned.
        max_pixels: larger images are not decoded.
    """
    suffixes = Counter(map(_suffix, collection.files))
    left, looks = SAMPLE_BYTES, []
    for file in _sample(collection.files, suffixes):
        if file.size <= left:
            left -= file.size
            looks.append(_look(collection.root, file, max_pixels))
    return Survey(suffixes, collection.ignored, looks)


def _suffix(file: ScannedFile) -> str:
    return escape_name(os.path.splitext(file.path)[1].lower()) or "no suffix"


def _sample(files: list[ScannedFile], suffixes: Iterable[str]) -> list[ScannedFile]:
    """Files of every suffix, evenly spaced, since neighbours are often alike."""
    groups = [[file for file in files if _suffix(file) == suffix] for suffix in suffixes]
    share = max(1, SAMPLE_FILES // len(groups))
    spaced = [group[:: math.ceil(len(group) / share)] for group in groups]
    return [file for group in spaced for file in group][:SAMPLE_FILES]


def _first_image(path: Path, reading: Reading) -> tuple[Image, str]:
    """The slice in the middle of the first scene and time of a file, and what the file holds if that is more."""
    source = open_source(path, reading)
    try:
        description = description_of(source)
        scenes = description.scenes
        number = next((n for n, scene in enumerate(scenes) if not scene.problem), 0)
        image = read_plane(source, Plane(number, 0, str(scenes[number].slices // 2)))
        return image, "" if description.is_one_image else description.images
    finally:
        source.close()


def _look(root: Path, file: ScannedFile, max_pixels: int) -> Look:
    name = escape_name(file.path)
    try:
        path = root / file.path
        image, holds = _first_image(path, Reading(Limits(max_pixels)))
    except (OSError, ImageError) as error:
        return Look(name, problem=str(getattr(error, "strerror", None) or error))
    height, width, channels = image.pixels.shape
    brightest = np.fmax.reduce(image.pixels, axis=2)
    finite = brightest[np.isfinite(brightest)]
    return Look(
        path=name,
        width=width,
        height=height,
        channels=channels,
        dtype=str(image.pixels.dtype),
        is_color=image.is_color,
        holds=holds,
        warning=image.warning,
        brightness=Brightness.of(brightest),
        median=float(np.median(finite)) if finite.size else math.nan,
    )
