"""Prompts of a view from its image embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from samfleet.config.settings import SeedSettings
from samfleet.sam.prompts.seeds import seed_points
from samfleet.sam.prompts.unetr import UnetrDecoder, resize_maps


class NotFiniteMaps(Exception):
    """A map decoder computed numbers that are infinite or no numbers."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """What is asked for in a view.

    Attributes:
        points: (n, 2) float64, x and y in pixels of the view.
        embedding: (1, channels, height, width) float32, from which they are to be decoded.
        maps: (3, height, width) float32, those of the unpadded part of the encoder's frame, if they are kept.
    """

    points: np.ndarray
    embedding: torch.Tensor
    maps: np.ndarray | None = None


class MapPrompts:
    """One prompt for each object that a map decoder sees.

    micro-sam looks for seeds in maps of the image's own size, and so do we with its decoder. With that of `tiny`,
    seeds are looked for in the encoder's frame: there a small tile is enlarged, and its objects lie apart.

    Args:
        decoder: gives maps from an embedding, on the model's device.
        seeds: what is a seed.
        side: of the encoder's frame, in pixels.
        keeps_maps: whether the maps are told with the prompts.
    """

    def __init__(
        self, decoder: nn.Module, seeds: SeedSettings, side: int, keeps_maps: bool = False
    ) -> None:
        self._decoder, self.seeds, self._side = decoder, seeds, side
        self._keeps_maps = keeps_maps
        self._in_frame = not isinstance(decoder, UnetrDecoder)

    @torch.no_grad()
    def find(
        self,
        embedding: torch.Tensor,
        frame: torch.Tensor,
        unpadded: tuple[int, int],
        size: tuple[int, int],
    ) -> Prompts:
        """The prompts of a view.

        Args:
            embedding: (1, channels, height, width) float32.
            frame: (1, 3, side, side) float32, what the encoder was shown.
            unpadded: (height, width) of the view in the frame.
            size: (height, width) of the view in pixels.

        Returns:
            The prompts. The decoder of `tiny` adds a dense prompt to the embedding.

        Raises:
            NotFiniteMaps: the decoder's output is not finite.
        """
        if self._in_frame:
            searched = unpadded
            decoded, dense = self._decoder(embedding, frame)
            embedding = embedding + dense
        else:
            searched = size
            decoded = self._decoder(embedding)
        maps = self._resized(decoded, unpadded, searched)
        points = seed_points(maps, self.seeds)
        scale = np.array(size[::-1]) / np.array(searched[::-1])
        kept = None
        if self._keeps_maps:
            kept = maps if searched == unpadded else self._resized(decoded, unpadded, unpadded)
        return Prompts((points + 0.5) * scale - 0.5, embedding, kept)

    def _resized(
        self, decoded: torch.Tensor, unpadded: tuple[int, int], size: tuple[int, int]
    ) -> np.ndarray:
        maps = resize_maps(decoded, self._side, unpadded, size).cpu().numpy()
        if not np.isfinite(maps.sum()):
            raise NotFiniteMaps
        return maps
