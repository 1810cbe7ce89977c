"""Show a large image part by part: workers read windows of its file ahead of the device."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from samfleet.images.display import Painter
from samfleet.images.reading import OpenedImage
from samfleet.images.windows import Box, Windows

_AHEAD = 2  # parts that are read while the device is busy with another


class FilePicture:
    """What SAM sees of an image that stays in its file; `samfleet.reduction.Picture` says what it needs.

    Args:
        image: the image.
        call: starts calling a function in a worker, and returns what waits for its result.
    """

    def __init__(self, image: OpenedImage, call: Callable[..., Callable[[], Any]]):
        self._image, self._call = image, call

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._image.size

    def parts(self, boxes: Iterable[Box]) -> Iterator[np.ndarray]:
        """The parts x0, y0, x1, y1 of the image, (height, width, 3) uint8 each."""
        waiting = iter(boxes)
        ahead: deque[Callable[[], Any]] = deque()

        def start(count: int) -> None:
            for box in itertools.islice(waiting, count):
                ahead.append(self._call(paint, self._image.windows, self._image.painter, box))

        start(1 + _AHEAD)
        while ahead:
            rgb = ahead.popleft()()
            start(1)
            yield rgb


def paint(windows: Windows, painter: Painter, box: Box) -> np.ndarray:
    """What SAM sees of the part x0, y0, x1, y1 of an image; runs in a worker process."""
    x0, y0, x1, y1 = box
    return painter.paint(windows.read(y0, y1, x0, x1))
