"""Turn an image of any depth into the 8-bit RGB that Segment Anything sees.

Nothing is measured on it: intensities are taken from the pixels as read.
"""

from __future__ import annotations

import cv2
import numpy as np

from samfleet.images.formats import Image, ImageError

# A linear grey ramp adds no edges of its own, and SAM's three channels then say the same thing.
DEFAULT_COLORMAP = "gray"
# The brightest thousandth is dead pixels and debris, the darkest likewise; objects of sparse
# fluorescence cover more than that (a spot of 12 x 12 pixels in 340 x 340 is already 0.12 %).
DEFAULT_PERCENTILES = (0.1, 99.9)

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

_ROWS = 512  # rows that are stretched at a time, so that float copies stay small


def to_rgb(
    image: Image,
    *,
    colormap: str = DEFAULT_COLORMAP,
    percentiles: tuple[float, float] = DEFAULT_PERCENTILES,
    channel: int | str = "max",
) -> np.ndarray:
    """What SAM sees: (height, width, 3) uint8, red first, C-contiguous.

    8-bit colour passes as it is. Deeper colour is stretched between the percentiles of all three
    channels together, so that hues stay. One channel is stretched and coloured with `colormap`;
    of several channels that are not colour, `channel` is taken: a number, or "max", the brightest
    of them at each pixel. NaN counts as darkest and has no part in the percentiles, nor has
    infinity. A constant image is darkest everywhere.

    Args:
        image: as decode_image returns it.
        colormap: one of COLORMAPS: "gray", "red", "green", "blue", "cyan", "magenta", "yellow" or
            the name of an OpenCV map such as "hot" or "viridis".
        percentiles: lower and upper, 0 <= lower < upper <= 100.
        channel: "max" or a channel number from 0.

    Raises:
        ValueError: an unknown colormap, channel name or wrong percentiles.
        ImageError: "unsupported", the image has no channel of that number.
    """
    _check_settings(colormap, percentiles, channel)
    pixels = image.pixels
    if image.is_color:
        rgb = pixels if pixels.dtype == np.uint8 else _stretched(pixels, percentiles)
        return np.ascontiguousarray(rgb)
    return _colored(_stretched(_one_channel(pixels, channel), percentiles), colormap)


def _check_settings(colormap: str, percentiles: tuple[float, float], channel: int | str) -> None:
    if colormap not in COLORMAPS:
        raise ValueError(f"unknown colormap {colormap!r}; known are {', '.join(COLORMAPS)}")
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles must be 0 <= lower < upper <= 100, not {low} and {high}")
    if channel != "max" and (not isinstance(channel, int) or channel < 0):
        raise ValueError(f'channel must be "max" or a number from 0, not {channel!r}')


def _one_channel(pixels: np.ndarray, channel: int | str) -> np.ndarray:
    """(height, width) of (height, width, channels)."""
    channels = pixels.shape[2]
    if channels == 1:
        return pixels[:, :, 0]
    if channel == "max":
        return np.fmax.reduce(pixels, axis=2)
    if channel >= channels:
        raise ImageError(
            "unsupported", f"channel {channel} was asked for, but the image has {channels}"
        )
    return pixels[:, :, channel]


def _stretched(values: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """uint8 of the same shape: 0 at the lower percentile and below, 255 at the upper and above."""
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
    """Values at the percentiles; the extremes where these coincide; None if constant or empty."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return None
    # Values that occur, no interpolation: the same for every dtype.
    low, high = np.percentile(values, percentiles, method="inverted_cdf").tolist()
    if low == high:
        low, high = values.min().item(), values.max().item()
    return None if low == high else (float(low), float(high))


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        # Halved first: the difference of two finite doubles may be infinite.
        part = (values.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2)
    part = np.nan_to_num(np.clip(part, 0, 1), nan=0.0)
    return np.rint(part * 255).astype(np.uint8)


def _colored(grey: np.ndarray, colormap: str) -> np.ndarray:
    """(height, width, 3) of an 8-bit (height, width)."""
    if colormap in _HUES:
        return np.ascontiguousarray(grey[:, :, np.newaxis] * np.array(_HUES[colormap], np.uint8))
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, np.newaxis], _OPENCV_MAPS[colormap])
    return np.ascontiguousarray(table[:, 0, ::-1][grey])
