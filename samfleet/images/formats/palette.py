"""Decide what the numbers in a file with a look-up table are: measured values, or names of colours.

A program that measures stores intensities, with a table that only says how to display them. A colour image
stores the numbers of its colours, which mean nothing without the table.
"""

import numpy as np

from samfleet.images.formats.image import Image, unreadable

_STEP = 12
"""Largest mean difference of neighbouring entries, summed over red, green and blue in 8 bits. Tables of display
programs have 1.5 to 6; the palettes of colour images, whatever their order, have 30 and more."""
_UNUSED = 4
"""At most so many black entries at the end of a table belong to it; more of them pad a shorter palette."""


def with_palette(
    index: np.ndarray, colors: np.ndarray, bits: int, *, measured: bool, lookup_table: str
) -> Image:
    """The image that numbers and a table of colours make.

    Args:
        index: (height, width), the stored numbers.
        colors: (entries, 3), red, green and blue, uint8 or uint16.
        bits: of a stored number.
        measured: whether the file is one of a program that measures.
        lookup_table: the setting `image.lookup_table`.

    Raises:
        ImageError: a number has no entry in the table.
    """
    index = index.astype(np.uint8) if index.dtype.kind == "b" else index
    if index.dtype.kind != "u" or (index.size and int(index.max()) >= len(colors)):
        raise unreadable("pixels refer to colours that are not in the file's palette")
    colors = _reduced(colors)
    grey = (colors == colors[:, :1]).all()
    applied, warning = lookup_table == "applied", ""
    if lookup_table == "auto" and not (grey and np.array_equal(colors[:, 0], _ramp(bits))):
        scale = _is_scale(colors, bits)
        applied = not (measured or scale)
        if scale and not measured:
            warning = (
                "the stored values are measured, not the colours of the look-up table; if the colours are "
                "meant, set image.lookup_table: applied"
            )
        elif measured and not scale:
            warning = (
                "the stored values are measured, although the look-up table looks like the palette of a "
                "colour image; if it is one, set image.lookup_table: applied"
            )
    if not applied:
        return Image(full_range(index, bits), False, warning=warning)
    return Image(colors[:, 0][index], False) if grey else Image(colors[index], True)


def inverted(
    pixels: np.ndarray, bits: int, *, measured: bool, lookup_table: str
) -> tuple[np.ndarray, str]:
    """Turn min-is-white into min-is-black within the range of the bits, unless that is for display only.

    Floats have no such range and stay as they are.

    Args:
        pixels: as stored.
        bits: of a sample.
        measured: whether the file is one of a program that measures.
        lookup_table: the setting `image.lookup_table`.

    Returns:
        The pixels, and a warning if the values may be meant as they are stored.
    """
    if pixels.dtype.kind == "f" or lookup_table == "ignored" or (lookup_table == "auto" and measured):  # fmt: skip
        return pixels, ""
    warning = ""
    if lookup_table == "auto":
        warning = (
            "the values were inverted, since the file says that 0 is white; if that is for display "
            "only, set image.lookup_table: ignored"
        )
    if pixels.dtype.kind == "u" and bits < 8 * pixels.dtype.itemsize:
        return pixels.dtype.type(2**bits - 1) - pixels, warning
    return ~pixels, warning


def full_range(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Scale 1, 2 and 4 bits to the full range of 8 bits, as PNG readers do."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8 and bits in (1, 2, 4):
        return pixels * np.uint8(255 // (2**bits - 1))
    return pixels


def _reduced(colors: np.ndarray) -> np.ndarray:
    """The table in 8 bits if that is exact."""
    if colors.dtype == np.uint8:
        return colors
    high, low = colors >> 8, colors & 0xFF
    if not high.any():
        return low.astype(np.uint8)  # some writers store 8-bit values in the 16 bits
    if not low.any() or np.array_equal(low, high):
        return high.astype(np.uint8)
    return colors


def _ramp(bits: int) -> np.ndarray:
    """The table that changes nothing, in 8 bits, or 16 for numbers of more than 8 bits."""
    return full_range(np.arange(2**bits, dtype=np.uint8 if bits <= 8 else np.uint16), bits)


def _is_scale(colors: np.ndarray, bits: int) -> bool:
    """Whether the table gives every number a colour, and similar ones to neighbours, as displays do."""
    used = np.flatnonzero(colors.any(axis=1))
    if bits < 8 or len(colors) < 2**bits or not len(used) or used[-1] < 2**bits - 1 - _UNUSED:
        return False
    entries = colors[np.linspace(0, len(colors) - 1, 256).astype(int)].astype(np.float64)
    entries /= 1 if colors.dtype == np.uint8 else 257
    return float(np.abs(np.diff(entries, axis=0)).sum()) <= _STEP * 255
