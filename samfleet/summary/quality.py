"""What is wrong with how images were taken, in words: saturated, empty, dark, out of focus."""

from collections.abc import Iterator, Mapping

import numpy as np

_SATURATED = 0.001
"""The share of pixels from which a warning says that they are saturated."""
_DARK = 16.0
"""A brightest pixel below this, of 255, is dark."""
_BLURRED = 0.1
"""A sharpness below this part of the collection's median is out of focus."""
_FEWEST = 5  # images whose median says something


def remarks(
    saturated: float | None, brightest: float | None, deviation: float | None
) -> Iterator[str]:
    """What one image shows by itself.

    Args:
        saturated: the share of its pixels that are.
        brightest: its brightest pixel on the scale of 0 to 255.
        deviation: the standard deviation of its pixels.
    """
    if deviation == 0:
        yield "empty: all pixels have the same value"
    elif brightest is not None and 0 <= brightest < _DARK:
        yield f"darker than the scale: its brightest pixel is at {brightest:.2g} of 255"
    if saturated is not None and saturated >= _SATURATED:
        yield f"saturated: {100 * saturated:.3g} % of the pixels have the largest value"


def sharpness(focus: float | None, deviation: float | None) -> float | None:
    """The variance of the Laplacian in units of that of the pixels, which no brightness changes."""
    return focus / deviation**2 if focus is not None and deviation else None


def out_of_focus(sharpness: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Images that are far less sharp than the others of the collection, each with words.

    Args:
        sharpness: of every image, by its id.
    """
    if len(sharpness) < _FEWEST:
        return
    median = float(np.median(list(sharpness.values())))
    for image, found in sharpness.items():
        if found < _BLURRED * median:
            yield (
                image,
                f"out of focus, it seems: {100 * found / median:.2g} % of the sharpness of the others",
            )
