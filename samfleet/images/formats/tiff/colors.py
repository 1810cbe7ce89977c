"""Turn the samples of a TIFF into grey, RGB or channels by its colour model."""

import numpy as np
import tifffile

from samfleet.images.formats.image import unreadable
from samfleet.images.formats.tiff.kinds import MINISBLACK, MINISWHITE, PALETTE, RGB, YCBCR

_ALPHA = {1, 2}  # associated (premultiplied) and unassociated


def apply_color_model(
    page: tifffile.TiffPage, pixels: np.ndarray, samples: bool
) -> tuple[np.ndarray, bool]:
    """Apply the colour model to (height, width, channels) pixels and drop alpha.

    Args:
        page: where the colour model is stated.
        pixels: as decoded.
        samples: whether the channels are the samples of one page.

    Returns:
        The pixels, and whether they are red, green and blue.
    """
    photometric = page.photometric
    if 262 not in page.tags:  # not stated: guess it as libtiff does
        photometric = RGB if page.samplesperpixel - len(page.extrasamples) == 3 else MINISBLACK
    samples = samples and pixels.shape[2] == page.samplesperpixel
    if samples:
        pixels = pixels[:, :, _without_alpha(page, photometric)]
    if photometric == PALETTE and samples:
        return _apply_palette(page, pixels[:, :, 0])
    if photometric == MINISWHITE:
        pixels = _inverted(pixels, page.bitspersample)
    is_color = photometric in (RGB, YCBCR) and samples and pixels.shape[2] == 3
    return _full_range(pixels, page.bitspersample), is_color


def _without_alpha(page: tifffile.TiffPage, photometric: int) -> list[int]:
    """The numbers of the samples that are not alpha."""
    samples = page.samplesperpixel
    extra = [int(value) for value in page.extrasamples or ()]
    if photometric == RGB and samples == 4 and extra in ([], [0]):
        extra = [2]  # other readers take one unnamed sample beside RGB for alpha too
    first = samples - len(extra)
    return [i for i in range(samples) if i < first or extra[i - first] not in _ALPHA]


def _apply_palette(page: tifffile.TiffPage, index: np.ndarray) -> tuple[np.ndarray, bool]:
    """Look up the colours: in 8 bits if that is exact, in one channel if all entries are grey."""
    palette = page.colormap
    if palette is None or palette.ndim != 2 or palette.shape[0] != 3:
        raise unreadable("the TIFF has no palette")
    if index.dtype.kind not in "bu" or (index.size and int(index.max()) >= palette.shape[1]):
        raise unreadable("pixels of the TIFF refer to colours that are not in its palette")
    index = index.astype(np.uint8) if index.dtype.kind == "b" else index
    high, low = palette >> 8, palette & 0xFF
    if not high.any():
        palette = low.astype(np.uint8)  # some writers store 8-bit values in the 16 bits
    elif not low.any() or np.array_equal(low, high):
        palette = high.astype(np.uint8)
    if (palette == palette[0]).all():
        return palette[0][index], False
    return palette.T[index], True


def _inverted(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Turn min-is-white into min-is-black within the range of the bits; floats have no such range."""
    if pixels.dtype.kind == "f":
        return pixels
    if pixels.dtype.kind == "u" and bits < 8 * pixels.dtype.itemsize:
        return pixels.dtype.type(2**bits - 1) - pixels
    return ~pixels


def _full_range(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Scale 1, 2 and 4 bits to the full range of 8 bits, as PNG readers do."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8 and bits in (2, 4):
        return pixels * np.uint8(255 // (2**bits - 1))
    return pixels
