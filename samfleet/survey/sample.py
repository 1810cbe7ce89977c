"""Find out what kind of images a collection has, from a sample of limited size."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samfleet.files import escape_name
from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import ImageError
from samfleet.plan.collection import Collection, ScannedFile

SAMPLE_FILES = 24
SAMPLE_BYTES = 2**30
USUAL_WHITES = (255, 1023, 4095, 16383, 65535)
"""Brightest values of cameras with 8, 10, 12, 14 and 16 bits."""


@dataclass(frozen=True)
class Look:
    """One file of the sample.

    Attributes:
        path: relative to the collection's root, printable.
        problem: why it cannot be read; then nothing else is known about it.
        width, height, channels, dtype, is_color: of its pixels.
        plane: which plane was read, in words, if the file has several pages; else "".
        warning: what is doubtful about what was read, in words.
        brightest: the largest value of its pixels.
    """

    path: str
    problem: str = ""
    width: int = 0
    height: int = 0
    channels: int = 0
    dtype: str = ""
    is_color: bool = False
    plane: str = ""
    warning: str = ""
    brightest: float = 0.0

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

    def white(self) -> int | None:
        """The largest value of the camera's bit depth, if that is smaller than the type of the pixels.

        None if it is not smaller, if the type is not an integer type, or if files differ in it.
        """
        dtypes = [np.dtype(name) for name in {look.dtype for look in self.readable}]
        if len(dtypes) != 1 or dtypes[0].kind not in "iu":
            return None
        brightest = max(look.brightest for look in self.readable)
        white = next((white for white in USUAL_WHITES if white >= brightest), math.inf)
        return int(white) if white < np.iinfo(dtypes[0]).max else None


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


def _look(root: Path, file: ScannedFile, max_pixels: int) -> Look:
    name = escape_name(file.path)
    try:
        path = root / file.path
        image = decode_image(path.read_bytes(), max_pixels=max_pixels, name=path.name)
    except (OSError, ImageError) as error:
        return Look(name, problem=str(getattr(error, "strerror", None) or error))
    height, width, channels = image.pixels.shape
    known = image.pixels[np.isfinite(image.pixels)]
    return Look(
        path=name,
        width=width,
        height=height,
        channels=channels,
        dtype=str(image.pixels.dtype),
        is_color=image.is_color,
        plane=image.plane,
        warning=image.warning,
        brightest=float(known.max()) if known.size else 0.0,
    )
