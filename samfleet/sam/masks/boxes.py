"""Boxes of masks: which of them meet, and which lie in a tile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from samfleet.sam.tiles import Layout


def meeting(top_left: np.ndarray, bottom_right: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Finds boxes that share some area, from the top of the frame down, in little memory.

    Args:
        top_left, bottom_right: (n, 2) row and column of each box's corners, the latter outside.

    Yields:
        The number of a box, and (k,) int64 numbers of later ones that it meets. Every pair occurs once.
    """
    order = np.argsort(top_left[:, 0], kind="stable")
    top, left = top_left[order].T
    bottom, right = bottom_right[order].T
    # for each box, the first one further down that begins below its last row
    end = np.searchsorted(top, bottom)
    for place, number in enumerate(order.tolist()):
        below = slice(place + 1, end[place])
        beside = (left[below] < right[place]) & (right[below] > left[place])
        if beside.any():
            yield number, order[below][beside]


def groups_of(boxes: np.ndarray) -> list[list[int]]:
    """The numbers of boxes by groups: boxes that meet belong together.

    Args:
        boxes: (n, 4) x0 y0 x1 y1, both ends inside.
    """
    group = list(range(len(boxes)))

    def first(number: int) -> int:
        while group[number] != number:
            number = group[number] = group[group[number]]
        return number

    for one, others in meeting(boxes[:, 1::-1], boxes[:, :1:-1] + 1):
        for other in others.tolist():
            group[first(other)] = first(one)
    groups: dict[int, list[int]] = {}
    for number in range(len(boxes)):
        groups.setdefault(first(number), []).append(number)
    return list(groups.values())


def held(layout: Layout, boxes: np.ndarray) -> np.ndarray:
    """Which masks some tile holds whole: (n,) bool of (n, 4) boxes, both ends inside."""
    whole = np.ones(len(boxes), bool)
    # tiles are a grid: what lies in some row of them and in some column lies in the tile of both
    for axis in (0, 1):
        spans = {tile[axis]: tile for tile in layout.boxes}.values()
        limits = [(least[axis], most[axis]) for least, most in map(layout.inside, spans)]
        low, high = boxes[:, axis], boxes[:, axis + 2]
        whole &= np.any([(low >= least) & (high <= most) for least, most in limits], axis=0)
    return whole
