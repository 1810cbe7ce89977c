"""Decode with OpenCV, which puts blue before red."""

from __future__ import annotations

import cv2
import numpy as np

from samfleet.images.formats.image import unreadable


def decode_with_opencv(data: bytes, height: int, width: int) -> np.ndarray:
    """Decode as stored, blue before red; raises unreadable."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise unreadable(f"OpenCV: {error.err}") from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise unreadable("the data are damaged")
    return pixels


def rgb_from_bgr(pixels: np.ndarray) -> np.ndarray:
    """Three channels, red first, of (height, width), BGR or BGRA."""
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    return pixels[:, :, 2::-1]
