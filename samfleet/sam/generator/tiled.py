"""Look for masks in the tiles of an image, and choose among what neighbouring tiles have found.

A mask that an inner edge of its tile cuts is left to the neighbour, which shares enough pixels to hold it
whole. What is too large for that is looked for in the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torchvision.ops.boxes import box_iou

from samfleet.reduction import reduced
from samfleet.sam.generator.candidates import Candidates, Chosen, Seen, View
from samfleet.sam.generator.foreground import Background, Foreground, blur
from samfleet.sam.generator.pictures import Picture
from samfleet.sam.generator.transfer import to_device
from samfleet.sam.masks.boxes import groups_of, held
from samfleet.sam.masks.records import TileReport
from samfleet.sam.masks.suppression import keep_best
from samfleet.sam.tiles import Box, Layout, Tiles

_WHOLE_IMAGE_SIDES = 8
"""The whole image is shown to the model through a copy at most this many inputs long. Its masks have
four pixels of the input for each logit, so nothing that they could show is lost."""

_SAME_PART = 0.5  # IoU of two boxes in a tile

_SAMPLE_PIXELS = 1 << 22  # from which the background of a large image is told


@dataclass(frozen=True)
class Search:
    """How to look for masks.

    Attributes:
        look: finds the masks in a part of an image.
        find_all: finds the masks of the image without tiles.
        input_size: pixels along the model's input.
        grid: (n, 2) x and y from 0 to 1, the prompts of every part.
        skip_background: whether prompts on the background are left out.
        nms_thresh: greatest IoU of two masks' boxes from different tiles.
    """

    look: Callable[[View], Seen]
    find_all: Callable[[], Chosen]
    input_size: int
    grid: np.ndarray
    skip_background: bool
    nms_thresh: float

    def prompts(self, rgb: np.ndarray, background: Background) -> np.ndarray:
        """The prompts of a part of an image, (n, 2) float64, x and y in the part."""
        height, width = rgb.shape[:2]
        points = self.grid * np.array([[width, height]])
        if self.skip_background:
            foreground = Foreground(rgb, self.input_size, background)
            points = points[foreground.is_in_cells(self.grid, [0, 0, width, height])]
        return points


@dataclass(frozen=True, eq=False)
class FoundInTile:
    """What a look at a tile gave.

    Attributes:
        chosen: the masks that are whole.
        large: parts of objects that the neighbours may not hold whole either.
        left_out: whether it shows nothing but background, so that the model was not asked.
    """

    chosen: Chosen
    large: Candidates
    left_out: bool = False


TileKey = tuple[int, Box]
"""A tile of an image: the size that tiles should have, and its box."""

FinishedTiles = MutableMapping[TileKey, FoundInTile]
"""What was found in tiles so far. Where that is kept on the disk, an image can be gone on with."""


def find_in_tiles(
    picture: Picture, tiles: Tiles, search: Search, finished: FinishedTiles | None = None
) -> tuple[Chosen, TileReport, Layout]:
    """Looks for the masks of an image.

    Args:
        picture: the image.
        tiles: how it is divided.
        search: how to look.
        finished: tiles of this image that need no look any more; those that are looked at are added.

    Returns:
        The masks, what was done, and the tiles of the last look.
    """
    finished = {} if finished is None else finished
    layout = tiles.lay(picture.size)
    found, report, diameter = _find(picture, layout, tiles, search, finished)
    half = tiles.half()
    smaller = half.lay(picture.size)
    if tiles.enough is None or diameter >= tiles.enough or smaller.boxes == layout.boxes:
        return found, report, layout
    found, again, _ = _find(picture, smaller, half, search, finished)
    done, left_out = report.done + again.done, report.left_out + again.left_out
    return found, replace(again, done=done, left_out=left_out), smaller


def _find(
    picture: Picture, layout: Layout, tiles: Tiles, search: Search, finished: FinishedTiles
) -> tuple[Chosen, TileReport, float]:
    """One look: the masks, the report, and the median diameter as shown (infinite without masks)."""
    scale = search.input_size / layout.longest_side
    if len(layout.boxes) == 1:
        found = search.find_all()
        report = TileReport(tiles.size, done=1, left_out=0, cut=0)
        return found, report, _shown_diameter(found.candidates.boxes, scale)
    background = _background(picture, layout, search.input_size)
    missing = [box for box in layout.boxes if (tiles.size, box) not in finished]
    for box, rgb in zip(missing, picture.parts(missing), strict=True):
        finished[tiles.size, box] = _look_at(box, rgb, layout, background, search)
    results = [finished[tiles.size, box] for box in layout.boxes]
    in_tiles = Chosen.concatenate([_nothing(), *(result.chosen for result in results)])
    diameter = _shown_diameter(in_tiles.candidates.boxes, scale)
    large = _nothing()
    if tiles.whole_image:
        large = _find_in_whole(picture, layout, background, search)
    found = Chosen.concatenate([in_tiles, large])
    # masks from tiles come first, then the better ones
    score = found.candidates.predicted_iou.clone()
    score[: len(in_tiles.masks)] += 2
    boxes = found.candidates.boxes.numpy()
    found = found.select(keep_best(boxes, score.numpy(), search.nms_thresh))
    lost = _lost([result.large for result in results if len(result.large.boxes)], found)
    left_out = sum(result.left_out for result in results)
    report = TileReport(tiles.size, len(results) - left_out, left_out, lost)
    return found, report, diameter


def _look_at(
    box: Box, rgb: np.ndarray, layout: Layout, background: Background, search: Search
) -> FoundInTile:
    points = search.prompts(rgb, background)
    if not len(points) or (rgb == rgb[0, 0]).all():
        return FoundInTile(_nothing(), Candidates.none(torch.device("cpu")), left_out=True)
    view = View(rgb, list(box), points, _cut_by(layout, box), keeps_cut=True)
    seen = search.look(view)
    large = _too_large(seen.cut, layout, box, rgb, background)
    return FoundInTile(Chosen.of(seen, list(box)).packed(), large)


def _nothing() -> Chosen:
    return Chosen.of(Seen.nothing(torch.device("cpu")), [0, 0, 0, 0])


def _background(picture: Picture, layout: Layout, input_size: int) -> Background:
    """The background, told from evenly spaced tiles."""
    x0, y0, x1, y1 = layout.boxes[0]
    shown = min(1.0, input_size / layout.longest_side) ** 2 * (x1 - x0) * (y1 - y0)
    step = int(np.ceil(len(layout.boxes) * shown / _SAMPLE_PIXELS))
    sample = [
        blur(rgb, input_size).reshape(-1, 1, 3)
        for rgb in picture.parts(layout.boxes[step // 2 :: step])
    ]
    return Background.of(np.concatenate(sample))


def _cut_by(layout: Layout, box: Box) -> Callable[[torch.Tensor], torch.Tensor]:
    """Tells which boxes in a tile its inner edges cut."""
    corner = np.array(box[:2])
    least, most = (torch.from_numpy(np.array(limit) - corner) for limit in layout.inside(box))

    def cut(boxes: torch.Tensor) -> torch.Tensor:
        low, high = (to_device(limit, boxes.device) for limit in (least, most))
        return (boxes[:, :2] < low).any(1) | (boxes[:, 2:] > high).any(1)

    return cut


def _too_large(
    cut: Candidates, layout: Layout, box: Box, rgb: np.ndarray, background: Background
) -> Candidates:
    """Of the masks that a tile cuts, those that the neighbour may not hold either.

    Masks from edge to edge in both directions are taken for the background, as are those whose prompt
    is on it.
    """
    boxes = cut.boxes.numpy()
    x0, y0, x1, y1 = box
    least, most = layout.inside(box)
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    is_cut = (boxes[:, :2] < least) | (boxes[:, 2:] > most)
    large = (is_cut & (sides > layout.overlap - 2 * layout.tolerance)).any(1)
    margin = layout.tolerance
    spans = (boxes[:, :2] < (x0 + margin, y0 + margin)) & (
        boxes[:, 2:] >= (x1 - margin, y1 - margin)
    )
    column, row = (cut.points.numpy() - (x0, y0)).astype(int).T
    bright = background.differs(rgb[row, column]) & background.is_clear
    return cut.select(torch.from_numpy(np.flatnonzero(large & ~spans.all(1) & bright)))


def _find_in_whole(
    picture: Picture, layout: Layout, background: Background, search: Search
) -> Chosen:
    """Masks of the whole image that no tile holds, except those that span it: the background."""
    height, width = layout.size
    factor = reduction(layout.size, search.input_size)
    if min(height, width) * search.input_size < max(height, width) or min(height, width) < factor:
        return _nothing()  # too narrow for the model
    rgb = reduced(picture, factor)
    points = search.prompts(rgb, background)
    seen = search.look(View(rgb, [0, 0, rgb.shape[1], rgb.shape[0]], points))
    candidates = seen.candidates
    boxes = candidates.boxes * factor
    boxes[:, 2:] += factor - 1
    found = Chosen.of(
        replace(
            seen, candidates=replace(candidates, boxes=boxes, points=candidates.points * factor)
        ),
        [0, 0, width, height],
        factor,
    )
    margin = layout.tolerance
    numbers = boxes.numpy()
    spans = (numbers[:, :2] < margin).all(1) & (
        numbers[:, 2:] >= (width - margin, height - margin)
    ).all(1)
    return found.select(np.flatnonzero(~held(layout, numbers) & ~spans))


def reduction(size: tuple[int, int], input_size: int) -> int:
    """By what whole factor a copy of the whole image is smaller, for a model with this input."""
    return -(-max(size) // (_WHOLE_IMAGE_SIDES * input_size))


def _shown_diameter(boxes: torch.Tensor, scale: float) -> float:
    """The median of masks' diameters, the geometric mean of their boxes' sides, as the model sees them."""
    if not len(boxes):
        return float("inf")
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).double()
    return float(np.median(sides.prod(1).sqrt().numpy())) * scale


def _lost(cut: list[Candidates], found: Chosen) -> int:
    """About how many large objects lie under no mask that was found, though tiles show parts of them.

    Args:
        cut: for each tile the parts that it shows.
        found: all masks of the image.
    """
    parts = [box for candidates in cut for box in _lost_in_tile(candidates, found)]
    return groups_of(np.array(parts, np.int64).reshape(-1, 4))


def _lost_in_tile(cut: Candidates, found: Chosen) -> list[np.ndarray]:
    """The boxes of parts of objects, each of which several prompts have found.

    A part is lost if most of its prompts are under no mask. A few always are: beside the object.
    """
    boxes = cut.boxes.numpy()
    best = keep_best(boxes, cut.predicted_iou.numpy(), _SAME_PART)
    part = box_iou(cut.boxes.double(), cut.boxes[best].double()).argmax(1).numpy()
    outside = np.array([not _is_under(point, found) for point in cut.points.tolist()])
    return [
        boxes[number] for place, number in enumerate(best) if outside[part == place].mean() > 0.5
    ]


def _is_under(point: list[float], found: Chosen) -> bool:
    """Whether a mask covers a point, x and y in the image."""
    x, y = map(int, point)
    boxes = found.candidates.boxes.numpy()
    near = (boxes[:, :2] <= (x, y)).all(1) & (boxes[:, 2:] >= (x, y)).all(1)
    return any(_covers(found, number, x, y) for number in np.flatnonzero(near).tolist())


def _covers(found: Chosen, number: int, x: int, y: int) -> bool:
    region, (row, column) = found.masks[number].unpack()
    x0, y0 = found.crops[number, :2].tolist()
    factor = int(found.reductions[number])
    return bool(region[(y - y0) // factor - row, (x - x0) // factor - column])
