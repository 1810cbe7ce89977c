"""Turn an image upright by the orientation that EXIF or TIFF states."""

import io

import numpy as np
import tifffile


def exif_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block, which is a small TIFF: 1 to 8, or 1 if it states none."""
    exif = exif.removeprefix(b"Exif\x00\x00")
    try:
        with tifffile.TiffFile(io.BytesIO(exif)) as tiff:
            return orientation_tag(tiff.pages.first)
    except Exception:  # the image may be intact although its EXIF is damaged
        return 1


def orientation_tag(page: tifffile.TiffPage) -> int:
    """The orientation of a TIFF page: 1 to 8, or 1 if it states none."""
    value = page.tags.valueof(274, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (height, width, ...) pixels stored with an orientation of 1 to 8 upright."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
