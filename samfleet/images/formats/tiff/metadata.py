"""What a TIFF says of channels, pixel sizes and time, beyond its planes; nothing of it is needed to read them."""

import contextlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import tifffile

from samfleet.images.units import iso_time, micrometres, pixel_side
from samfleet.planes import PixelSide

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_UNITS = {2: "inch", 3: "cm"}
_NO_UNIT = {"", "pixel", "pixels"}


def channel_names(tiff: tifffile.TiffFile) -> tuple[str, ...]:
    """The names of the channels in metadata other than OME's; nothing if there are none."""
    return tuple(
        _first_known(tiff, (_lsm_channels, _micromanager_channels, _metaseries_channels)) or ()
    )


def side_of_pixel(tiff: tifffile.TiffFile) -> PixelSide:
    """The side of a pixel in µm by metadata other than OME's, if it is known."""
    found = _first_known(tiff, (_lsm_side, _stk_side, _metaseries_side, _micromanager_side, _slide_side, _imagej_side))  # fmt: skip
    return found or None


def when_acquired(tiff: tifffile.TiffFile) -> str:
    """When the image was taken, in ISO 8601, by metadata other than OME's; empty if that is not known."""
    return str(_first_known(tiff, (_metaseries_time, _stk_time, _slide_time)) or "")


def _first_known(tiff: tifffile.TiffFile, ways: tuple[Callable[[Any], Any], ...]) -> Any:
    """What the first way finds that finds anything; damaged metadata say nothing."""
    for way in ways:
        with contextlib.suppress(Exception):
            if found := way(tiff):
                return found
    return None


def _lsm_channels(tiff: Any) -> Any:
    return tiff.lsm_metadata["ChannelColors"]["ColorNames"] if tiff.is_lsm else ()


def _micromanager_channels(tiff: Any) -> Any:
    return tiff.micromanager_metadata["Summary"]["ChNames"] if tiff.is_micromanager else ()


def _metaseries_channels(tiff: Any) -> Any:
    if not tiff.is_metaseries:
        return ()
    plane = tiff.metaseries_metadata["PlaneInfo"]
    return (str(plane.get("_IllumSetting_") or plane.get("image-name", "")),)


def _lsm_side(tiff: Any) -> PixelSide:
    if not tiff.is_lsm:
        return None
    sides = (micrometres(tiff.lsm_metadata[f"VoxelSize{axis}"], "m") for axis in "XY")
    return pixel_side(*sides)


def _stk_side(tiff: Any) -> PixelSide:
    if not tiff.is_stk:
        return None
    found = tiff.stk_metadata
    if not found.get("SpatialCalibration", True):
        return None
    unit = str(found.get("CalibrationUnits", ""))
    return pixel_side(*(micrometres(_number(found[f"{axis}Calibration"]), unit) for axis in "XY"))


def _number(value: Any) -> float:
    """A number, also one that is written as a fraction."""
    return value[0] / value[1] if isinstance(value, tuple) else float(value)


def _metaseries_side(tiff: Any) -> PixelSide:
    if not tiff.is_metaseries:
        return None
    plane = tiff.metaseries_metadata["PlaneInfo"]
    unit = str(plane["spatial-calibration-units"])
    return pixel_side(*(micrometres(plane[f"spatial-calibration-{axis}"], unit) for axis in "xy"))


def _metaseries_time(tiff: Any) -> str:
    if not tiff.is_metaseries:
        return ""
    return iso_time(tiff.metaseries_metadata["PlaneInfo"]["acquisition-time-local"])


def _stk_time(tiff: Any) -> str:
    return str(tiff.stk_metadata["DatetimeCreated"][0].astype("M8[ms]")) if tiff.is_stk else ""


def _slide_time(tiff: Any) -> str:
    if not tiff.is_svs:
        return ""
    said = dict(re.findall(r"\b(Date|Time) = ([\d/:]+)", tiff.pages.first.description))
    return datetime.strptime(f"{said['Date']} {said['Time']}", "%m/%d/%y %H:%M:%S").isoformat()


def _micromanager_side(tiff: Any) -> PixelSide:
    if not tiff.is_micromanager:
        return None
    return micrometres(tiff.micromanager_metadata["Summary"]["PixelSize_um"], "µm")


def _slide_side(tiff: Any) -> PixelSide:
    page = tiff.pages.first
    if tiff.is_svs:
        found = re.search(r"\bMPP\s*=\s*([\d.]+)", page.description)
        return micrometres(found[1], "µm") if found else None
    return _side_by_resolution(page, "") if tiff.is_ndpi else None


def _imagej_side(tiff: Any) -> PixelSide:
    if not tiff.is_imagej:
        return None
    unit = str(tiff.imagej_metadata.get("unit", ""))
    return None if unit.lower() in _NO_UNIT else _side_by_resolution(tiff.pages.first, unit)


def _side_by_resolution(page: tifffile.TiffPage, unit: str) -> PixelSide:
    """The side of a pixel, from pixels per unit; `unit` is what the tags call none."""
    unit = unit or _UNITS.get(int(page.tags.valueof(_RESOLUTION_UNIT, 1)), "")
    x, y = (_number(page.tags.valueof(tag)) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    return pixel_side(micrometres(1 / x, unit), micrometres(1 / y, unit))
