"""Turn an image upright, as EXIF and TIFF ask for."""

from __future__ import annotations

import io

import numpy as np
import tifffile


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block (which is a TIFF); 1 when there is none."""
    exif = exif.removeprefix(b"Exif\x00\x00")
    try:
        with tifffile.TiffFile(io.BytesIO(exif)) as tiff:
            return orientation_tag(tiff.pages.first)
    except Exception:  # damaged EXIF says nothing about the image
        return 1


def orientation_tag(page: tifffile.TiffPage) -> int:
    """The orientation, 1 to 8, that a page of a TIFF states; 1 when it states none."""
    value = page.tags.valueof(274, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (height, width, ...) as EXIF and TIFF orientations 1 to 8 ask for."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
