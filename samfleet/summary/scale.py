"""From raw units to the scale of 0 to 255: which plane is measured, and which value is white."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from samfleet.brightness import FEW, Brightness, level
from samfleet.channels import COLORS, Channels
from samfleet.config.settings import FluorescenceSettings
from samfleet.wording import counted

logger = logging.getLogger(__name__)

_DARK = 64.0
_MEASURED_FIRST = ("max", "luminance")
"""Planes that are measured of every image, before its channels."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What all images of one type of pixels have shown.

    Attributes:
        brightness: of their pixels, each being the brightest channel.
        images: number of images.
        above: number of images with a pixel above each `level`.
        brightest: id of the image with the brightest pixel; of several, the first id; "" if none.
    """

    brightness: Brightness
    images: int
    above: tuple[int, ...]
    brightest: str

    def __add__(self, other: Seen) -> Seen:
        def rank(seen: Seen) -> tuple[float, str]:
            return -np.nan_to_num(seen.brightness.maximum, nan=-np.inf), seen.brightest

        pairs = itertools.zip_longest(self.above, other.above, fillvalue=0)
        return Seen(
            self.brightness + other.brightness,
            self.images + other.images,
            tuple(map(sum, pairs)),
            min(self, other, key=rank).brightest,
        )


class Scale:
    """Which plane of an image is measured, and which value is white.

    Args:
        fluorescence: the section of the configuration.
        seen: what the images have shown, by the name of their dtype.
    """

    def __init__(self, fluorescence: FluorescenceSettings, seen: Mapping[str, Seen]):
        self.fluorescence = fluorescence
        self.seen = seen

    def plane(self, channels: Channels) -> int | None:
        """Index among the measured planes; None if the image has no such channel."""
        channel = self.fluorescence.channel
        if channel in _MEASURED_FIRST:
            return _MEASURED_FIRST.index(channel)
        number = channel if isinstance(channel, int) else channels.number(channel)
        if number is None and channel in COLORS:
            if channels.count == 1:
                number = 0  # grey has equal parts of red, green and blue
            elif not any(channels.metadata):
                number = COLORS.index(channel)
        if number is None or number >= channels.count:
            return None
        return number + len(_MEASURED_FIRST)

    def lacks(self, channels: Channels) -> str:
        """Why an image with these channels has no `plane`, in words."""
        channel = self.fluorescence.channel
        if isinstance(channel, int) or (channel in COLORS and not any(channels.metadata)):
            found = f"the image has {counted(channels.count, 'channel')}, counted from 0"
            if str(channel) in channels.names:
                found += f'; in quotes, "{channel}", it is the name of one'
        else:
            found = str(channels)
        return f"fluorescence.channel is {channel}, but {found}"

    def white(self, dtype: str) -> float:
        """The raw value that counts as 255."""
        return self.fluorescence.white or self.seen[dtype].brightness.white(dtype)

    def factor(self, dtype: str) -> float:
        """The factor from raw values to the scale of 0 to 255."""
        return 255.0 / self.white(dtype)

    def whites(self) -> dict[str, float]:
        """White of every type of pixels that there is."""
        return {dtype: self.white(dtype) for dtype in sorted(self.seen)}

    def warn(self, path_of: Callable[[str], str], before: Mapping[str, object]) -> None:
        """Say what the pixels have decided, and how to decide it instead.

        Args:
            path_of: the printable path of an image by its id.
            before: `whites` of the last summary of these results.
        """
        if self.fluorescence.white is not None:
            self._warn_of_other_types(self.fluorescence.white)
            return
        for dtype, seen in sorted(self.seen.items()):
            if seen.brightness.maximum > 0:
                for line in self._remarks(dtype, path_of(seen.brightest), before.get(dtype)):
                    logger.warning("%s", line)

    def _warn_of_other_types(self, white: float) -> None:
        """Warn of types that cannot reach a white that others can: their images are dark for ever."""
        limits = {dtype: self._limit(dtype) for dtype in sorted(self.seen)}
        for dtype, limit in limits.items():
            if limit < white <= max(limits.values()):
                logger.warning(
                    "fluorescence.white (%s) is in force for all images, but %s pixels cannot be above %d: "
                    "give them a collection of their own",
                    *(number(white), dtype, limit),
                )

    def _limit(self, dtype: str) -> float:
        """The largest value that pixels of a type can have; of floats, 1 if all are from 0 to 1."""
        if np.dtype(dtype).kind in "iu":
            return float(np.iinfo(dtype).max)
        return 1.0 if self.seen[dtype].brightness.maximum <= 1 else np.inf

    def _remarks(self, dtype: str, brightest: str, before: object) -> Iterator[str]:
        white, maximum = self.white(dtype), self.seen[dtype].brightness.maximum
        if isinstance(before, float) and before != white:
            yield (
                f"the scale of {dtype} images has changed: {number(before)} counted as 255 in the last "
                f"summary, now it is {number(white)}, since the brightest pixel is {maximum:g} "
                f"({brightest}). All intensities of these images change with it"
            )
        if maximum * 255 / white < _DARK:
            yield (
                f"the brightest {dtype} pixel of all images is {maximum:g} ({brightest}), which is "
                f"{maximum * 255 / white:.3g} on the scale of 0 to 255: fluorescence."
                f"{' and '.join(self._limits())} may drop everything. "
                + self._pin(dtype, _smallest_white(dtype, maximum))
            )
        elif np.dtype(dtype).itemsize > 1:
            yield f"{self._choice(dtype, brightest)}. {self._pin(dtype, white)}"

    def _limits(self) -> Iterator[str]:
        """The filters that go by the scale, as they are set."""
        yield f"min_mean_intensity ({self.fluorescence.min_mean_intensity:g})"
        if self.fluorescence.min_contrast is not None:
            yield f"min_contrast ({self.fluorescence.min_contrast:g})"

    def _choice(self, dtype: str, brightest: str) -> str:
        """Which value was chosen, why, and which pixels and images are exceptions."""
        seen, white = self.seen[dtype], self.white(dtype)
        brightness, is_float = seen.brightness, np.dtype(dtype).kind == "f"
        text = f"{number(white)} counts as 255 in {counted(seen.images, f'{dtype} image')}"
        reached = f"{brightness.maximum:g} ({brightest})"
        usual = brightness.exceeded(FEW) if is_float else max(1, brightness.exceeded(FEW))
        few = brightness.above[usual] if usual < len(brightness.above) else 0
        share = f"{few} of {brightness.pixels} pixels ({100 * few / brightness.pixels:.2g} %)"
        if is_float and few:
            return f"{text}. Above it are {share}, which keep their values, up to {reached}"
        text += f", since no pixel exceeds it; the brightest is {reached}"
        if few:
            return (
                f"{text}. All but {share} are at most {level(usual)}; set that if those are faulty"
            )
        lower = len(seen.above) - 1
        if lower >= (0 if is_float else 1) and seen.above[lower] < seen.images:
            text += f". In {seen.images - seen.above[lower]} of them none exceeds {level(lower)}"
        return text

    def _pin(self, dtype: str, white: float) -> str:
        """What to do in order that images that are added, or other plates, have the same scale."""
        others = sorted(self.seen.keys() - {dtype})
        if others:
            return (
                f"Other images can change that. fluorescence.white would be in force for "
                f"{' and '.join(others)} as well: set it in a collection of {dtype} images alone"
            )
        return (
            "Other images can change that. For one scale, also for other plates of the same camera, "
            f"set\nfluorescence:\n  white: {number(white)}"
        )


def _smallest_white(dtype: str, maximum: float) -> float:
    """The smallest value that suits so dark a collection: all bits set, or for floats any number."""
    if np.dtype(dtype).kind == "f":
        return float(f"{maximum:.2g}")
    return 2.0 ** int(maximum).bit_length() - 1


def number(value: float) -> str:
    """A value of pixels as YAML."""
    return str(int(value)) if value.is_integer() and value < 2**53 else repr(value)
