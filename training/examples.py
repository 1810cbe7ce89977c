"""Draw training crops: parts of images at random scales and in random colours, with prompts."""

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.measure import label as label_regions

from samfleet.sam.model import TINY_INPUT_SIZE, TINY_PATCH_SIZE
from training.appearance import colour, degrade
from training.fields import Field, draw_field, random_settings
from training.prompts import draw_prompts
from training.settings import GRID, TrainingSettings
from training.targets import target_maps

PIXEL_MEAN = np.array([124, 116, 104], np.uint8)
"""What SAM pads images with: zero after its normalisation, but for rounding."""

WITH_DENSE_PROMPT = 0.75


@dataclass(frozen=True)
class Example:
    """One training crop.

    Args:
        image: uint8, shape (side, side, 3), RGB.
        labels: int32, shape (side, side).
        points: float32, shape (prompts, 2), x and y in crop pixels; the prompts on or just
            beside an object come first.
        targets: int32, shape (prompts,), the label of the object that each prompt means, or 0.
        corner: Row and column of the crop in the frame of the model, in patches.
        dense: Whether the mask decoder gets the dense prompt, as it does not with a grid of points.
        maps, weights: What the maps should be, and how much each pixel weighs (`target_maps`).
    """

    image: np.ndarray
    labels: np.ndarray
    points: np.ndarray
    targets: np.ndarray
    corner: tuple[int, int]
    dense: bool
    maps: np.ndarray
    weights: np.ndarray


def make_example(
    images: list[Field], settings: TrainingSettings, patches: int, rng: np.random.Generator
) -> Example:
    """Draw a crop of `patches` × `patches` patches, or a whole frame, with its prompts."""
    side, whole = patches * TINY_PATCH_SIZE, patches == GRID
    if not images or rng.random() < settings.synthetic:
        image, labels = _synthetic_crop(side, rng)
    else:
        field = images[rng.integers(len(images))]
        cut = _scaled_frame if whole else _scaled_crop
        image, labels = cut(field, side, rng)
    image, labels = _turned(image, labels, rng) if not whole else (image, labels)
    content = image.shape
    rgb = colour(degrade(image, rng), rng)
    rgb, labels = _padded(rgb, side, PIXEL_MEAN), _padded(labels, side).astype(np.int32)
    maps, weights = target_maps(labels)
    prompts = settings.prompts * (2 if whole else 1)
    points, targets = draw_prompts(labels, content, prompts, rng, depth=1 - maps[2])
    room = GRID - patches + 1
    corner = (int(rng.integers(room)), int(rng.integers(room)))
    dense = bool(rng.random() < WITH_DENSE_PROMPT)
    return Example(rgb, labels, points, targets, corner, dense, maps, weights)


def _synthetic_crop(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    diameter = float(np.exp(rng.uniform(np.log(10), np.log(120))))
    height, width = side, side
    if rng.random() < 0.3:
        width = int(rng.integers(side // 2, side))
    field = draw_field(random_settings(rng, height, width, diameter), rng)
    return field.image, field.labels.astype(np.int32)


def _scaled_frame(
    field: Field, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An image, a part of it or its mirrored field, scaled to the size of the frame."""
    image, labels = field.image, field.labels
    kind = rng.random()
    if kind < 0.3 and 0.5 * side / max(image.shape) * _typical_diameter(labels) > 7.5:
        image, labels = _mirrored(image, labels)
    elif kind > 0.7:
        (height, width), part = image.shape, rng.uniform(0.5, 1.0)
        h, w = max(int(height * part), 16), max(int(width * part), 16)
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        image, labels = image[y : y + h, x : x + w], labels[y : y + h, x : x + w]
    image, labels = _turned(image, labels, rng)
    return _resized(image, labels, side / max(image.shape))


def _mirrored(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror the field to four times its size; an object at the mirror joins its reflection."""
    height, width = image.shape
    grow = [(0, height), (0, width)]
    image, labels = np.pad(image, grow, mode="symmetric"), np.pad(labels, grow, mode="symmetric")
    return image, label_regions(labels, connectivity=1).astype(np.int32)


def _scaled_crop(
    field: Field, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop at the scale of the whole frame or of a tile, which shows small objects enlarged."""
    scale = TINY_INPUT_SIZE / max(field.image.shape) * np.exp(rng.uniform(-0.3, 0.5))
    diameter = _typical_diameter(field.labels)
    if diameter and rng.random() < 0.4:
        scale = np.exp(rng.uniform(np.log(16), np.log(90))) / diameter
    if diameter:
        scale = np.clip(scale, 14 / diameter, 120 / diameter)
    size = int(np.ceil(side / scale)) + 1
    height, width = field.image.shape
    y = int(rng.integers(max(height - size, 0) + 1))
    x = int(rng.integers(max(width - size, 0) + 1))
    if rng.random() < 0.2:  # go beyond the edge of the image, where SAM pads
        y, x = min(y + size // 4, height - height // 4), min(x + size // 4, width - width // 4)
    window = np.s_[y : y + size, x : x + size]
    image, labels = _resized(field.image[window], field.labels[window], float(scale))
    return image[:side, :side], labels[:side, :side]


def _typical_diameter(labels: np.ndarray) -> float:
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(np.sqrt(4 / np.pi * np.median(areas))) if areas.size else 0.0


def _resized(image: np.ndarray, labels: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    size = tuple(max(1, round(n * scale)) for n in image.shape[::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=how).astype(np.float32) / 255
    labels = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return image, labels.astype(np.int32)


def _turned(
    image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if flip:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _padded(array: np.ndarray, side: int, value: np.ndarray | int = 0) -> np.ndarray:
    padded = np.empty((side, side, *array.shape[2:]), array.dtype)
    padded[:] = value
    padded[: array.shape[0], : array.shape[1]] = array
    return padded
