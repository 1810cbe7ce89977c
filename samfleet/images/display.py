"""Turn an image of any depth into the 8-bit RGB that Segment Anything sees.

Intensities are never measured on this RGB, but on the pixels as read.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from samfleet.images.formats.image import Image, ImageError

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


def to_rgb(
    image: Image, *, colormap: str, percentiles: tuple[float, float], channel: int | str
) -> np.ndarray:
    """Return what SAM sees: (height, width, 3) uint8, red first, C-contiguous.

    8-bit colour stays as it is. Deeper colour is stretched between the percentiles of all three
    channels together, so that hues stay. A single channel is stretched and coloured. NaN becomes the
    darkest value; NaN and infinity do not count for the percentiles. A constant image is black.

    Args:
        image: as `decode_image` returns it.
        colormap: one of COLORMAPS.
        percentiles: the lower and the upper one, 0 to 100.
        channel: the channel to show of an image that is not colour, counted from 0 or by its name, or "max"
            for the brightest channel at each pixel.

    Raises:
        ImageError: "unsupported", the image has no channel of that number.
    """
    pixels = image.pixels
    if image.is_color:
        rgb = pixels if pixels.dtype == np.uint8 else _stretched(pixels, percentiles)
        return np.ascontiguousarray(rgb)
    number = channel_number(image.channels, channel)
    return _colored(_stretched(_one_channel(pixels, number), percentiles), colormap)


def channel_number(names: Sequence[str], channel: int | str) -> int | str:
    """The number of a channel that is given by its name; a number or "max" as it is.

    Raises:
        ImageError: "unsupported", there is no channel of that name.
    """
    if isinstance(channel, int) or channel == "max":
        return channel
    if channel not in names:
        known = ", ".join(filter(None, names)) or "no names"
        raise ImageError(
            "unsupported", f"the channels are called {known}, but display.channel is {channel}"
        )
    return list(names).index(channel)


def _one_channel(pixels: np.ndarray, channel: int | str) -> np.ndarray:
    """Reduce (height, width, channels) to (height, width)."""
    channels = pixels.shape[2]
    if channels == 1:
        return pixels[:, :, 0]
    if isinstance(channel, str):  # "max"
        return np.fmax.reduce(pixels, axis=2)
    if channel >= channels:
        raise ImageError(
            "unsupported",
            f"the image has {channels} channels, but display.channel is {channel} (counted from 0)",
        )
    return pixels[:, :, channel]


def _stretched(values: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """Scale to uint8: 0 up to the lower percentile, 255 from the upper percentile on."""
    limits = _limits(values, percentiles)
    if limits is None:
        return np.zeros(values.shape, np.uint8)
    if values.dtype in (np.uint8, np.uint16):
        table = np.arange(np.iinfo(values.dtype).max + 1)
        return _scaled(table, *limits)[values]
    result = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _ROWS):
        result[row : row + _ROWS] = _scaled(values[row : row + _ROWS], *limits)
    return result


def _limits(values: np.ndarray, percentiles: tuple[float, float]) -> tuple[float, float] | None:
    """The values at the percentiles, or the extremes if those coincide; None if all are equal."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return None
    # Without interpolation the limits are values of the image, so that every dtype gives the same.
    low, high = np.percentile(values, percentiles, method="inverted_cdf").tolist()
    if low == high:
        low, high = values.min().item(), values.max().item()
    return None if low == high else (float(low), float(high))


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        # Halve first, since the difference of two finite doubles may be infinite.
        part = (values.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2)
    part = np.nan_to_num(np.clip(part, 0, 1), nan=0.0)
    return np.rint(part * 255).astype(np.uint8)


def _colored(grey: np.ndarray, colormap: str) -> np.ndarray:
    """Colour an 8-bit (height, width) image: (height, width, 3)."""
    if colormap in _HUES:
        return np.ascontiguousarray(grey[:, :, np.newaxis] * np.array(_HUES[colormap], np.uint8))
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, np.newaxis], _OPENCV_MAPS[colormap])
    return np.ascontiguousarray(table[:, 0, ::-1][grey])
