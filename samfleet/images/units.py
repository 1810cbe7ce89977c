"""Lengths in micrometres and times in ISO 8601, from what files say of them; standard library only."""

import math
import re
from datetime import datetime

from samfleet.planes import PixelSide

_MICROMETRES = {
    "m": 1e6, "meter": 1e6, "metre": 1e6, "cm": 1e4, "centimeter": 1e4, "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3, "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4, "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
_SQUARE = 0.01
"""By what part the sides of a pixel may differ."""
_DIGITS = 9
"""Significant ones of a length. Those beyond come from the arithmetic of metres, resolutions and differences."""
_TIME = re.compile(r"(\d{4})[-:]?(\d\d)[-:]?(\d\d)[ T](\d\d:\d\d.*)")


def micrometres(length: object, unit: str) -> float | None:
    """A length in µm; None if it is no positive number or the unit is none of length."""
    factor = _MICROMETRES.get(unit.strip().lower())
    try:
        value = float(length)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return rounded(value * factor) if factor and math.isfinite(value) and value > 0 else None


def pixel_side(x: float | None, y: float | None) -> PixelSide:
    """The side of a pixel in µm, from its width and height."""
    if not x or not y or not (math.isfinite(x) and math.isfinite(y)) or x <= 0 or y <= 0:
        return None
    if abs(x - y) <= _SQUARE * max(x, y):
        return rounded(x)
    return rounded(min(x, y)), rounded(max(x, y))


def scaled(side: PixelSide, factor: float) -> PixelSide:
    """The side of pixels that are so many times as large."""
    if isinstance(side, tuple):
        return rounded(side[0] * factor), rounded(side[1] * factor)
    return None if side is None else rounded(side * factor)


def square_side(side: PixelSide) -> float | None:
    """The side of a pixel that is square; else None."""
    return None if isinstance(side, tuple) else side


def about_sides(side: PixelSide) -> str:
    """A warning if a pixel is not square; else empty."""
    if not isinstance(side, tuple):
        return ""
    shorter, longer = side
    return f"pixels are not square, with sides of {shorter:g} and {longer:g} µm: sizes in µm need image.pixel_size_um"


def rounded(length: float) -> float:
    """A length with as many digits as mean something: 0.1 for 0.09999999999999999."""
    return float(f"{length:.{_DIGITS}g}")


def iso_time(said: object) -> str:
    """A time in ISO 8601, such as "2023-02-21T17:24:58.123"; words of another form as they are, without ends of blanks."""
    if isinstance(said, datetime):
        return said.isoformat()
    text = str(said or "").strip()
    found = _TIME.fullmatch(text)
    return "{}-{}-{}T{}".format(*found.groups()) if found else text
