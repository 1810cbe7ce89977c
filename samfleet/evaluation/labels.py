"""Find and read label images."""

import struct
from pathlib import Path

import cv2
import numpy as np
import tifffile

from samfleet.errors import UserError
from samfleet.files import unescape_name

LABEL_SUFFIXES = (".png", ".tif", ".tiff")


class LabelError(UserError):
    """A label image cannot be used; the message names it."""


def find_label_image(image: str, folder: Path) -> Path | None:
    """The label image of an image's relative path as the tables write it, or None."""
    same = folder / unescape_name(image)
    candidates = [same, *(same.with_suffix(suffix) for suffix in LABEL_SUFFIXES)]
    return next((path for path in candidates if path.is_file()), None)


def read_label_image(path: str | Path) -> np.ndarray:
    """A label image as integers of shape (height, width).

    Raises:
        LabelError: if it cannot be read, has several channels or pages, or has values that are not labels.
    """
    path = Path(path)
    labels: np.ndarray | None
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            labels = tifffile.imread(path)
        else:
            data = np.frombuffer(path.read_bytes(), np.uint8)
            labels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except (
        OSError,
        ValueError,
        LookupError,
        struct.error,
        cv2.error,
    ) as error:  # tifffile raises all of these
        raise LabelError(f"{path.name} cannot be read: {error}") from error
    if labels is None or labels.size == 0:
        raise LabelError(f"{path.name} cannot be read")
    if labels.ndim != 2:
        raise LabelError(
            f"{path.name} has the shape {labels.shape}: a label image has a single plane"
        )
    # NaN fails the first comparison
    if not labels.min() >= 0 or not np.array_equal(labels, np.floor(labels)):
        raise LabelError(f"{path.name} has values that are not labels (0, 1, 2, …)")
    return labels.astype(np.int64)
