"""Look for masks in the tiles of an image, and choose among what neighbouring tiles have found.

A mask that an inner edge of its tile cuts is left to the neighbour, which shares enough pixels to hold it
whole. What is too large for that is looked for in the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torchvision.ops.boxes import box_iou

from samfleet.reduction import Picture, reduced
from samfleet.sam.generator.candidates import Candidates, Chosen, Following, Seen, View
from samfleet.sam.generator.foreground import Background, Foreground, blur
from samfleet.sam.generator.transfer import to_device
from samfleet.sam.masks.bitmask import overlaps
from samfleet.sam.masks.boxes import groups_of, held
from samfleet.sam.masks.records import TileReport
from samfleet.sam.masks.suppression import keep_best
from samfleet.sam.tiles import Box, Layout, Tiles

_WHOLE_IMAGE_SIDES = 8
"""The whole image is shown to the model through a copy at most this many inputs long. Its masks have
four pixels of the input for each logit, so nothing that they could show is lost."""

_SAME_PART = 0.5  # IoU of two boxes in a tile

_SAME_OBJECT = 0.5  # of the pixels of the smaller of two masks

_USUAL_OBJECTS = 2

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
    """Looks for the masks of an image, and with `tiles.enough` closer where objects are shown too small.

    Args:
        picture: the image.
        tiles: how it is divided.
        search: how to look.
        finished: tiles of this image that need no look any more; those that are looked at are added.

    Returns:
        The masks, what was done, and the tiles of the first look.
    """
    finished = {} if finished is None else finished
    layout = tiles.lay(picture.size)
    if len(layout.boxes) == 1:
        found = search.find_all()
        results = [FoundInTile(found.packed(), Candidates.none(torch.device("cpu")))]
    else:
        background = _background(picture, layout, search.input_size)
        results = _look_at_tiles(
            picture, layout.boxes, tiles.size, layout, background, search, finished
        )
        large = _nothing()
        if tiles.whole_image:
            large = _find_in_whole(picture, layout, background, search)
        found = _best(
            [*(result.chosen for result in results), large],
            [1] * len(results) + [0],
            search.nms_thresh,
        )
    half = tiles.half()
    closer = half.lay(picture.size)
    looked_at = results
    size = tiles.size
    if tiles.enough is not None and closer.boxes != layout.boxes:
        small = _shown_too_small(results, layout, search.input_size, tiles.enough)
        if boxes := [box for box in closer.boxes if _is_centred_in(box, small)]:
            background = _background(picture, closer, search.input_size)
            again = _look_at_tiles(picture, boxes, half.size, closer, background, search, finished)
            found = _closer(
                found,
                _best([result.chosen for result in again], [0] * len(again), search.nms_thresh),
            )
            looked_at, size = [*results, *again], half.size
    left_out = sum(result.left_out for result in looked_at)
    lost = _lost([result.large for result in looked_at if len(result.large.boxes)], found)
    return found, TileReport(size, len(looked_at) - left_out, left_out, lost), layout


def _look_at_tiles(
    picture: Picture,
    boxes: list[Box],
    size: int,
    layout: Layout,
    background: Background,
    search: Search,
    finished: FinishedTiles,
) -> list[FoundInTile]:
    """What is found in some tiles of a layout; those that are not finished yet are looked at.

    Args:
        size: that tiles should have.
    """
    missing = [box for box in boxes if (size, box) not in finished]
    shown = _Shown(zip(missing, picture.parts(missing), strict=True), background, search)
    for box, rgb, points in shown:
        finished[size, box] = _look_at(
            box, rgb, points, layout, background, search, shown.following
        )
    return [finished[size, box] for box in boxes]


class _Shown:
    """Tiles with their prompts, (n, 2) float64, which are none where there is nothing but background.

    Args:
        tiles: boxes of tiles, and their pixels.
    """

    def __init__(
        self, tiles: Iterable[tuple[Box, np.ndarray]], background: Background, search: Search
    ) -> None:
        self._tiles = ((box, rgb, self._points(rgb)) for box, rgb in tiles)
        self._background, self._search = background, search
        self._early: list[tuple[Box, np.ndarray, np.ndarray]] = []

    def _points(self, rgb: np.ndarray) -> np.ndarray:
        points = self._search.prompts(rgb, self._background)
        return points[:0] if (rgb == rgb[0, 0]).all() else points

    def __iter__(self) -> Iterator[tuple[Box, np.ndarray, np.ndarray]]:
        while self._next() is not None:
            yield self._early.pop()

    def _next(self) -> tuple[Box, np.ndarray, np.ndarray] | None:
        if not self._early:
            self._early += islice(self._tiles, 1)
        return self._early[0] if self._early else None

    def following(self) -> np.ndarray | None:
        """The pixels of the next tile, if the model is shown it."""
        tile = self._next()
        return tile[1] if tile is not None and len(tile[2]) else None


def _best(parts: list[Chosen], ranks: list[int], nms_thresh: float) -> Chosen:
    """The masks of some views without duplicates: those of higher ranks come first, then the better ones."""
    found = Chosen.concatenate([_nothing(), *parts])
    rank = np.repeat(ranks, [len(part.masks) for part in parts])
    score = found.candidates.predicted_iou.numpy() + 2 * rank.astype(np.float32)
    return found.select(keep_best(found.candidates.boxes.numpy(), score, nms_thresh))


def _is_centred_in(box: Box, others: list[Box]) -> bool:
    """Whether the centre of a box lies in one of others."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in others)


