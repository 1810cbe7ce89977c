"""Turn the samples of a TIFF into grey, RGB or channels by its colour model."""

import numpy as np
import tifffile

from samfleet.images.formats.image import Image, unreadable
from samfleet.images.formats.palette import full_range, inverted, with_palette
from samfleet.images.formats.tiff.kinds import MINISBLACK, MINISWHITE, PALETTE, RGB, YCBCR

_ALPHA = {1, 2}  # associated (premultiplied) and unassociated
_MEASURING = ("imagej", "ome", "lsm", "stk", "metaseries", "micromanager", "fluoview", "nih", "andor", "scanimage", "sis", "mediacy")  # fmt: skip
"""Kinds of TIFF that programs write which measure; their look-up tables are for display."""


def apply_color_model(
    page: tifffile.TiffPage, pixels: np.ndarray, samples: bool, lookup_table: str
) -> Image:
    """Apply the colour model to (height, width, channels) pixels and drop alpha.

    Args:
        page: where the colour model is stated.
        pixels: as decoded.
        samples: whether the channels are the samples of one page.
        lookup_table: the setting `image.lookup_table`.
    """
    photometric = page.photometric
    if 262 not in page.tags:  # not stated: guess it as libtiff does
        photometric = RGB if page.samplesperpixel - len(page.extrasamples) == 3 else MINISBLACK
    samples = samples and pixels.shape[2] == page.samplesperpixel
    bits = page.bitspersample
    measured = any(getattr(page.parent, f"is_{kind}") for kind in _MEASURING)
    if samples:
        pixels = pixels[:, :, _without_alpha(page, photometric)]
    if photometric == PALETTE and samples:
        palette = page.colormap
        if palette is None or palette.ndim != 2 or palette.shape[0] != 3:
            raise unreadable("the TIFF has no palette")
        return with_palette(
            pixels[:, :, 0], palette.T, bits, measured=measured, lookup_table=lookup_table
        )
    warning = ""
    if photometric == MINISWHITE:
        pixels, warning = inverted(pixels, bits, measured=measured, lookup_table=lookup_table)
    is_color = photometric in (RGB, YCBCR) and samples and pixels.shape[2] == 3
    return Image(full_range(pixels, bits), is_color, warning=warning)


def _without_alpha(page: tifffile.TiffPage, photometric: int) -> list[int]:
    """The numbers of the samples that are not alpha."""
    samples = page.samplesperpixel
    extra = [int(value) for value in page.extrasamples or ()]
    if photometric == RGB and samples == 4 and extra in ([], [0]):
        extra = [2]  # other readers take one unnamed sample beside RGB for alpha too
    first = samples - len(extra)
    return [i for i in range(samples) if i < first or extra[i - first] not in _ALPHA]
