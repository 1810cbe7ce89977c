"""The two resizes of ``Sam.postprocess_masks``, divided into cells of pixels.

``Sam.postprocess_masks`` resizes logits bilinearly twice: to the encoder's square input, and then, without
the padding, to the image. So each pixel is a weighted mean of a few neighbouring logits. A *cell* is
the set of pixels that depend on the same window of logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional


@dataclass(frozen=True)
class Geometry:
    """What ``Sam.postprocess_masks`` depends on, besides the logits.

    Attributes:
        logits: (height, width) of the logits.
        encoder: (height, width) of the encoder's square input.
        unpadded: (height, width) of the image within that square.
        image: (height, width) of the image or of its crop.
        masks_per_prompt: how many masks are resized together; the choice of a kernel depends on it.
    """

    logits: tuple[int, int]
    encoder: tuple[int, int]
    unpadded: tuple[int, int]
    image: tuple[int, int]
    masks_per_prompt: int = 3

    def resize(self, logits: torch.Tensor) -> torch.Tensor:
        """Resizes (masks, height, width) float32 logits as ``Sam.postprocess_masks`` does."""
        count = len(logits)
        frames = functional.pad(logits, (0, 0, 0, 0, 0, -count % self.masks_per_prompt))
        frames = frames.unflatten(0, (-1, self.masks_per_prompt))
        frames = _resize(frames, self.encoder)[..., : self.unpadded[0], : self.unpadded[1]]
        return _resize(frames, self.image).flatten(0, 1)[:count]

    def in_frame(self, points: np.ndarray) -> np.ndarray:
        """The places in the encoder's input that these show, from the middles of pixels: (n, 2) float64, x and y."""
        scale = np.array(self.unpadded[::-1]) / np.array(self.image[::-1])
        return (points + 0.5) * scale - 0.5


def _resize(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(frames, size, mode="bilinear", align_corners=False)


def _weights(
    size: tuple[int, int], resized: tuple[int, int], dim: int, channels: int, device: torch.device
) -> np.ndarray:
    """The weights of a bilinear resize along one dimension, as the library rounds them.

    Kernels differ in the last bits of their coordinates. So the weights are taken from a real resize at
    the same size, of three frames that are 1 in every third line and 0 elsewhere.

    Returns:
        (resized[dim], size[dim]) float64.
    """
    length, count = size[dim], resized[dim]
    line = torch.arange(length, device=device).view((-1, 1) if dim == 0 else (1, -1))
    frames = torch.stack([(line % 3 == third).float().expand(size) for third in range(3)])
    frames = frames[:, None].expand(-1, channels, -1, -1).contiguous()
    thirds = _resize(frames, resized)[:, 0].select(2 - dim, 0).double().cpu().numpy()
    nearest = np.rint((np.arange(count) + 0.5) * (length / count) - 0.5).astype(int)
    weights = np.zeros((count, length))
    for neighbour in (nearest - 1, nearest, nearest + 1):
        inside = np.flatnonzero((neighbour >= 0) & (neighbour < length))
        weights[inside, neighbour[inside]] = thirds[neighbour[inside] % 3, inside]
    return weights


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of both resizes, divided into cells.

    Attributes:
        logits, pixels: lengths of the axis.
        window: number of logits that the pixels of a cell depend on. Cell c depends on the logits
            c - 1 ... c + window - 2; outside the frame the outermost logit is repeated.
        weights: (pixels of a cell, window, cells) float32. NaN for pixels that a smaller cell does
            not have, so that these are above no threshold.
        start: (cells,) int32, the first pixel of a cell.
        count: (cells,) int32, the number of pixels of a cell.
    """

    logits: int
    pixels: int
    window: int
    weights: torch.Tensor
    start: torch.Tensor
    count: torch.Tensor

    def neighbours(self, cells: torch.Tensor) -> torch.Tensor:
        """The logits that cells depend on: (window, len(cells)) int64."""
        offsets = torch.arange(self.window, device=cells.device)[:, None] - 1
        return (cells + offsets).clamp_(0, self.logits - 1)

    def members(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pixels of cells, (pixels of a cell, len(cells)) int64, and whether a cell has so many, bool."""
        offsets = torch.arange(len(self.weights), device=cells.device)[:, None]
        pixels = (self.start[cells] + offsets).clamp_(max=self.pixels - 1)
        return pixels, offsets < self.count[cells]


@lru_cache(maxsize=64)
def cut_axis(geometry: Geometry, dim: int, device: torch.device, threads: int) -> Axis:
    """Divides one dimension into cells.

    Args:
        geometry: the sizes.
        dim: 0 for rows, 1 for columns.
        device: where to keep the weights.
        threads: torch's number of threads; the library's choice of a kernel depends on it.
    """
    channels = geometry.masks_per_prompt
    first = _weights(geometry.logits, geometry.encoder, dim, channels, device)
    second = _weights(geometry.unpadded, geometry.image, dim, channels, device)
    weights = second @ first[: geometry.unpadded[dim]]
    logits, pixels = geometry.logits[dim], geometry.image[dim]
    # The cell of a pixel follows from the first pixel of the encoder's input that it depends on.
    encoder_pixel = (second > 0).argmax(1)
    cell = np.floor((encoder_pixel + 0.5) * (logits / geometry.encoder[dim]) + 0.5).astype(int)
    cell = np.minimum(cell, (weights > 0).argmax(1) + 1)
    cell = np.minimum.accumulate(cell[::-1])[::-1]
    last = logits - 1 - (weights > 0)[:, ::-1].argmax(1)
    window = max(2, int((last - cell + 2).max()))
    return Axis(
        logits=logits,
        pixels=pixels,
        window=window,
        weights=torch.as_tensor(_sort_weights(weights, cell, window), device=device),
        start=torch.as_tensor(np.searchsorted(cell, np.arange(logits + 1)), device=device).int(),
        count=torch.as_tensor(np.bincount(cell, minlength=logits + 1), device=device).int(),
    )


def _sort_weights(weights: np.ndarray, cell: np.ndarray, window: int) -> np.ndarray:
    """Sorts (pixels, logits) weights into (pixels of a cell, window, cells) float32."""
    pixels, logits = weights.shape
    # One logit before the frame and some after it, with weight 0.
    padded = np.pad(weights, ((0, 0), (1, window)))
    place = np.arange(pixels) - np.searchsorted(cell, cell)
    sorted_weights = np.full((place.max() + 1, window, logits + 1), np.nan, np.float32)
    for offset in range(window):
        sorted_weights[place, offset, cell] = padded[np.arange(pixels), cell + offset]
    return sorted_weights
