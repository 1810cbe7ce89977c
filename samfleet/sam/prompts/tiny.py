"""The map decoder of `tiny`: a small U-Net over the encoder's frame, which the embedding joins at its own scale.

The embedding knows what is an object, but has one place for 8 × 8 pixels, in which thin gaps between nuclei are lost.
O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (24, 48, 96, 160)
"""Channels at a half, a quarter, an eighth (the embedding's scale) and a sixteenth of the frame."""

_FINEST = 32  # channels at half of the frame on the way back
_EMBEDDING_LEVEL = 2


class TinyMapDecoder(nn.Module):
    """Maps as micro-sam's decoder gives them (`samfleet.sam.prompts.unetr.MAPS`), and a dense prompt.

    SAM adds dense prompts to the embedding, from which the mask decoder has the outlines: this one brings what the
    U-Net has seen of them.

    Args:
        channels: of the embedding.
    """

    def __init__(self, channels: int = 64):
        super().__init__()
        inputs = (3 * 4, *WIDTHS[:-1])
        joined = [channels if level == _EMBEDDING_LEVEL + 1 else 0 for level in range(len(WIDTHS))]
        self.down = nn.ModuleList(
            nn.Sequential(*_layer(i + j, o), *_layer(o, o))
            for i, j, o in zip(inputs, joined, WIDTHS, strict=True)
        )
        self.up = nn.ModuleList()
        below = WIDTHS[-1]
        for level, width in ((2, WIDTHS[2]), (1, WIDTHS[1]), (0, _FINEST)):
            skipped = WIDTHS[level] + (channels if level == _EMBEDDING_LEVEL else 0)
            self.up.append(nn.Sequential(*_layer(below + skipped, width), *_layer(width, width)))
            below = width
        self.dense = nn.Conv2d(WIDTHS[_EMBEDDING_LEVEL], channels, 1)
        self.out = nn.Conv2d(_FINEST, 3 * 4, 3, padding=1)
        for weights in self.dense.parameters():
            nn.init.zeros_(weights)  # SAM's own embedding to begin with
        self.to(memory_format=torch.channels_last)  # takes a CPU a quarter less

    def logits(
        self, embedding: torch.Tensor, frame: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The maps before the sigmoid, for training, and the dense prompt."""
        x = functional.pixel_unshuffle(frame, 2)
        skipped = []
        for level, layers in enumerate(self.down):
            if level:
                x = functional.max_pool2d(x, 2)
            x = layers(x)
            if level == _EMBEDDING_LEVEL:
                x = torch.cat([x, embedding], 1)
            skipped.append(x)
        skipped.pop()
        dense = embedding
        for layers in self.up:
            skip = skipped.pop()
            x = functional.interpolate(
                x, size=skip.shape[-2:], mode="bilinear", align_corners=False
            )
            x = layers(torch.cat([x, skip], 1))
            if x.shape[-2:] == embedding.shape[-2:]:
                dense = self.dense(x)
        return functional.pixel_shuffle(self.out(x), 2), dense

    def forward(
        self, embedding: torch.Tensor, frame: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the decoder sees in images.

        Args:
            embedding: (images, channels, height, width) float32, the image encoder's output.
            frame: (images, 3, 8 × height, 8 × width) float32, its input.

        Returns:
            The maps, (images, 3, 8 × height, 8 × width) float32 from 0 to 1, in the order of `MAPS`; and the dense
            prompt, as large as the embedding.
        """
        logits, dense = self.logits(embedding, frame)
        return logits.sigmoid(), dense


def _layer(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
