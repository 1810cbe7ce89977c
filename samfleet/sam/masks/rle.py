"""COCO run-length encoding of masks that fill only a part of the frame."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco


def run_lengths(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> list[int]:
    """Lengths of the runs of a mask in column-major order; the first run is of zeros.

    Args:
        mask: (height, width) bool, a region of the frame outside which nothing is set.
        corner: (row, column) of the region's first pixel in the frame.
        size: (height, width) of the frame.

    Returns:
        The ``counts`` as ``segment_anything.utils.amg.mask_to_rle_pytorch`` returns them.
    """
    height, width = size
    # A zero before the first column and after each separates the runs of neighbouring columns.
    between = mask.shape[0] + 1
    flat = np.zeros(1 + mask.shape[1] * between, bool)
    flat[1:].reshape(-1, between)[:, :-1] = mask.T
    places = np.flatnonzero(flat[1:] != flat[:-1])
    places += places // between * (height - between) + corner[1] * height + corner[0]
    if mask.shape[0] == height and len(places):
        # A run at the end of a column and one at the beginning of the next are a single run.
        joined = np.flatnonzero(places[1:-1:2] == places[2::2]) * 2 + 1
        places = np.delete(places, np.concatenate((joined, joined + 1)))
    if len(places) and places[-1] == height * width:
        places = places[:-1]
    ends = np.concatenate(([0], places, [height * width]))
    return (ends[1:] - ends[:-1]).tolist()


def encode(counts: list[int], size: tuple[int, int]) -> dict:
    """COCO RLE with compressed counts: {"size": [height, width], "counts": str}."""
    rle = coco.frPyObjects({"size": list(size), "counts": counts}, *size)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def runs_of(counts: str) -> np.ndarray:
    """The lengths of the runs in compressed counts, int64: zeros and ones in turn, column by column.

    The format is that of ``rleToString`` in COCO's maskApi.c. Nothing is checked.
    """
    code = np.frombuffer(counts.encode(), np.uint8) - 48
    last = np.flatnonzero(code & 0x20 == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    number = np.zeros(len(last), np.int64)
    for digit in range(int((last - first).max(initial=-1)) + 1):
        longer = np.flatnonzero(last - first >= digit)
        number[longer] |= (code[first[longer] + digit] & 0x1F).astype(np.int64) << 5 * digit
    negative = np.flatnonzero(code[last] & 0x10)
    number[negative] -= np.int64(1) << 5 * (last - first + 1)[negative]
    # from the fourth run on, a number is the difference to the run two before
    number[1::2], number[2::2] = np.cumsum(number[1::2]), np.cumsum(number[2::2])
    return number
