"""Prompts from maps: one point in each connected seed, as micro-sam's automatic prompt generation puts them.

A. Archit and C. Pape, "Revisiting foundation models for cell instance segmentation", MIDL 2026, arXiv 2603.17845.
"""

import cv2
import numpy as np

from samfleet.config.settings import SeedSettings

_OUTSIDE = np.uint16(1000)  # of seeds, a level that none within them can be raised to

_TRUNCATE = 3.0  # standard deviations at which micro-sam's Gaussian ends


def seed_points(maps: np.ndarray, settings: SeedSettings) -> np.ndarray:
    """One point for each seed, the one farthest from the seed's outline.

    Args:
        maps: (3, height, width) float32: foreground, distance to the centre, distance to the boundary.
        settings: what is a seed.

    Returns:
        (seeds, 2) float64, x and y of pixels; in the order in which rows meet the seeds. With
        `prominence`, one for each summit of a seed.
    """
    foreground, center, boundary = smoothed_maps(maps, settings)
    seeds = (center < settings.center_distance) & (boundary < settings.boundary_distance)
    seeds &= foreground >= settings.foreground
    if settings.prominence is not None:
        seeds = _summits((center + boundary) / 2, seeds, settings.prominence)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        seeds.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    distance = _distance_to_outlines(labels)
    points = []
    for number, (x, y, width, height, area) in enumerate(stats[1:], start=1):
        if area < settings.min_size:
            continue
        box = slice(y, y + height), slice(x, x + width)
        inside = np.where(labels[box] == number, distance[box], -1)
        row, column = np.unravel_index(inside.argmax(), inside.shape)
        points.append((x + column, y + row))
    return np.array(points, np.float64).reshape(-1, 2)


def smoothed_maps(maps: np.ndarray, settings: SeedSettings) -> list[np.ndarray]:
    """Each of the maps, smoothed as the settings say: three times (height, width) float32."""
    sigma = settings.smoothing
    if not sigma:
        return list(maps)
    side = 2 * int(_TRUNCATE * sigma + 0.5) + 1
    return [
        cv2.GaussianBlur(each, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
        for each in maps
    ]


def _summits(distance: np.ndarray, seeds: np.ndarray, prominence: float) -> np.ndarray:
    """The parts of seeds around minima that are deeper by the prominence than the way to any deeper one.

    These are the regional minima of the h-minima transform (P. Soille, "Morphological Image Analysis", 2003, 6.3.3),
    at 255 levels. The deepest minimum of a seed counts always: there is no way to a deeper one.

    Args:
        distance: (height, width) float32 from 0 to 1.
        seeds: (height, width) bool.
        prominence: from 0 to 1.
    """
    levels = np.where(seeds, np.rint(np.clip(distance, 0, 1) * 254), _OUTSIDE).astype(np.uint16)
    filled = _filled(_raised(levels, max(1, round(prominence * 254))), levels)
    return (_filled(_raised(filled, 1), filled) > filled) & seeds


def _raised(levels: np.ndarray, height: int) -> np.ndarray:
    """All levels higher by so much, but at most `_OUTSIDE`."""
    return levels + np.minimum(_OUTSIDE - levels, np.uint16(height))


def _filled(water: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Let water run off over the ground to wherever it is lower; both (height, width) uint16."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    while True:
        lower = cv2.max(cv2.erode(water, cross, borderType=cv2.BORDER_REPLICATE), ground)
        if np.array_equal(lower, water):
            return water
        water = lower


def _distance_to_outlines(labels: np.ndarray) -> np.ndarray:
    """(height, width) float32, pixels to the nearest outline of a seed, or to the edge of the image.

    An outline is the pixels around a seed, and those of it that touch another one by a corner, as
    scikit-image's `find_boundaries(mode="outer")` has them.
    """
    values = labels.astype(np.float32)  # whole numbers up to 2²⁴
    far = np.where(values == 0, np.float32(1 << 24), values)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    square = np.ones((3, 3), np.uint8)
    edge = cv2.BORDER_REPLICATE
    largest, least = (each(values, cross, borderType=edge) for each in (cv2.dilate, cv2.erode))
    around = cv2.dilate(values, square, borderType=edge)
    touching = around != cv2.erode(far, square, borderType=edge)
    inside = ~((largest != least) & ((labels == 0) | touching))
    inside[[0, -1]] = False
    inside[:, [0, -1]] = False
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
