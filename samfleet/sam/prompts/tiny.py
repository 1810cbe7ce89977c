"""The map decoder of `tiny`: small convolutions from its embedding up to the encoder's frame."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (80, 48, 24)
"""Channels at one, two and four times the size of the embedding."""


class TinyMapDecoder(nn.Module):
    """Maps as micro-sam's decoder gives them (`samfleet.sam.prompts.unetr.MAPS`), for 64 channels.

    Args:
        channels: of the embedding.
    """

    def __init__(self, channels: int = 64):
        super().__init__()
        self.levels = nn.ModuleList()
        for width in WIDTHS:
            self.levels.append(nn.Sequential(*_layer(channels, width), *_layer(width, width)))
            channels = width
        self.out = nn.Conv2d(channels, 3 * 4, 3, padding=1)

    def logits(self, embedding: torch.Tensor) -> torch.Tensor:
        """The maps before the sigmoid, for training."""
        x = embedding
        for number, level in enumerate(self.levels):
            if number:
                x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = level(x)
        return functional.pixel_shuffle(self.out(x), 2)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """The maps of images.

        Args:
            embedding: (images, channels, height, width) float32, the image encoder's output.

        Returns:
            (images, 3, 8 × height, 8 × width) float32 from 0 to 1, in the order of `MAPS`.
        """
        return self.logits(embedding).sigmoid()


def _layer(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.GELU()
