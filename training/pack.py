"""Read images and label maps for training from a pack."""

import os
from collections import Counter

import numpy as np

from training.fields import Field

VALIDATION_EVERY = 12  # every twelfth image of the pack is held out


def read_pack(path: str | os.PathLike) -> tuple[list[Field], list[Field]]:
    """Read the images ``i0, i1, …`` and label maps ``l0, l1, …`` of an npz pack.

    Returns:
        Fields to train on, and those held out for validation.
    """
    with np.load(path, allow_pickle=False) as pack:
        count = sum(name[0] == "i" and name[1:].isdigit() for name in pack.files)
        if count == 0:
            raise ValueError(f"{path} does not contain images named i0, i1, …")
        images = [Field(_grey(pack[f"i{k}"]), pack[f"l{k}"]) for k in range(count)]
    train = [p for k, p in enumerate(images) if k % VALIDATION_EVERY]
    return train, images[::VALIDATION_EVERY]


def balanced(images: list[Field]) -> list[Field]:
    """Repeat images of rare sizes: each size comes from a microscope of its own, and is a kind of image.

    How often all images of one size are seen grows with the square root of their number; four or fewer
    count as four.
    """
    counts = Counter(field.image.shape for field in images)
    most = max(counts.values(), default=0)
    times = {size: round((most / max(count, 4)) ** 0.5) for size, count in counts.items()}
    return [field for field in images for _ in range(times[field.image.shape])]


def _grey(image: np.ndarray) -> np.ndarray:
    image = image if image.ndim == 2 else image[..., :3].max(axis=-1)
    return image.astype(np.uint8)
