"""Decoder outputs as a trained SAM gives them for nuclei, for models with random weights.

Random weights give masks that fill the frame, of which non-maximum suppression leaves about one.
Here each prompt on a nucleus gets a part of it, the nucleus, and the nucleus with its neighbours;
each prompt on the background gets a speck, a patch of background, and all of the background.
Outlines are noisy, and some masks have islands and holes for the removal of small regions.
"""

import math
import time
from typing import Any

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import nn
from torch.nn import functional

from samfleet.sam.generator.decoder import Decoded, Decoder

STEEPNESS = 1.5
"""Logits per low-resolution pixel across an outline."""


class Nuclei:
    """Nuclei on a plane of low-resolution logits.

    Args:
        side: of the plane, in low-resolution pixels.
        count: nuclei.
        seed: of everything random.
    """

    def __init__(self, side: int, count: int, seed: int = 0) -> None:
        random = torch.Generator().manual_seed(seed)
        axis = torch.arange(side, dtype=torch.float32)
        self.centres = torch.rand(count, 2, generator=random) * side
        radii = side * (0.012 + 0.02 * torch.rand(count, generator=random))
        y = axis[None, :, None] - self.centres[:, 1, None, None]
        x = axis[None, None, :] - self.centres[:, 0, None, None]
        angle = torch.atan2(y, x)
        lobes = 1 + 0.12 * torch.sin(3 * angle + 6 * torch.rand(count, 1, 1, generator=random))
        # Above zero inside, in low-resolution pixels from the outline.
        self.depths = radii[:, None, None] * lobes - torch.hypot(y, x)
        coarse = torch.randn(64, 1, side // 8, side // 8, generator=random)
        fine = torch.randn(64, 1, side, side, generator=random)
        coarse = functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)
        self.noise = (0.8 * coarse + 0.15 * fine)[:, 0]
        self.all_depths = self.depths.amax(0)

    def masks(self, point: torch.Tensor, number: int) -> torch.Tensor:
        """Logits of the three masks of one prompt: (3, side, side) float32.

        Args:
            point: (2,) x and y in low-resolution pixels.
            number: of the prompt, which chooses the noise.
        """
        x, y = point.long().clamp(0, self.all_depths.shape[0] - 1)
        distances = (self.centres - point).norm(dim=1)
        if self.all_depths[y, x] > 0:
            nucleus = self.depths[:, y, x].argmax()
            near = (self.centres - self.centres[nucleus]).norm(dim=1).argsort()[:4]
            depths = [
                self.depths[nucleus] - 1.5,
                self.depths[nucleus],
                self.depths[near].amax(0),
            ]
        else:
            patch = 30 - torch.hypot(*(self._offsets(i, point) for i in (0, 1)))
            speck = self.depths[distances.argmin()] - 2
            depths = [speck, torch.minimum(patch, -self.all_depths), -self.all_depths]
        noise = self.noise[(3 * number + torch.arange(3)) % len(self.noise)]
        return ((torch.stack(depths) + 0.7 * noise) * STEEPNESS).clamp_(-20, 15)

    def _offsets(self, axis: int, point: torch.Tensor) -> torch.Tensor:
        line = torch.arange(self.all_depths.shape[0], dtype=torch.float32) - point[axis]
        return line[None, :] if axis == 0 else line[:, None]

    def predicted_iou(self, point: torch.Tensor, number: int) -> torch.Tensor:
        """(3,) float32, mostly above 0.75 on nuclei and mostly below on background."""
        random = np.random.default_rng(number)
        x, y = point.long().clamp(0, self.all_depths.shape[0] - 1)
        on_nucleus = self.all_depths[y, x] > 0
        centre = [0.85, 0.92, 0.8] if on_nucleus else [0.6, 0.7, 0.78]
        return torch.as_tensor(random.normal(centre, 0.06), dtype=torch.float32)


