"""Prompts of a view from its image embedding."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from samfleet.config.settings import SeedSettings
from samfleet.sam.prompts.seeds import seed_points
from samfleet.sam.prompts.unetr import UnetrDecoder, resize_maps


class NotFiniteMaps(Exception):
    """A map decoder computed numbers that are infinite or no numbers."""


class MapPrompts:
    """One prompt for each object that a map decoder sees.

    micro-sam looks for seeds in maps of the image's own size, and so do we with its decoder. With that of `tiny`,
    seeds are looked for in the encoder's frame: there a small tile is enlarged, and its objects lie apart.

    Args:
        decoder: gives maps from an embedding, on the model's device.
        seeds: what is a seed.
        side: of the encoder's frame, in pixels.
    """

    def __init__(self, decoder: nn.Module, seeds: SeedSettings, side: int):
        self._decoder, self._seeds, self._side = decoder, seeds, side
        self._in_frame = not isinstance(decoder, UnetrDecoder)

    @torch.no_grad()
    def find(
        self,
        embedding: torch.Tensor,
        frame: torch.Tensor,
        unpadded: tuple[int, int],
        size: tuple[int, int],
    ) -> tuple[np.ndarray, torch.Tensor]:
        """The prompts of a view.

        Args:
            embedding: (1, channels, height, width) float32.
            frame: (1, 3, side, side) float32, what the encoder was shown.
            unpadded: (height, width) of the view in the frame.
            size: (height, width) of the view in pixels.

        Returns:
            Points, (n, 2) float64, x and y in pixels of the view; and the embedding from which they are to be decoded,
            to which the decoder of `tiny` adds a dense prompt.

        Raises:
            NotFiniteMaps: the decoder's output is not finite.
        """
        if self._in_frame:
            searched = unpadded
            maps, dense = self._decoder(embedding, frame)
            embedding = embedding + dense
        else:
            searched = size
            maps = self._decoder(embedding)
        maps = resize_maps(maps, self._side, unpadded, searched).cpu().numpy()
        if not np.isfinite(maps.sum()):
            raise NotFiniteMaps
        points = seed_points(maps, self._seeds)
        scale = np.array(size[::-1]) / np.array(searched[::-1])
        return (points + 0.5) * scale - 0.5, embedding
