"""What is known of masks before they leave the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice

import numpy as np
import torch
from segment_anything.utils import amg

from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.packed import CompactMask


@dataclass(frozen=True)
class Candidates:
    """The properties of masks that have passed the filters so far.

    Attributes:
        boxes: (n, 4) int64, x0 y0 x1 y1, both ends inside.
        predicted_iou, stability: (n,) float32.
        points: (n, 2) float64, x and y of the prompts.
    """

    boxes: torch.Tensor
    predicted_iou: torch.Tensor
    stability: torch.Tensor
    points: torch.Tensor

    @classmethod
    def none(cls, device: torch.device) -> Candidates:
        """No masks."""
        return cls(
            boxes=torch.zeros(0, 4, dtype=torch.int64, device=device),
            predicted_iou=torch.zeros(0, device=device),
            stability=torch.zeros(0, device=device),
            points=torch.zeros(0, 2, dtype=torch.float64, device=device),
        )

    @classmethod
    def of(cls, tensors: Iterator[torch.Tensor]) -> Candidates:
        """The candidates of the next `tensors`."""
        return cls(*islice(tensors, len(fields(cls))))

    def tensors(self) -> list[torch.Tensor]:
        """Every field."""
        return [getattr(self, field.name) for field in fields(self)]

    @classmethod
    def concatenate(cls, parts: list[Candidates]) -> Candidates:
        """All masks of some parts, in their order."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def select(self, index: torch.Tensor) -> Candidates:
        """The candidates at (n,) int64 numbers, in their order."""
        return Candidates(*(getattr(self, field.name)[index] for field in fields(self)))

    def in_image(self, box: list[int]) -> Candidates:
        """The candidates of the part x0, y0, x1, y1 of an image, in the coordinates of the image."""
        return replace(
            self,
            boxes=amg.uncrop_boxes_xyxy(self.boxes, box),
            points=amg.uncrop_points(self.points, box),
        )


Following = Callable[[], np.ndarray | None]


def no_following() -> None:
    """Nothing is known of the next view."""
    return None


@dataclass(frozen=True, eq=False)
class View:
    """A part of an image that is shown to the model.

    Attributes:
        rgb: (height, width, 3) uint8.
        box: x0, y0, x1, y1 of the part in the image.
        points: (n, 2) float64, x and y of the prompts in the part.
        cut: tells which of (n, 4) boxes, in the part and with both ends inside, its edge cuts; None if
            it cuts nothing.
        keeps_cut: whether what is known of cut masks is kept, too.
        following: gives the pixels of the view that is shown next, without waiting; None if that is not known.
    """

    rgb: np.ndarray
    box: list[int]
    points: np.ndarray
    cut: Callable[[torch.Tensor], torch.Tensor] | None = None
    keeps_cut: bool = False
    following: Following = no_following


@dataclass(frozen=True, eq=False)
class Seen:
    """What was found in a view, in the coordinates of the image.

    Attributes:
        candidates: the masks that are whole.
        masks: their pixels, in the view.
        cut: stable masks that the view's edge cuts, unless they are not kept.
    """

    candidates: Candidates
    masks: Sequence[CompactMask]
    cut: Candidates

    @classmethod
    def nothing(cls, device: torch.device) -> Seen:
        """No masks."""
        return cls(Candidates.none(device), [], Candidates.none(device))


@dataclass(frozen=True, eq=False)
class Chosen:
    """The masks of an image that are left after non-maximum suppression.

    Attributes:
        candidates: what is known of them.
        masks: their pixels.
        crops: (n, 4) int64, the parts that they were found in, x0, y0, x1, y1 in the image.
        reductions: (n,) int64, by what factor these were smaller than in the image.
    """

    candidates: Candidates
    masks: Sequence[CompactMask]
    crops: np.ndarray
    reductions: np.ndarray

    @classmethod
    def of(cls, seen: Seen, box: list[int], factor: int = 1) -> Chosen:
        """The masks that were found in a part of an image."""
        count = len(seen.masks)
        crops = np.tile(np.array(box, np.int64), (count, 1))
        factors = np.full(count, factor, np.int64)
        return cls(seen.candidates, seen.masks, crops, factors)

    @classmethod
    def concatenate(cls, parts: list[Chosen]) -> Chosen:
        """All masks of some parts, in their order."""
        return cls(
            Candidates.concatenate([part.candidates for part in parts]),
            [mask for part in parts for mask in part.masks],
            np.concatenate([part.crops for part in parts]),
            np.concatenate([part.reductions for part in parts]),
        )

    def packed(self) -> Chosen:
        """The same with masks of a few hundred bytes each, as many of them are kept."""
        masks = [BitMask.of(*mask.unpack()) for mask in self.masks]
        return replace(self, masks=masks)

    def masks_in_image(self) -> Iterator[BitMask]:
        """The masks in the frame of the image; empty ones in place of those of smaller copies."""
        for mask, crop, reduction in zip(self.masks, self.crops, self.reductions, strict=True):
            if reduction > 1:
                yield BitMask.of(np.zeros((1, 1), bool), (0, 0))
                continue
            region, (row, column) = mask.unpack()
            yield BitMask.of(region, (row + int(crop[1]), column + int(crop[0])))

    def select(self, index: np.ndarray) -> Chosen:
        """The masks at (n,) int64 numbers, in their order."""
        return Chosen(
            self.candidates.select(torch.from_numpy(index).to(self.candidates.boxes.device)),
            [self.masks[number] for number in index.tolist()],
            self.crops[index],
            self.reductions[index],
        )