def _closer(first: Chosen, closer: Chosen) -> Chosen:
    """The masks of a closer look, and those of the first look that it did not find.

    A mask counts as found if it shares more than half of its pixels, or of the other's, with one of the closer look.
    """
    masks = [*closer.masks_in_image(), *first.masks_in_image()]
    shared, areas = overlaps(masks), [mask.area for mask in masks]
    count = len(closer.masks)

    def is_found(number: int) -> bool:
        return any(
            other < count and pixels > _SAME_OBJECT * min(areas[number], areas[other])
            for other, pixels in shared[number].items()
        )

    others = [number for number in range(len(first.masks)) if not is_found(count + number)]
    return Chosen.concatenate([closer, first.select(np.array(others, np.int64))])


def _look_at(
    box: Box,
    rgb: np.ndarray,
    points: np.ndarray,
    layout: Layout,
    background: Background,
    search: Search,
    following: Following,
) -> FoundInTile:
    if not len(points):
        return FoundInTile(_nothing(), Candidates.none(torch.device("cpu")), left_out=True)
    cut = _cut_by(layout, box)
    view = View(rgb, list(box), points, cut, keeps_cut=True, following=following)
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


def _shown_too_small(
    results: list[FoundInTile], layout: Layout, input_size: int, enough: float
) -> list[Box]:
    """The tiles in which objects are shown to the model with a median diameter of less than `enough` pixels.

    A diameter is the geometric mean of the box's sides. As a few fragments tell little, every tile is given a few
    objects of the image's own median besides.
    """
    scale = input_size / layout.longest_side
    diameters = [_diameters(result.chosen.candidates.boxes) * scale for result in results]
    found = np.concatenate(diameters)
    if not len(found):
        return []
    usual = np.full(_USUAL_OBJECTS, np.median(found))
    return [
        box
        for box, own in zip(layout.boxes, diameters, strict=True)
        if np.median(np.concatenate([own, usual])) < enough
    ]


def _diameters(boxes: torch.Tensor) -> np.ndarray:
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).double()
    return sides.prod(1).sqrt().numpy()


def _lost(cut: list[Candidates], found: Chosen) -> int:
    """About how many large objects lie under no mask that was found, though tiles show parts of them.

    Args:
        cut: for each tile the parts that it shows.
        found: all masks of the image.
    """
    parts = [_lost_in_tile(candidates, found) for candidates in cut]
    boxes = np.array([box for of_tile in parts for box in of_tile], np.int64).reshape(-1, 4)
    tiles = np.repeat(np.arange(len(parts)), [len(of_tile) for of_tile in parts])
    # what one tile alone shows as cut is not so large: its neighbours see something else there
    return sum(len(set(tiles[group].tolist())) > 1 for group in groups_of(boxes))


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
