"""The decoder that micro-sam puts beside SAM's mask decoder: maps of foreground and distances.

It is the decoder of a UNETR whose skips are all made from the image embedding itself, by deconvolutions
(A. Archit et al., "Segment Anything for Microscopy", Nature Methods 22, 2025; layout and arithmetic as in torch-em 0.10).
The names of the layers are those of micro-sam's files, so that their `decoder_state` loads strictly.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

MAPS = ("foreground", "center_distance", "boundary_distance")
"""What the channels of the output are. Both distances are low inside: at the centre, and far from the boundary."""


class _Upsampling(nn.Module):
    """Bilinear interpolation to twice the size and a 1 × 1 convolution, which comes first here.

    Both orders are equal but for rounding, since the weights of the interpolation add up to one; at low
    resolution the convolution costs a quarter.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(
            self.conv(x), scale_factor=2, mode="bilinear", align_corners=False
        )


class _TransposedUpsampling(nn.Module):
    """A transposed 2 × 2 convolution to twice the size, which older files have instead."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.block = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class _TwoConvolutions(nn.Module):
    """Two 3 × 3 convolutions, each of normalised channels and followed by ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.InstanceNorm2d(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class _Convolution(nn.Module):
    """A 3 × 3 convolution, one level down, as the files name it."""

    def __init__(self, channels: int):
        super().__init__()
        self.block = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class _BatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of the training, or of the image itself.

    micro-sam leaves its decoder in training mode at inference, which means the latter. Unlike there, the
    running statistics are left alone, so that results do not depend on the images before.
    """

    of_image = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.of_image:
            return super().forward(x)
        return functional.batch_norm(
            x, None, None, self.weight, self.bias, training=True, eps=self.eps
        )


class _Deconvolution(nn.Module):
    """To twice the size, a convolution, normalisation and ReLU."""

    def __init__(self, upsampling: type[nn.Module], inputs: int, outputs: int):
        super().__init__()
        self.block = nn.Sequential(
            upsampling(inputs, outputs),
            _Convolution(outputs),
            _BatchNorm(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class _Levels(nn.Module):
    """Three levels, each up to twice the size and joined with a skip."""

    def __init__(self, upsampling: type[nn.Module]):
        super().__init__()
        widths = ((512, 256), (256, 128), (128, 64))
        self.samplers = nn.ModuleList(upsampling(i, o) for i, o in widths)
        self.blocks = nn.ModuleList(_TwoConvolutions(i, o) for i, o in widths)

    def forward(self, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        for sampler, block, skip in zip(self.samplers, self.blocks, skips, strict=True):
            x = sampler(x)
            # The skip has twice the channels; its middle ones are taken.
            first = (skip.shape[1] - x.shape[1]) // 2
            x = block(torch.cat([x, skip[:, first : first + x.shape[1]]], dim=1))
        return x


class UnetrDecoder(nn.Module):
    """micro-sam's decoder.

    Args:
        transposed: whether upsampling is by transposed convolutions.
        statistics: whose statistics batch normalisation uses, "image" or "trained".

    Raises:
        ValueError: `statistics` is something else.
    """

    def __init__(self, transposed: bool = False, statistics: str = "image"):
        super().__init__()
        if statistics not in ("image", "trained"):
            raise ValueError(f"statistics: {statistics!r} is neither image nor trained")
        upsampling = _TransposedUpsampling if transposed else _Upsampling
        self.base = _TwoConvolutions(256, 512)
        self.decoder = _Levels(upsampling)
        self.deconv1 = _Deconvolution(upsampling, 256, 512)
        self.deconv2 = _Deconvolution(upsampling, 512, 256)
        self.deconv3 = _Deconvolution(upsampling, 256, 128)
        self.deconv4 = _Deconvolution(upsampling, 128, 64)
        self.deconv_out = upsampling(64, 64)
        self.decoder_head = _TwoConvolutions(128, 64)
        self.out_conv = nn.Conv2d(64, 3, 1)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.of_image = statistics == "image"

    @torch.no_grad()
    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """The maps of an image.

        Args:
            embedding: (1, 256, height, width) float32, the image encoder's output. One image at a time:
                the statistics of a batch would be those of all its images.

        Returns:
            (1, 3, 16 × height, 16 × width) float32 from 0 to 1, in the order of `MAPS`.

        Raises:
            ValueError: there is more than one image.
        """
        if len(embedding) != 1:
            raise ValueError(f"expected the embedding of one image, not of {len(embedding)}")
        skips = [self.deconv1(embedding)]
        for deconvolution in (self.deconv2, self.deconv3, self.deconv4):
            skips.append(deconvolution(skips[-1]))
        x = self.decoder(self.base(embedding), skips[:3])
        x = self.decoder_head(torch.cat([self.deconv_out(x), skips[3]], dim=1))
        return self.out_conv(x).sigmoid()


def resize_maps(
    maps: torch.Tensor, encoder: int, unpadded: tuple[int, int], image: tuple[int, int]
) -> torch.Tensor:
    """Bring maps from the encoder's frame to the image.

    Args:
        maps: (1, 3, height, width) float32.
        encoder: side of the encoder's frame in pixels.
        unpadded: (height, width) of the image in that frame.
        image: (height, width) of the image.

    Returns:
        (3, height, width) float32 of the image.
    """
    if maps.shape[-2:] != (encoder, encoder):
        maps = functional.interpolate(
            maps, (encoder, encoder), mode="bilinear", align_corners=False
        )
    maps = maps[..., : unpadded[0], : unpadded[1]]
    return functional.interpolate(maps, image, mode="bilinear", align_corners=False)[0]
