"""From raw units to the scale of 0 to 255: which plane is measured, and what counts as white."""

import logging
import math

import numpy as np

from samfleet.config.settings import FluorescenceSettings

logger = logging.getLogger(__name__)

_DARK = 64.0
_FLOAT_WHITES = (1.0, 255.0, 65535.0, 4294967295.0)
_NAMED_PLANES = {"max": 0, "luminance": 1, "red": 2, "green": 3, "blue": 4}


def white_level(dtype: str, brightest: float) -> float:
    """The raw value that counts as 255 unless `fluorescence.white` says so.

    The largest value of an integer type, signed or not. For floating point the first of 1, 255,
    65535 and 4294967295 that is not below `brightest`, else `brightest`: most such images are
    converted integers or lie between 0 and 1.

    Args:
        dtype: name of the pixels' type.
        brightest: the brightest finite pixel of all images of this type, so that they share
            one scale.
    """
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        return float(np.iinfo(kind).max)
    return next((white for white in _FLOAT_WHITES if brightest <= white), float(brightest))


class Scale:
    """Which plane of an image is measured, and what counts as white.

    Args:
        fluorescence: the section of the configuration.
        brightest: the brightest pixel of all images by the name of their dtype.
    """

    def __init__(self, fluorescence: FluorescenceSettings, brightest: dict[str, float]):
        self.fluorescence = fluorescence
        self._brightest = brightest

    def plane(self, channels: int) -> int | None:
        """Index among the measured planes; None if the image has no such channel."""
        channel = self.fluorescence.channel
        if channels == 1 and channel in ("red", "green", "blue"):
            channel = 0  # grey is as much red as green and blue
        plane = channel + 2 if isinstance(channel, int) else _NAMED_PLANES[channel]
        return plane if plane < channels + 2 else None

    def factor(self, dtype: str) -> float:
        """What raw values are multiplied with."""
        white = self.fluorescence.white or white_level(dtype, self._brightest[dtype])
        return 255.0 / white if white > 0 else 0.0

    def warn_if_dark(self) -> None:
        """Say so when the brightest of all images of an integer type is far below white."""
        for dtype, brightest in self._brightest.items():
            if np.dtype(dtype).kind == "f" or not 0 < brightest * self.factor(dtype) < _DARK:
                continue
            suggestion = 2 ** math.ceil(math.log2(brightest + 1)) - 1
            logger.warning(
                "the brightest %s pixel of all is %g, which is %.3g on the scale of 0 to 255, so "
                "fluorescence.min_mean_intensity (%g) may drop everything. If the camera has fewer "
                "bits than the files, set\nfluorescence:\n  white: %d",
                dtype,
                brightest,
                brightest * self.factor(dtype),
                self.fluorescence.min_mean_intensity,
                suggestion,
            )
