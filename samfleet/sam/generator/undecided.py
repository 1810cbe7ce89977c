"""Masks among which the host still has to choose."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from samfleet.sam.generator.candidates import Candidates
from samfleet.sam.generator.packing import MaskBits, bits_of
from samfleet.sam.generator.transfer import Arriving, to_device
from samfleet.sam.generator.upsampling import CellMasks


@dataclass(frozen=True, eq=False)
class Part:
    """Masks of some prompts that have passed the filters.

    Attributes:
        candidates: what is known of them.
        bits: their pixels.
        cut: stable masks that the view's edge cuts, as far as they are kept.
    """

    candidates: Candidates
    bits: MaskBits
    cut: Candidates


class Undecided:
    """Masks of some prompts on their device, while what the filters say of them goes to the host.

    How many pass must be known there before they can be packed. Whoever decides after the device has been
    waited for anyway, does not wait for it.

    Args:
        candidates: what is known of the masks.
        masks: the masks.
        chosen, cut: (masks,) bool on the device, which of them go on as whole and as cut ones.
    """

    def __init__(
        self, candidates: Candidates, masks: CellMasks, chosen: torch.Tensor, cut: torch.Tensor
    ) -> None:
        self._candidates, self._masks = candidates, masks
        self._arriving = Arriving([chosen, cut])

    def decide(self) -> Part:
        """Packs those that go on."""
        chosen, cut = (flags.nonzero()[:, 0] for flags in self._arriving.arrive())
        device = self._candidates.boxes.device
        return Part(
            self._candidates.select(to_device(chosen, device)),
            bits_of(self._masks, chosen),
            self._candidates.select(to_device(cut, device)),
        )
