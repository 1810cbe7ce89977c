"""Find where an image shows more than background, to leave out prompts that cannot find anything."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_BINS = 64  # of a colour histogram, for each channel
# Objects are assumed to cover at most four fifths of an image. So the fifth of the pixels nearest to the
# background's colour is noise, whose absolute value is 0.253 sigma at the 20th percentile if it is normal.
_NOISE_PERCENTILE, _NOISE_SIGMAS = 20, 0.253
_SIGMAS = 3.0
_LEAST_CONTRAST = 2.0  # of 255: what JPEG adds to a flat background
_MOST_CONTRAST = 40.0  # of 255: if noise can hide more than this, there is no clear background


@dataclass(frozen=True, eq=False)
class Background:
    """The background of an image: its most frequent colour, with any look-up table, and its noise.

    Attributes:
        color: (3,) float32.
        noise: pixels that differ from the colour by more than this are foreground, of 255; below 0 if
            there is no clear background, because the image is inverted, full of objects, or very noisy.
    """

    color: np.ndarray
    noise: float

    @classmethod
    def of(cls, blurred: np.ndarray) -> Background:
        """The background of (rows, columns, 3) uint8 pixels, which ``blur`` has returned."""
        color = _most_frequent_color(blurred)
        noise = np.percentile(_contrast(blurred, color), _NOISE_PERCENTILE) / _NOISE_SIGMAS
        noise = max(_LEAST_CONTRAST, _SIGMAS * noise)
        if noise > _MOST_CONTRAST or color.max() > blurred.max(axis=2).mean():
            noise = -1.0
        return cls(color, float(noise))

    @property
    def is_clear(self) -> bool:
        """Whether anything can be told from it."""
        return self.noise >= 0

    def differs(self, pixels: np.ndarray) -> np.ndarray:
        """Which of (..., 3) pixels are foreground."""
        return _contrast(pixels, self.color) > self.noise


class Foreground:
    """Tells which points of an image have something near them that differs from the background.

    Args:
        rgb: (height, width, 3) uint8.
        longest_side: pixels. A larger image is scaled to this size, at which the model sees it.
        background: that of the image of which this is a part; None for its own.
    """

    def __init__(
        self, rgb: np.ndarray, longest_side: int, background: Background | None = None
    ) -> None:
        self._size = rgb.shape[:2]
        blurred = blur(rgb, longest_side)
        background = background or Background.of(blurred)
        self._counts = cv2.integral(background.differs(blurred).astype(np.uint8))

    def is_in_cells(self, grid: np.ndarray, crop_box: list[int]) -> np.ndarray:
        """Whether each prompt of a crop has foreground in its cell of the prompt grid.

        Args:
            grid: (n, 2), x and y from 0 to 1, a square grid over the crop.
            crop_box: x0, y0, x1, y1 of the crop in the image.

        Returns:
            (n,) bool.
        """
        corner, end = np.reshape(crop_box, (2, 2))
        return self.is_near(grid * (end - corner) + corner, (end - corner) / (2 * len(grid) ** 0.5))

    def is_near(self, points: np.ndarray, reach: tuple[float, float] | np.ndarray) -> np.ndarray:
        """Whether each point has foreground within reach.

        Args:
            points: (n, 2), x and y in pixels of the image.
            reach: how far to look to the left and right, and up and down, in pixels.

        Returns:
            (n,) bool.
        """
        height, width = (n - 1 for n in self._counts.shape)
        scale = np.array([width / self._size[1], height / self._size[0]])
        low = np.floor((points - reach) * scale).astype(int)
        high = np.ceil((points + reach) * scale).astype(int)
        x0, y0 = np.clip(low, 0, [width, height]).T
        x1, y1 = np.clip(high, 0, [width, height]).T
        counts = self._counts
        return counts[y1, x1] - counts[y0, x1] - counts[y1, x0] + counts[y0, x0] > 0


def blur(rgb: np.ndarray, longest_side: int) -> np.ndarray:
    """An image at the size at which the model sees it, without the noise of single pixels.

    Args:
        rgb: (height, width, 3) uint8.
        longest_side: pixels; a larger image is scaled to this size.
    """
    scale = longest_side / max(rgb.shape[:2])
    if scale < 1:
        height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(rgb, (0, 0), 1)


def _contrast(pixels: np.ndarray, color: np.ndarray) -> np.ndarray:
    return np.abs(pixels - color).max(axis=-1)


def _most_frequent_color(rgb: np.ndarray) -> np.ndarray:
    """The mean colour, (3,) float32, of the fullest bin of the colour histogram."""
    histogram = cv2.calcHist([rgb], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3)
    bin_size = 256 // _BINS
    lowest = np.array(np.unravel_index(histogram.argmax(), histogram.shape)) * bin_size
    inside = ((rgb >= lowest) & (rgb < lowest + bin_size)).all(axis=2)
    return rgb[inside].mean(axis=0, dtype=np.float32)
