"""What the maps of an image should be."""

import cv2
import numpy as np
from skimage.measure import regionprops

SMALLEST_WEIGHT, LARGEST_WEIGHT, PLAIN_DIAMETER = 0.5, 2.5, 24.0
"""An object's pixels weigh 24 ÷ its diameter in pixels, within these limits: small ones count as well."""

BETWEEN_WEIGHT = 4.0
"""By how much more pixels weigh where two objects meet, following Ronneberger et al. 2015, "U-Net"."""


def target_maps(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the maps should be, and how much each pixel weighs.

    Args:
        labels: (height, width) int, 0 for background.

    Returns:
        (3, height, width) float32: 1 in objects; the distance to the object's centre, the pixel farthest from
        its boundary, divided by the largest one in the object; 1 minus the distance to the boundary divided
        by the largest one. Both distances are 1 outside. And the weights, (height, width) float32.
    """
    maps = np.ones((3, *labels.shape), np.float32)
    maps[0] = labels > 0
    weights = np.full(labels.shape, SMALLEST_WEIGHT, np.float32)
    for region in regionprops(labels):
        box, mask = region.slice, region.image
        depth = _depth(mask, box, labels.shape)
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        grid = np.mgrid[: mask.shape[0], : mask.shape[1]]
        distance = np.hypot(grid[0] - y, grid[1] - x)
        maps[1][box][mask] = (distance / max(distance[mask].max(), 1))[mask]
        maps[2][box][mask] = (1 - depth / depth.max())[mask]
        diameter = np.sqrt(4 / np.pi * mask.sum())
        weights[box][mask] = np.clip(PLAIN_DIAMETER / diameter, SMALLEST_WEIGHT, LARGEST_WEIGHT)
    weights[_is_between(labels)] *= BETWEEN_WEIGHT
    return maps, weights


def _is_between(labels: np.ndarray) -> np.ndarray:
    """Where two objects are at most two pixels away, (height, width) bool."""
    around = np.ones((5, 5), np.uint8)
    values = labels.astype(np.float32)
    largest = cv2.dilate(values, around)
    least = cv2.erode(np.where(values == 0, np.inf, values).astype(np.float32), around)
    return (largest > least) & np.isfinite(least)


def _depth(mask: np.ndarray, box: tuple[slice, slice], shape: tuple[int, int]) -> np.ndarray:
    """The distance of an object's pixels to its boundary; the frame's edge is none, the object goes on."""
    whole = np.pad(mask, 1)
    for axis, (place, size) in enumerate(zip(box, shape, strict=True)):
        edge = np.moveaxis(whole, axis, 0)
        edge[0] |= (place.start == 0) & edge[1]
        edge[-1] |= (place.stop == size) & edge[-2]
    depth = cv2.distanceTransform(whole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return depth[1:-1, 1:-1] * mask
