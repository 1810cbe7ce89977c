"""Masks at low resolution from an image embedding and point prompts, as ``Sam`` decodes them.

The decoder predicts the IoU of masks before it upscales them, so that prompts whose masks are all
rejected for it are not upscaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam


@dataclass(frozen=True)
class Decoded:
    """Masks that pass the threshold on predicted IoU, sorted by ``index``.

    Attributes:
        logits: (masks, height, width) float32.
        index: (masks,) int64, prompt × masks per prompt + mask of the prompt.
        predicted_iou: (masks,) float32.
    """

    logits: torch.Tensor
    index: torch.Tensor
    predicted_iou: torch.Tensor


class Decoder:
    """The decoder of ``Sam``, operation by operation.

    Args:
        sam: the model.
    """

    def __init__(self, sam: Sam) -> None:
        self.prompt_encoder = sam.prompt_encoder
        self.decoder = sam.mask_decoder
        self.masks_per_prompt = sam.mask_decoder.num_multimask_outputs

    def set_image(self, embedding: torch.Tensor) -> None:
        """Takes the embedding, (1, channels, height, width), that the next prompts refer to."""
        self.embedding = embedding

    def decode(self, points: torch.Tensor, pred_iou_thresh: float) -> Decoded:
        """Decodes one batch of foreground points.

        Args:
            points: (prompts, 2), x and y in pixels of the encoder's input.
            pred_iou_thresh: masks must be predicted to be better; 0 lets all pass.
        """
        tokens, image = self._transform(points)
        predicted_iou = self.decoder.iou_prediction_head(tokens[:, 0])[:, 1:]
        passed = torch.ones_like(predicted_iou, dtype=torch.bool)
        if pred_iou_thresh > 0:
            passed = predicted_iou > pred_iou_thresh
        prompts = self._to_upscale(passed.any(1))
        logits = self._upscale(tokens[prompts, 1:], image[prompts])[:, 1:]
        return Decoded(
            logits=logits[passed[prompts]],
            index=passed.flatten().nonzero()[:, 0],
            predicted_iou=predicted_iou[passed],
        )

    def _transform(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Output tokens, (prompts, tokens, channels), and images, (prompts, pixels, channels)."""
        tokens, no_mask = self._embed(points)
        image = self.embedding.repeat_interleave(len(points), 0) + no_mask
        position = self.prompt_encoder.get_dense_pe().repeat_interleave(len(points), 0)
        tokens, image = self.decoder.transformer(image, position, tokens)
        return tokens[:, : 1 + self.decoder.num_mask_tokens], image

    def _embed(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of prompts, and the embedding of no mask, expanded to every prompt."""
        labels = torch.ones((len(points), 1), dtype=torch.int, device=points.device)
        sparse, dense = self.prompt_encoder((points[:, None], labels), boxes=None, masks=None)
        output = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        return torch.cat([output.expand(len(points), -1, -1), sparse], dim=1), dense

    def _to_upscale(self, passed: torch.Tensor) -> torch.Tensor | slice:
        """The prompts to upscale, of those (prompts,) bool with a mask that passed."""
        if passed.all():
            return slice(None)
        if passed.device.type == "cuda" and passed.any():
            # Kernels are chosen by batch size there, so that fewer prompts can give other bits.
            return slice(None)
        return passed

    def _upscale(self, tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Masks of mask tokens and images: (prompts, mask tokens, height, width)."""
        size = self.embedding.shape[-2:]
        image = self.decoder.output_upscaling(image.transpose(1, 2).unflatten(2, size))
        networks = self.decoder.output_hypernetworks_mlps
        weights = torch.stack([network(tokens[:, i]) for i, network in enumerate(networks)], dim=1)
        return (weights @ image.flatten(2)).unflatten(2, image.shape[-2:])
