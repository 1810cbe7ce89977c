"""ImageJ's ROIs: a zip for each image, which Fiji's ROI Manager opens."""

import zipfile
from pathlib import Path

import numpy as np
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from samfleet.exports.source import Kind, Row, Source
from samfleet.opened.masks import MASK_COLUMNS, region_of
from samfleet.opened.outlines import Ring, polygons_of

_MOVE_TO, _LINE_TO, _CLOSE = 0, 1, 4
_HIGHEST = np.iinfo(np.int16).max  # what an ROI's integers hold
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same ROIs are the same bytes


def _write(path: Path, source: Source) -> None:
    digits = max(4, len(str(len(source.objects))))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for row in source.objects:
            name = f"{row['label']:0{digits}d}"
            entry = zipfile.ZipInfo(f"{name}.roi", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, roi_of(row, name).tobytes())


def roi_of(row: Row, name: str) -> ImagejRoi:
    """An object as an ROI: traced where it is one piece without holes, else composite; exact to the pixel."""
    rings = [ring for polygon in polygons_of(region_of(row)) for ring in polygon]
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    roi = ImagejRoi(
        roitype=ROI_TYPE.TRACED if len(rings) == 1 else ROI_TYPE.RECT,
        name=name,
        left=min(int(left), _HIGHEST),
        top=min(int(top), _HIGHEST),
        right=min(int(right), _HIGHEST),
        bottom=min(int(bottom), _HIGHEST),
    )
    if len(rings) > 1:
        path = np.concatenate([_path(ring) for ring in rings])
        roi.multi_coordinates, roi.shape_roi_size = path, len(path)
        return roi
    roi.n_coordinates = len(corners)
    roi.integer_coordinates = (corners - (left, top)).astype(np.int32)
    if max(right, bottom) > _HIGHEST:
        roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.subpixel_coordinates = corners.astype(np.float32)
    return roi


def _path(ring: Ring) -> np.ndarray:
    """A ring as Java's path iterator gives it, float32."""
    steps = np.column_stack([np.full(len(ring), _LINE_TO), ring]).astype(np.float32)
    steps[0, 0] = _MOVE_TO
    return np.append(steps.ravel(), np.float32(_CLOSE))


ROIS = Kind("rois", MASK_COLUMNS, {".zip": _write})
"""Zips of ImageJ's ROIs."""
