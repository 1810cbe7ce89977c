"""Turn an image of any depth into the 8-bit RGB that Segment Anything sees.

Intensities are never measured on this RGB, but on the pixels as read.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from samfleet.channels import Channels
from samfleet.images.formats.image import Image, ImageError
from samfleet.ranks import percentile_rank, values_at

_HUES = {
    "gray": (1, 1, 1),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "cyan": (0, 1, 1),
    "magenta": (1, 0, 1),
    "yellow": (1, 1, 0),
}
_OPENCV_MAPS = {
    name.removeprefix("COLORMAP_").lower(): getattr(cv2, name)
    for name in dir(cv2)
    if name.startswith("COLORMAP_")
}
COLORMAPS = (*_HUES, *sorted(_OPENCV_MAPS))

_ROWS = 512  # stretched at a time, so that the float copies stay small


@dataclass(frozen=True)
class Painter:
    """Turns pixels of one image into the RGB that SAM sees, a window at a time.

    Attributes:
        is_color: whether the channels are red, green and blue.
        colormap: one of COLORMAPS.
        channel: which channel is shown of an image that is not colour, or "max".
        limits: the values that become black and white; None if all values are equal, which is black.
        as_stored: whether the pixels are shown as they are.
    """

    is_color: bool
    colormap: str
    channel: int | str
    limits: tuple[float, float] | None = None
    as_stored: bool = False

    def paint(self, pixels: np.ndarray) -> np.ndarray:
        """What SAM sees of (height, width, channels) pixels: (height, width, 3) uint8, C-contiguous."""
        if self.as_stored:
            return np.ascontiguousarray(pixels)
        if self.is_color:
            return np.ascontiguousarray(_stretched(pixels, self.limits))
        return _colored(_stretched(_one_channel(pixels, self.channel), self.limits), self.colormap)


def find_painter(
    parts: Callable[[], Iterable[np.ndarray]],
    *,
    channels: int,
    names: Sequence[str],
    dtype: np.dtype,
    is_color: bool,
    colormap: str,
    percentiles: tuple[float, float],
    channel: int | str,
) -> Painter:
    """How an image is shown: the same whether it is read at once or in parts.

    8-bit colour stays as it is. Deeper colour is stretched between the percentiles of all three
    channels together, so that hues stay. A single channel is stretched and coloured. NaN becomes the
    darkest value; NaN and infinity do not count for the percentiles. A constant image is black.

    Args:
        parts: gives all pixels, (rows, width, channels) at a time, as often as it is called.
        channels, names, dtype, is_color: of the image.
        colormap: one of COLORMAPS.
        percentiles: the lower and the upper one, 0 to 100.
        channel: the channel to show of an image that is not colour, counted from 0 or by its name, or "max"
            for the brightest channel at each pixel.

    Raises:
        ImageError: "unsupported", the image has no channel of that number.
    """
    if is_color and dtype == np.uint8:
        return Painter(is_color, colormap, channel, as_stored=True)
    if not is_color:
        channel = _channel_number(Channels(tuple(names), channels, is_color), channel)

    def shown() -> Iterable[np.ndarray]:
        for part in parts():
            values = part if is_color else _one_channel(part, channel)
            yield values[np.isfinite(values)] if values.dtype.kind == "f" else values

    return Painter(is_color, colormap, channel, _limits(shown, dtype, percentiles))


def to_rgb(
    image: Image, *, colormap: str, percentiles: tuple[float, float], channel: int | str
) -> np.ndarray:
    """What SAM sees of an image: (height, width, 3) uint8, red first, C-contiguous.

    `find_painter` explains the arguments.

    Raises:
        ImageError: "unsupported", the image has no channel of that number.
    """
    painter = find_painter(
        lambda: [image.pixels],
        channels=image.pixels.shape[2],
        names=image.channels,
        dtype=image.pixels.dtype,
        is_color=image.is_color,
        colormap=colormap,
        percentiles=percentiles,
        channel=channel,
    )
    return painter.paint(image.pixels)


def _channel_number(channels: Channels, channel: int | str) -> int | str:
    """The number of a channel that is given by its name; a number or "max" as it is.

    Raises:
        ImageError: "unsupported", there is no channel of that name or number; an only one has every number.
    """
    if isinstance(channel, int) and 1 < channels.count <= channel:
        raise ImageError(
            "unsupported",
            f"the image has {channels.count} channels, but display.channel is {channel} (counted from 0)",
        )
    if isinstance(channel, int) or channel == "max":
        return channel
    number = channels.number(channel)
    if number is None:
        raise ImageError("unsupported", f"{channels}, but display.channel is {channel}")
    return number


def _one_channel(pixels: np.ndarray, channel: int | str) -> np.ndarray:
    """Reduce (height, width, channels) to (height, width)."""
    channels = pixels.shape[2]
    if channels == 1:
        return pixels[:, :, 0]
    if isinstance(channel, str):  # "max"
        return np.fmax.reduce(pixels, axis=2)
    return pixels[:, :, channel]


def _stretched(values: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    """Scale to uint8: 0 up to the lower limit, 255 from the upper one on; black without limits."""
    if limits is None:
        return np.zeros(values.shape, np.uint8)
    if values.dtype in (np.uint8, np.uint16):
        table = np.arange(np.iinfo(values.dtype).max + 1)
        return cv2.LUT(np.ascontiguousarray(values), _scaled(table, *limits))
    result = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _ROWS):
        result[row : row + _ROWS] = _scaled(values[row : row + _ROWS], *limits)
    return result


def _limits(
    parts: Callable[[], Iterable[np.ndarray]], dtype: np.dtype, percentiles: tuple[float, float]
) -> tuple[float, float] | None:
    """The values at the percentiles, or the extremes if those coincide; None if all are equal."""

    # Without interpolation the limits are values of the image, so that every dtype gives the same.
    def ranks(count: int) -> list[int]:
        return [*(percentile_rank(count, part) for part in percentiles), 0, count - 1]

    found = values_at(parts, dtype, ranks)
    if not found:
        return None
    low, high, least, most = found
    if low == high:
        low, high = least, most
    return None if low == high else (float(low), float(high))


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        # Halve first, since the difference of two finite doubles may be infinite.
        part = (values.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2)
    part = np.nan_to_num(np.clip(part, 0, 1), nan=0.0)
    return np.rint(part * 255).astype(np.uint8)


def _colored(grey: np.ndarray, colormap: str) -> np.ndarray:
    """Colour an 8-bit (height, width) image: (height, width, 3)."""
    if colormap == "gray":
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if colormap in _HUES:
        return np.ascontiguousarray(grey[:, :, np.newaxis] * np.array(_HUES[colormap], np.uint8))
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, np.newaxis], _OPENCV_MAPS[colormap])
    return np.ascontiguousarray(table[:, 0, ::-1][grey])
