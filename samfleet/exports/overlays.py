"""Draw the outlines of objects on images, to look at."""

import colorsys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pycocotools import mask as coco

from samfleet.config.settings import Settings
from samfleet.errors import UserError
from samfleet.files import atomic_path, unescape_name
from samfleet.images.reading import Failure, path_of, read_image
from samfleet.plan.collection import collection_root
from samfleet.results import objects_file

_GOLDEN_ANGLE = 0.381966  # of a turn, so that consecutive numbers get very different hues


def draw_outlines(rgb: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    """A copy of an image with a coloured outline around each mask.

    Args:
        rgb: (height, width, 3) uint8.
        masks: (height, width) uint8 each, with values 0 and 1.
    """
    drawn = rgb.copy()
    for number, mask in enumerate(masks):
        hue = colorsys.hsv_to_rgb(number * _GOLDEN_ANGLE % 1, 0.75, 1)
        color = tuple(round(255 * part) for part in hue)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, color, 1)
    return drawn


def write_overlays(settings: Settings, results: Path, folder: Path, images: list[str]) -> int:
    """Write a PNG with outlines for each image that has objects.

    Args:
        settings: the configuration.
        results: the folder of the results.
        folder: where the PNGs are written, under the images' relative paths.
        images: images, as the tables name them; all if the list is empty.

    Returns:
        The number of images written.

    Raises:
        UserError: an image has no objects in the tables, or cannot be read any more.
    """
    filters = [("image", "in", images)] if images else None
    columns = ["image", "width", "height", "rle"]
    objects = pd.read_parquet(objects_file(results), columns=columns, filters=filters)
    groups = dict(iter(objects.groupby("image", sort=False)))
    if unknown := sorted(set(images) - set(groups)):
        raise UserError(f"{results / 'objects.parquet'} has no object in {', '.join(unknown)}")
    root = collection_root(settings.images)
    for name, rows in groups.items():
        read = read_image(path_of(root, unescape_name(name)), settings.image, settings.display)
        if isinstance(read, Failure):
            raise UserError(
                f"{name}: {read.reason}; it was looked for in {root}, which is what "
                f"`images: {settings.images}` means here"
            )
        masks = [
            coco.decode({"size": [row.height, row.width], "counts": row.rle})
            for row in rows.itertuples()
        ]
        drawn = cv2.cvtColor(draw_outlines(read.rgb, masks), cv2.COLOR_RGB2BGR)
        with atomic_path(folder / f"{name}.png") as temporary:
            temporary.write_bytes(cv2.imencode(".png", drawn)[1].tobytes())
    return len(groups)
