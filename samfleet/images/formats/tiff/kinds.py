"""Which colour models, samples and compressions of a TIFF are read."""

from __future__ import annotations

import tifffile

from samfleet.images.formats.image import unsupported

MINISWHITE, MINISBLACK, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRIC_WORDS = {
    4: "a transparency mask",
    5: "CMYK (printing inks)",
    8: "CIE Lab colour",
    9: "ICC Lab colour",
    10: "ITU Lab colour",
    32803: "a raw colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
JPEG_COMPRESSIONS = {7, 33007}
JPEG2000_COMPRESSIONS = {33003, 33004, 33005, 34712}


def check_tiff_kind(page: tifffile.TiffPage) -> None:
    """Raise unsupported for colour models, sample types and compressions that are not read."""
    photometric = page.photometric
    if photometric not in (MINISWHITE, MINISBLACK, RGB, PALETTE, YCBCR):
        words = _PHOTOMETRIC_WORDS.get(int(photometric), f"photometric {int(photometric)}")
        raise unsupported(f"{words} is not read; convert the image to grey or RGB")
    if page.compression == 6:
        raise unsupported("old-style JPEG in TIFF is not read; save the image anew")
    if page.compression == 33003 or (
        photometric == YCBCR
        and (page.planarconfig != 1 or page.compression not in JPEG_COMPRESSIONS)
    ):
        raise unsupported("YCbCr colour outside JPEG is not read; convert the image to RGB")
    if page.dtype is None:
        raise unsupported(
            f"samples of {page.bitspersample} bits and format {page.sampleformat} are not read"
        )
    if page.dtype.kind not in "buif":
        raise unsupported(f"{page.dtype} samples are not read")