class SyntheticDecoder(nn.Module):
    """Stands for ``Sam.mask_decoder``; the prompts are told apart by their order.

    Args:
        nuclei: what the masks show.
        points: (n, 2) all prompts, x and y in low-resolution pixels.
        real: a decoder to run all the same, for the time and memory that it takes.

    Attributes:
        real_prompts: for how many prompts that is run; for all without a number.
        seconds: processor time spent here, to be taken off what is measured around it.
    """

    num_multimask_outputs = 3

    def __init__(self, nuclei: Nuclei, points: torch.Tensor, real: nn.Module | None = None) -> None:
        super().__init__()
        self.nuclei, self.points, self.real = nuclei, points, real
        self.real_prompts = math.inf
        self.prepared: tuple[torch.Tensor, torch.Tensor] | None = None
        self.restart()

    def prepare(self, device: torch.device) -> None:
        """Makes all outputs now and keeps them on a device: 3/4 MiB a prompt for 256² logits."""
        self.restart()
        logits, iou = self.decode_next(len(self.points))
        self.prepared = logits.to(device), iou.to(device)
        self.restart()

    def restart(self) -> None:
        self.next, self.seconds = 0, 0.0

    def forward(self, **prompts: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if self.real is not None and self.next < self.real_prompts:
            self.real(**prompts)
        return self.decode_next(len(prompts["sparse_prompt_embeddings"]))

    def decode_next(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (count, 3, side, side) and predicted IoU (count, 3) of the next prompts."""
        start = time.process_time()
        numbers = range(self.next, self.next + count)
        self.next += count
        if self.prepared is not None:
            logits, iou = self.prepared
            return logits[numbers.start : numbers.stop], iou[numbers.start : numbers.stop]
        logits = torch.stack([self.nuclei.masks(self.points[i], i) for i in numbers])
        iou = torch.stack([self.nuclei.predicted_iou(self.points[i], i) for i in numbers])
        self.seconds += time.process_time() - start
        return logits, iou


class SyntheticOutputs(Decoder):
    """Stands for the decoder of our generator.

    Args:
        decoder: the outputs.
        real: a decoder to run all the same.
    """

    masks_per_prompt = 3

    def __init__(self, decoder: SyntheticDecoder, real: Decoder | None = None) -> None:
        self.decoder, self.real = decoder, real

    def set_image(self, embedding: torch.Tensor) -> None:
        self.is_finite = torch.ones((), dtype=torch.bool, device=embedding.device)
        if self.real is not None:
            self.real.set_image(embedding)

    def decode(self, points: torch.Tensor, pred_iou_thresh: float) -> Decoded:
        if self.real is not None and self.decoder.next < self.decoder.real_prompts:
            self.real.decode(points, 0.0)
        logits, predicted_iou = self.decoder.decode_next(len(points))
        predicted_iou = predicted_iou.flatten()
        passed = torch.ones_like(predicted_iou, dtype=torch.bool)
        if pred_iou_thresh > 0:
            passed = predicted_iou > pred_iou_thresh
        index = passed.nonzero()[:, 0]  # as the real one, which waits for the device once
        return Decoded(logits.flatten(0, 1)[index], index, predicted_iou[index])


class NoEncoder(nn.Module):
    """Stands for ``Sam.image_encoder``, at no cost."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.img_size = side

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        return frame.new_zeros(1, 256, 64, 64)


def synthetic_decoder(
    sam: Sam, points: np.ndarray, real: nn.Module | None = None
) -> SyntheticDecoder:
    """Outputs of the size of a model's decoder.

    Args:
        sam: the model.
        points: (n, 2) prompts, from 0 to 1.
        real: see ``SyntheticDecoder``.
    """
    side = 4 * sam.prompt_encoder.image_embedding_size[0]
    prompts = torch.as_tensor(points * side, dtype=torch.float32)
    return SyntheticDecoder(Nuclei(side, count=150), prompts, real)
