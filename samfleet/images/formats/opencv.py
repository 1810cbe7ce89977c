"""Decode with OpenCV, whose channels are in the order blue, green, red."""

import cv2
import numpy as np

from samfleet.images.formats.image import unreadable


def decode_with_opencv(data: bytes, height: int, width: int) -> np.ndarray:
    """Decode the stored values, blue first."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise unreadable("the data are damaged")
    return pixels


def rgb_from_bgr(pixels: np.ndarray) -> np.ndarray:
    """Convert grey, BGR or BGRA pixels to three channels, red first."""
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    return pixels[:, :, 2::-1]
