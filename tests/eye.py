"""A stand-in for the model, which sees every bright region of what it is shown."""

import cv2
import numpy as np
import torch
from segment_anything.utils import amg

from samfleet.sam.generator.candidates import Candidates, Chosen, Seen, View
from samfleet.sam.generator.tiled import Search
from tests.builders import disc, packed_mask

INPUT = 64  # pixels of the stand-in's input


class Eye:
    """Sees connected bright regions, and the dark one around them, in what it is shown.

    Attributes:
        views: the box of every view.
    """

    def __init__(self, *, sees_background: bool = True, prompted_only: bool = False):
        self.views: list[list[int]] = []
        self._background = sees_background
        self._prompted_only = prompted_only

    def look(self, view: View) -> Seen:
        self.views.append(view.box)
        masks, points = self._regions(view)
        if not masks:
            return Seen.nothing(torch.device("cpu"))
        boxes = [[x.min(), y.min(), x.max(), y.max()] for y, x in map(np.nonzero, masks)]
        everything = Candidates(
            boxes=torch.tensor(boxes),
            predicted_iou=torch.full((len(masks),), 0.9),
            stability=torch.full((len(masks),), 0.9),
            points=torch.tensor(points, dtype=torch.float64),
        )
        cut = view.cut(everything.boxes) if view.cut else torch.zeros(len(masks), dtype=torch.bool)
        whole = (~cut).nonzero()[:, 0]
        return Seen(
            everything.select(whole).in_image(view.box),
            [packed_mask(masks[number]) for number in whole.tolist()],
            everything.select(cut.nonzero()[:, 0]).in_image(view.box),
        )

    def _regions(self, view: View) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
        bright = (view.rgb[..., 0] > 100).astype(np.uint8)
        masks, points = [], []
        for flags in (bright, 1 - bright)[: 1 + self._background]:
            count, labels = cv2.connectedComponents(flags)
            for label in range(1, count):
                y, x = np.nonzero(labels == label)
                masks.append(labels == label)
                points.append((int(x[len(x) // 2]), int(y[len(y) // 2])))
        return masks, points


def search_with(eye: Eye, image: np.ndarray, **options) -> Search:
    def find_all() -> Chosen:
        height, width = image.shape[:2]
        box = [0, 0, width, height]
        return Chosen.of(eye.look(View(image, box, np.zeros((1, 2)))), box)

    values = {
        "look": eye.look,
        "find_all": find_all,
        "input_size": INPUT,
        "grid": amg.build_point_grid(16),
        "skip_background": True,
        "nms_thresh": 0.7,
    }
    return Search(**values | options)


def drawn(size: tuple[int, int], *discs: tuple[float, float, float]) -> np.ndarray:
    """A dark image with bright discs (y, x, radius)."""
    image = np.full(size, 10, np.uint8)
    for y, x, radius in discs:
        image[disc(*size, y, x, radius)] = 200
    return np.repeat(image[..., None], 3, axis=2)
