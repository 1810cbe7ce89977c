"""Read images and label maps for training from a pack."""

import os

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


def _grey(image: np.ndarray) -> np.ndarray:
    image = image if image.ndim == 2 else image[..., :3].max(axis=-1)
    return image.astype(np.uint8)
