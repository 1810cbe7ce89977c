"""Draw the outlines of objects on images, to look at."""

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from samfleet.exports.source import Kind, Source
from samfleet.opened.masks import MASK_COLUMNS, Region, region_of
from samfleet.reduction import fitted

LONGEST_SIDE = 4096
"""A longer side of an image is scaled down to so many pixels."""

_GOLDEN_ANGLE = 0.381966  # of a turn, so that consecutive numbers get very different hues
_BAR = 0.2  # of the width, at most


def draw_outlines(rgb: np.ndarray, regions: Sequence[Region], scale: float = 1) -> np.ndarray:
    """A copy of an image with a coloured outline around each mask.

    Args:
        rgb: (height, width, 3) uint8.
        regions: the masks, in pixels of the unscaled image.
        scale: by which the image was scaled.
    """
    drawn = rgb.copy()
    for number, region in enumerate(regions):
        hue = colorsys.hsv_to_rgb(number * _GOLDEN_ANGLE % 1, 0.75, 1)
        color = tuple(round(255 * part) for part in hue)
        contours, _ = cv2.findContours(
            region.pixels.astype(np.uint8),
            cv2.RETR_EXTERNAL,
            cv2.CHAIN_APPROX_NONE,
            offset=(region.x, region.y),
        )
        if scale != 1:
            contours = [np.floor((c + 0.5) * scale).astype(np.int32) for c in contours]
        cv2.drawContours(drawn, contours, -1, color, 1)
    return drawn


def draw_scale_bar(rgb: np.ndarray, pixel_size: float) -> None:
    """Draw a bar of a round length into the corner at the bottom right of an image.

    Args:
        rgb: (height, width, 3) uint8.
        pixel_size: µm.
    """
    height, width = rgb.shape[:2]
    length = round_length(_BAR * width * pixel_size)
    text = f"{length:g} µm" if length >= 1 else f"{length * 1000:g} nm"
    font, size = cv2.FontFace("sans"), max(10, min(height, width) // 30)
    margin, thick = size // 2, max(2, size // 6)
    right, bottom = width - margin, height - margin
    left = right - max(1, round(length / pixel_size))
    (_, _, text_width, _), _ = cv2.getTextSize((width, height), text, (0, 0), font, size), None
    place = (max(0, min((left + right - text_width) // 2, width - text_width)), bottom - thick - 4)
    for grow, color in ((2, (0, 0, 0)), (0, (255, 255, 255))):
        corners = (left - grow, bottom - thick - grow), (right - 1 + grow, bottom - 1 + grow)
        cv2.rectangle(rgb, *corners, color, cv2.FILLED)
    for x, y, color in ((1, 1, (0, 0, 0)), (0, 0, (255, 255, 255))):
        cv2.putText(rgb, text, (place[0] + x, place[1] + y), color, font, size)


def round_length(longest: float) -> float:
    """The longest of 1, 2, 5, 10, 20, 50, … (and 0.5, 0.2, …) that is no longer than this."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= longest or factor == 1)


def _write(path: Path, source: Source) -> None:
    assert source.read is not None
    scale = min(1, LONGEST_SIDE / max(source.read.size))
    rgb = fitted(source.read, LONGEST_SIDE)
    drawn = draw_outlines(rgb, [region_of(row) for row in source.objects], scale)
    if source.image.pixel_size:
        draw_scale_bar(drawn, source.image.pixel_size / scale)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())


OVERLAYS = Kind("overlays", MASK_COLUMNS, {".png": _write}, needs_pixels=True)
"""PNGs with the outlines of objects."""
