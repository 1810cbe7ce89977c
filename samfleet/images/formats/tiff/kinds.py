"""Which colour models, sample types and compressions of a TIFF are supported."""

import tifffile

from samfleet.images.formats.image import unsupported

MINISWHITE, MINISBLACK, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRIC_WORDS = {
    4: "a transparency mask",
    5: "CMYK (printing inks)",
    8: "CIE Lab colour",
    9: "ICC Lab colour",
    10: "ITU Lab colour",
    32803: "raw data of a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw data",
}
JPEG_COMPRESSIONS = {7, 33007}
JPEG2000_COMPRESSIONS = {33003, 33004, 33005, 34712}


def check_kind(page: tifffile.TiffPage) -> None:
    """Raise ImageError for a colour model, sample type or compression that is not supported."""
    photometric = page.photometric
    if photometric not in (MINISWHITE, MINISBLACK, RGB, PALETTE, YCBCR):
        words = _PHOTOMETRIC_WORDS.get(int(photometric), f"photometric {int(photometric)}")
        raise unsupported(f"{words} is not supported; convert the image to grey or RGB")
    if page.compression == 6:
        raise unsupported("old-style JPEG in a TIFF is not supported; save the image again")
    if page.compression == 33003 or (
        photometric == YCBCR
        and (page.planarconfig != 1 or page.compression not in JPEG_COMPRESSIONS)
    ):
        raise unsupported("YCbCr colour outside JPEG is not supported; convert the image to RGB")
    if page.dtype is None:
        raise unsupported(
            f"samples of {page.bitspersample} bits and format {page.sampleformat} are not supported"
        )
    if page.dtype.kind not in "buif":
        raise unsupported(f"{page.dtype} samples are not supported")
