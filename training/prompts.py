"""Draw the prompts of a training crop and tell which object each of them means."""

import cv2
import numpy as np

NEAR_MISS = 3.0  # within so many pixels of an object a prompt still means that object
CENTRAL = 0.7  # a prompt from the maps lies at least so deep, as a fraction of the largest depth


def draw_prompts(
    labels: np.ndarray,
    content: tuple[int, int],
    count: int,
    rng: np.random.Generator,
    depth: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw prompts at the centres of objects, anywhere in them, just beside them, and on the background.

    Args:
        labels: int, shape (side, side), 0 for background.
        content: Height and width of the image in the top left corner; the rest is padding.
        count: Number of prompts.
        depth: float, shape (side, side): 1 at the centre of each object, 0 at its boundary.

    Returns:
        The points, float32 (count, 2), as x and y. The label of the object that each point means,
        int32 (count,), 0 for background. The points that mean an object come first.
    """
    image = labels[: content[0], : content[1]]
    objects = np.unique(image[image > 0])
    near, distance = _nearest_object(image)
    wanted = round(count * rng.uniform(0.6, 0.8)) if objects.size else 0
    chosen = [int(k) for k in rng.choice(objects, wanted)] if wanted else []
    rows = [
        _at_the_centre(image, depth, k, rng)
        if rng.random() < 0.5
        else _inside_or_beside(near, distance, k, rng)
        for k in chosen
    ]
    meant = [int(near[y, x]) for y, x in rows]
    rows += _on_background(distance, count - wanted, rng)
    targets = np.array(meant + [0] * (count - wanted), np.int32)
    points = np.array(rows, np.float32)[:, ::-1] + 0.5
    return points, targets


def _nearest_object(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label of the object nearest to each pixel, and the distance to it in pixels."""
    if not image.any():
        return image, np.full(image.shape, np.inf, np.float32)
    background = (image == 0).astype(np.uint8)
    distance, zone = cv2.distanceTransformWithLabels(
        background, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of = np.zeros(zone.max() + 1, image.dtype)
    at = background == 0
    label_of[zone[at]] = image[at]
    return label_of[zone], distance


def _at_the_centre(
    image: np.ndarray, depth: np.ndarray, label: int, rng: np.random.Generator
) -> tuple[int, int]:
    y, x = np.nonzero((image == label) & (depth[: image.shape[0], : image.shape[1]] >= CENTRAL))
    k = rng.integers(y.size)
    return int(y[k]), int(x[k])


def _inside_or_beside(
    near: np.ndarray, distance: np.ndarray, label: int, rng: np.random.Generator
) -> tuple[int, int]:
    reach = NEAR_MISS if rng.random() < 0.3 else 0.0
    y, x = np.nonzero((near == label) & (distance <= reach))
    k = rng.integers(y.size)
    return int(y[k]), int(x[k])


def _on_background(
    distance: np.ndarray, count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    close = np.argwhere((distance > NEAR_MISS) & (distance < 5 * NEAR_MISS))
    far = np.argwhere(distance > NEAR_MISS)
    if not far.size:  # objects cover everything: take the pixels farthest from any object
        far = np.argwhere(distance >= distance.max())
    rows = []
    for _ in range(count):
        pool = close if close.size and rng.random() < 0.6 else far
        y, x = pool[rng.integers(len(pool))]
        rows.append((int(y), int(x)))
    return rows
