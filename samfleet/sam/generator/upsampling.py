"""Masks at image size from low-resolution logits, without resizing whole frames.

If all logits in the window that a cell depends on (see ``geometry``) are above every threshold, so are all
pixels of the cell; the same holds below. Only the other cells, those along outlines, are resized.

They are resized with our own arithmetic, whose rounding error is bounded. If bits must not differ, a pixel
that is closer to a threshold than the bound is taken from the library's own resize. For that, pixels of
many masks share one frame, since their windows seldom overlap. A GPU would have to be waited for to learn
which pixels these are: there the library's own resize gives all of them, a few whole frames at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch

from samfleet.sam.generator.geometry import Axis, Geometry, cut_axis
from samfleet.sam.generator.transfer import Arriving

# Bound on the difference between our resize and the library's, relative to the largest logit of a window:
# about thirty roundings of 2**-24 each.
ROUNDING = 2e-6
# Float32 weights can add up to slightly more than 1.
MARGIN = 1e-5
# What fits into the cache of a core, or keeps a GPU busy.
CELLS_AT_ONCE = {"cpu": 1 << 13, "cuda": 1 << 21}
MASKS_AT_ONCE = {"cpu": 16, "cuda": 1024}
# Pixels of whole frames, in the image or in the encoder's input, that a GPU resizes at once: those of one prompt at least.
FRAMES_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class Cells:
    """Cells of several masks, sorted by mask; each field (cells,) int64."""

    mask: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor

    def part(self, index: slice | torch.Tensor) -> Cells:
        return Cells(self.mask[index], self.row[index], self.column[index])

    def split(self, counts: list[int]) -> list[Cells]:
        """Consecutive parts of so many cells each."""
        fields = (field.split(counts) for field in (self.mask, self.row, self.column))
        return [Cells(*part) for part in zip(*fields, strict=True)]


@dataclass(frozen=True)
class CellMasks:
    """Masks of one batch: cells that are inside as a whole, and the pixels of cells along outlines.

    Attributes:
        whole: (masks, rows of cells, columns of cells) bool, cells that are inside as a whole.
        outline: the cells along outlines.
        cells: (masks,) int64, the number of cells along each outline; always on the host.
        pixels: (rows, columns, cells) bool, the pixels of ``outline``.
        boxes: (masks, 4) int64, x0 y0 x1 y1, both ends inside; zeros for an empty mask.
        stability: (masks,) float32, NaN if nothing is above the lower threshold.
    """

    whole: torch.Tensor
    outline: Cells
    cells: torch.Tensor
    pixels: torch.Tensor
    boxes: torch.Tensor
    stability: torch.Tensor


class Upsampler:
    """Masks, stability scores and boxes of low-resolution logits, for one geometry.

    Args:
        geometry: the sizes.
        mask_threshold: logits above it are inside.
        stability_score_offset: by how much the threshold is shifted for the stability score.
        device: where the logits will be.
        exact: whether pixels must be those of ``Sam.postprocess_masks`` in every case.
    """

    def __init__(
        self,
        geometry: Geometry,
        mask_threshold: float,
        stability_score_offset: float,
        device: torch.device,
        exact: bool = True,
    ) -> None:
        self.geometry = geometry
        threads = torch.get_num_threads()
        self.y, self.x = (cut_axis(geometry, dim, device, threads) for dim in (0, 1))
        self.thresholds = (
            mask_threshold,
            mask_threshold + stability_score_offset,
            mask_threshold - stability_score_offset,
        )
        self.exact = exact

    def masks(self, logits: torch.Tensor) -> CellMasks:
        """Thresholds (masks, height, width) float32 logits at the size of the image."""
        whole, outline, cells = self._classify(logits)
        if self.exact and not _on_cpu(logits):
            pixels, counts = self._outline_pixels_of_frames(logits, outline, cells)
        else:
            pixels, counts = self._outline_pixels(logits, outline)
        per_row, per_column = self._count_pixels(whole)
        area = (per_row.long() * self.y.count).sum(1)
        intersection, union = (
            area.index_add(0, outline.mask, count).to(torch.int32) for count in counts[1:]
        )
        rows, columns = (reduce(torch.bitwise_or, pixels.unbind(dim)) for dim in (1, 0))
        top, bottom = _extent(self.y, per_row > 0, outline.mask, outline.row, rows)
        left, right = _extent(self.x, per_column > 0, outline.mask, outline.column, columns)
        boxes = torch.stack([left, top, right, bottom], 1) * (right >= left)[:, None]
        return CellMasks(whole, outline, cells, pixels, boxes.long(), intersection / union)

    def _classify(self, logits: torch.Tensor) -> tuple[torch.Tensor, Cells, torch.Tensor]:
        """Cells that are above every threshold, and cells that are neither above nor below all of them.

        Returns:
            The fields `whole`, `outline` and `cells` of the masks.
        """
        high, low = max(self.thresholds), min(self.thresholds)
        whole: list[torch.Tensor] = []
        outlines, counts = [], []
        for part in _split(logits, MASKS_AT_ONCE):
            above = _above(part, high + MARGIN * abs(high))
            above = self._over_windows(above, torch.bitwise_and)
            not_below = _above(part, low - MARGIN * abs(low))
            not_below = self._over_windows(not_below, torch.bitwise_or)
            (mask, row, column), count = _find_cells(not_below & ~above)
            outlines.append((mask + sum(len(part) for part in whole), row, column))
            counts.append(count)
            whole.append(above)
        mask, row, column = (torch.cat(index) for index in zip(*outlines, strict=True))
        return torch.cat(whole), Cells(mask, row, column), torch.cat(counts)

    def _over_windows(self, levels: torch.Tensor, combine: Callable) -> torch.Tensor:
        """Combines (masks, height, width) bool over the window of every cell."""
        for dim, axis in ((1, self.y), (2, self.x)):
            first, last = levels.narrow(dim, 0, 1), levels.narrow(dim, -1, 1)
            levels = torch.cat([first, levels] + [last] * (axis.window - 1), dim)
            combined = levels.narrow(dim, 0, axis.logits + 1)
            for offset in range(1, axis.window):
                combined = combine(combined, levels.narrow(dim, offset, axis.logits + 1))
            levels = combined
        return levels

    def _count_pixels(self, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels of whole cells, by row and by column of cells: (masks, cells) float32."""
        rows, columns = [], []
        for part in _split(whole, MASKS_AT_ONCE):
            # View as bytes first: torch is several times slower at converting booleans.
            flags = part.view(torch.uint8).to(torch.float32)
            rows.append(flags @ self.x.count.to(torch.float32))
            columns.append(self.y.count.to(torch.float32) @ flags)
        return torch.cat(rows), torch.cat(columns)

    def _outline_pixels(
        self, logits: torch.Tensor, outline: Cells
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Resizes cells.

        Returns:
            (rows, columns, cells) bool, whether a pixel is inside, and (thresholds, cells) int64, how
            many pixels of a cell are above each threshold.
        """
        inside, above_each, unsure = [], [], []
        for chosen in _split(torch.arange(len(outline.mask), device=logits.device), CELLS_AT_ONCE):
            values, tolerance = self._resize(logits, outline.part(chosen))
            above = self._levels(values, tolerance)
            inside.append(above[0])
            above_each.append(above.sum((1, 2)))
            if self.exact:
                level, y, x, cell = _nonzero(self._levels(values, -tolerance).bitwise_xor_(above))
                unsure.append((level, y, x, chosen[cell]))
        pixels, counts = torch.cat(inside, -1), torch.cat(above_each, -1)
        if self.exact:
            level, y, x, cell = (torch.cat(index) for index in zip(*unsure, strict=True))
            values = self._library_pixels(logits, outline.part(cell), y, x)
            above = values > torch.tensor(self.thresholds)[level]
            first = level == 0
            pixels[y[first], x[first], cell[first]] = above[first]
            counts.index_put_((level, cell), above.long(), accumulate=True)
        return pixels, counts

    def _outline_pixels_of_frames(
        self, logits: torch.Tensor, outline: Cells, cells: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `_outline_pixels`, from frames exactly as ``Sam.postprocess_masks`` resizes them.

        Args:
            cells: (masks,) int64, the number of cells along each outline, on the host.
        """
        masks, sizes = self.geometry.masks_per_prompt, (self.geometry.encoder, self.geometry.image)
        at_once = masks * max(1, FRAMES_AT_ONCE // (masks * max(map(math.prod, sizes))))
        parts = outline.split([int(part.sum()) for part in cells.split(at_once)])
        inside, above_each = [], []
        for some, part in zip(logits.split(at_once), parts, strict=True):
            (y, in_row), (x, in_column) = self.y.members(part.row), self.x.members(part.column)
            values = self.geometry.resize(some)[part.mask % at_once, y[:, None], x[None]]
            above = self._levels(values, 0.0).bitwise_and_(in_row[:, None] & in_column)
            inside.append(above[0])
            above_each.append(above.sum((1, 2)))
        return torch.cat(inside, -1), torch.cat(above_each, -1)

    def _levels(self, values: torch.Tensor, tolerance: torch.Tensor | float) -> torch.Tensor:
        """Whether values exceed each threshold by more than a tolerance: (thresholds, *values) bool."""
        levels = values.new_empty((len(self.thresholds), *values.shape), dtype=torch.bool)
        for level, threshold in zip(levels, self.thresholds, strict=True):
            torch.gt(values, threshold + tolerance, out=level)
        return levels

    def _resize(self, logits: torch.Tensor, cells: Cells) -> tuple[torch.Tensor, torch.Tensor]:
        """Values of cells, (rows, columns, cells) float32, and their tolerance, (cells,)."""
        window, _, _ = self._window(logits, cells)
        weights = self.x.weights[..., cells.column]
        lines = window[None, :, 0] * weights[:, None, 0]
        for offset in range(1, self.x.window):
            lines.addcmul_(window[None, :, offset], weights[:, None, offset])
        weights = self.y.weights[..., cells.row]
        values = lines[:, 0] * weights[:, None, 0]
        for offset in range(1, self.y.window):
            values.addcmul_(lines[:, offset], weights[:, None, offset])
        return values, window.abs().amax((0, 1)) * (ROUNDING if self.exact else 0.0)

    def _window(
        self, logits: torch.Tensor, cells: Cells
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The logits that cells depend on, (rows, columns, cells), and their rows and columns."""
        rows, columns = self.y.neighbours(cells.row), self.x.neighbours(cells.column)
        return logits[cells.mask, rows[:, None], columns[None]], rows, columns

    def _library_pixels(
        self,
        logits: torch.Tensor,
        cells: Cells,
        y: torch.Tensor,
        x: torch.Tensor,
    ) -> torch.Tensor:
        """Pixels of cells exactly as ``Sam.postprocess_masks`` computes them on a CPU: (cells,) float32.

        Args:
            cells: the cells; the same one may occur several times.
            y, x: (cells,) int64, a pixel within each cell.
        """
        window, rows, columns = self._window(logits, cells)
        places = (rows[:, None] * self.x.logits + columns[None]).flatten(0, 1)
        shared, frame = _share_frames(
            window.flatten(0, 1).numpy(),
            places.numpy(),
            cells.mask.numpy(),
            self.y.logits * self.x.logits,
        )
        frames = torch.from_numpy(shared).view(-1, self.y.logits, self.x.logits)
        y, x = y + self.y.start[cells.row], x + self.x.start[cells.column]
        pixels = logits.new_empty(len(y))
        for first in range(0, len(frames), self.geometry.masks_per_prompt):
            part = frames[first : first + self.geometry.masks_per_prompt]
            within = np.flatnonzero((frame >= first) & (frame < first + len(part)))
            resized = self.geometry.resize(part)
            pixels[within] = resized[frame[within] - first, y[within], x[within]]
        return pixels


def _share_frames(
    values: np.ndarray, places: np.ndarray, owners: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places windows in as few frames as possible, without overlaps between different owners.

    Args:
        values, places: (n, windows), what to write, and where.
        owners: (windows,) the mask of each window. Windows of one mask agree where they overlap.
        size: places in a frame.

    Returns:
        (frames, size), and the number of the frame of every window.
    """
    frames: list[np.ndarray] = []
    taken: list[np.ndarray] = []
    frame = np.zeros(len(owners), dtype=np.int64)
    for owner in np.unique(owners):
        windows = np.flatnonzero(owners == owner)
        place = places[:, windows]
        free = (i for i, flags in enumerate(taken) if not flags[place].any())
        chosen = next(free, len(taken))
        if chosen == len(taken):
            frames.append(np.zeros(size, values.dtype))
            taken.append(np.zeros(size, bool))
        frames[chosen][place] = values[:, windows]
        taken[chosen][place] = True
        frame[windows] = chosen
    return np.array(frames, values.dtype).reshape(-1, size), frame


def _split(values: torch.Tensor, at_once: dict[str, int]) -> tuple[torch.Tensor, ...]:
    return values.split(at_once[values.device.type])


def _on_cpu(values: torch.Tensor) -> bool:
    return values.device.type == "cpu"


def _above(logits: torch.Tensor, threshold: float) -> torch.Tensor:
    if _on_cpu(logits):
        # On a CPU, numpy compares several times faster than torch.
        return torch.from_numpy(logits.numpy() > np.float32(threshold))
    return logits > threshold


def _find_cells(flags: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Masks, rows and columns of true values, and how many each mask has: (masks,) int64 on the host."""
    if _on_cpu(flags):
        index = _nonzero(flags)
        return index, index[0].bincount(minlength=len(flags))
    counting = Arriving([flags.sum((1, 2))])
    index = flags.nonzero(as_tuple=True)
    (counts,) = counting.arrive()  # without a wait, since the host has just waited for the cells
    return index, counts


def _nonzero(flags: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Indices of true values on a CPU, where numpy finds them several times faster than torch."""
    index = torch.from_numpy(np.flatnonzero(flags.numpy()))
    return torch.unravel_index(index, flags.shape)


def _extent(
    axis: Axis, whole: torch.Tensor, mask: torch.Tensor, cell: torch.Tensor, lines: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last pixel of each mask along one axis, (masks,) int32.

    Args:
        whole: (masks, cells of the axis) bool, lines of cells in which a cell is inside as a whole.
        mask, cell: (k,) int64, the cells along outlines.
        lines: (pixels of a cell, k) bool, lines of these cells in which a pixel is inside.
    """
    whole = whole & (axis.count > 0)
    first = torch.where(whole, axis.start, axis.pixels).amin(1)
    last = torch.where(whole, axis.start + axis.count - 1, -1).amax(1)
    # As int32, which torch reduces a hundred times faster than int64 on a CPU.
    offset = torch.arange(len(lines), dtype=torch.int32, device=cell.device)[:, None]
    pixel = axis.start[cell] + offset
    first.scatter_reduce_(0, mask, torch.where(lines, pixel, axis.pixels).amin(0), "amin")
    last.scatter_reduce_(0, mask, torch.where(lines, pixel, -1).amax(0), "amax")
    return first, last
