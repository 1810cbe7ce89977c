"""Masks at low resolution from an image embedding and points or boxes, as ``Sam`` decodes them.

The decoder predicts the IoU of masks before it upscales them. If all masks of a prompt are rejected by
their predicted IoU, the prompt is not upscaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import nn

from samfleet.sam.generator.transfer import Arriving, to_device

# As many as fit into the caches of a core. Must be even for ``Decoder._upscaled_at_once``. For CPUs
# only: a GPU takes all prompts at once.
PROMPTS_AT_ONCE = 2


@dataclass(frozen=True)
class Decoded:
    """Masks that pass the threshold on predicted IoU, sorted by ``index``.

    Attributes:
        logits: (masks, height, width) float32.
        index: (masks,) int64, prompt × masks per prompt + number of the mask within the prompt.
        predicted_iou: (masks,) float32.
    """

    logits: torch.Tensor
    index: torch.Tensor
    predicted_iou: torch.Tensor

    def split(self, masks: int) -> list[Decoded]:
        """Parts with at most ``masks`` masks each; a single empty part if there are none."""
        parts = (field.split(masks) for field in (self.logits, self.index, self.predicted_iou))
        return [Decoded(*fields) for fields in zip(*parts, strict=True)]


class Decoder:
    """The decoder of ``Sam``: the same kernels on the same values, with fewer copies in between.

    Args:
        sam: the model.
        multimask: whether a prompt gives SAM's masks for ambiguous prompts, or its one for clear ones.

    Attributes:
        is_finite: () bool on the device, whether all that was decoded of the present image is finite;
            comparisons drop what is not, as if the model had found nothing.
    """

    def __init__(self, sam: Sam, multimask: bool = True) -> None:
        self.prompt_encoder = sam.prompt_encoder
        self.decoder = sam.mask_decoder
        self.masks_per_prompt = sam.mask_decoder.num_multimask_outputs if multimask else 1
        # of the mask tokens; the first is the one for clear prompts
        self.given = slice(1, None) if multimask else slice(0, 1)

    def set_image(self, embedding: torch.Tensor) -> None:
        """Sets the embedding, (1, channels, height, width), that the next prompts refer to."""
        self.is_finite = torch.ones((), dtype=torch.bool, device=embedding.device)
        self.size = embedding.shape[-2:]
        image = embedding[0].flatten(1).T + self.prompt_encoder.no_mask_embed.weight
        self.image = image.contiguous()
        self.position = self.prompt_encoder.get_dense_pe()[0].flatten(1).T.contiguous()
        self.shared = self._shared() if self._shares(embedding.device) else {}

    @staticmethod
    def _shares(device: torch.device) -> bool:
        """Whether prompts share projections: not on a GPU, where the library's transformer makes its own."""
        return device.type == "cpu"

    def _shared(self) -> dict[nn.Linear, torch.Tensor]:
        """The first layer's projections of the image, which all prompts share: (pixels, channels)."""
        layer = self.decoder.transformer.layers[0]
        read, write = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        keyed = self.image + self.position
        return {
            read.k_proj: self._project_shared(read.k_proj, keyed),
            read.v_proj: self._project_shared(read.v_proj, self.image),
            write.q_proj: self._project_shared(write.q_proj, keyed),
        }

    @staticmethod
    def _project_shared(projection: nn.Linear, image: torch.Tensor) -> torch.Tensor:
        """As the library projects images whose channels come first in memory: the bias is added last."""
        return (image @ projection.weight.T).add_(projection.bias)

    def decode(self, prompts: torch.Tensor, pred_iou_thresh: float) -> Decoded:
        """Decodes one batch of foreground points or of boxes.

        Args:
            prompts: (prompts, 2), x and y of points, or (prompts, 4), x0 y0 x1 y1 of boxes, in pixels of
                the encoder's input.
            pred_iou_thresh: masks whose predicted IoU is not above it are rejected; 0 lets all pass.
        """
        tokens, image = self._transform(self._embed(prompts))
        predicted_iou = self.decoder.iou_prediction_head(tokens[:, 0])[:, self.given]
        passed = torch.ones(predicted_iou.shape, dtype=torch.bool)
        if pred_iou_thresh > 0:
            (passed,) = Arriving([predicted_iou > pred_iou_thresh]).arrive()
        # Counted on the host: a GPU would have to be waited for at every count.
        index, chosen = passed.flatten().nonzero()[:, 0], passed.any(1).nonzero()[:, 0]
        prompt, mask = index // self.masks_per_prompt, index % self.masks_per_prompt
        # the place of each mask's prompt among the upscaled ones
        upscaled = passed.any(1).cumsum(0)[prompt] - 1
        numbers = to_device(torch.cat([index, mask, upscaled, chosen]), prompts.device)
        index, mask, upscaled, chosen = numbers.split([len(index)] * 3 + [len(chosen)])
        logits = self._upscale(tokens[:, 1 : 1 + self.decoder.num_mask_tokens], image, chosen)
        logits = logits[upscaled, mask].float()
        for values in (predicted_iou, logits):
            self.is_finite &= values.sum().isfinite()
        return Decoded(
            logits=logits,
            index=index,
            predicted_iou=predicted_iou.flatten()[index].float(),
        )

    def _embed(self, prompts: torch.Tensor) -> torch.Tensor:
        """Tokens of prompts, (prompts, tokens, channels).

        They are the library's, whose `_embed_points` waits for the device seven times.
        """
        encoder = self.prompt_encoder
        corners = prompts.unflatten(1, (-1, 2)) + 0.5
        if is_point := corners.shape[1] == 1:
            corners = nn.functional.pad(corners, (0, 0, 0, 1))
        kinds = encoder.point_embeddings[1:2] if is_point else encoder.point_embeddings[2:4]
        positions = encoder.pe_layer.forward_with_coords(corners, encoder.input_image_size)
        placed = positions[:, : len(kinds)] + torch.cat([kind.weight for kind in kinds])
        fixed = [self.decoder.iou_token.weight, self.decoder.mask_tokens.weight]
        output = torch.cat(fixed).expand(len(prompts), -1, -1)
        if not is_point:
            return torch.cat([output, placed], dim=1)
        # the library pads points that come without a box
        padding = encoder.not_a_point_embed.weight.expand(len(prompts), -1, -1)
        return torch.cat([output, placed, padding], dim=1)

    def _transform(self, embedded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Output tokens, (prompts, tokens, channels), and images, (prompts, pixels, channels)."""
        transformer = self.decoder.transformer
        prompts = len(embedded)
        if embedded.device.type != "cpu":
            image, position = (
                values.T.unflatten(1, self.size).repeat(prompts, 1, 1, 1)
                for values in (self.image, self.position)
            )
            return transformer(image, position, embedded)
        tokens, image = embedded, None
        for layer in transformer.layers:
            tokens, image = self._layer(layer, tokens, embedded, image)
        attention = transformer.final_attn_token_to_image
        tokens = tokens + self._read(attention, tokens + embedded, image)
        return transformer.norm_final_attn(tokens), image

    def _layer(
        self,
        layer: TwoWayAttentionBlock,
        tokens: torch.Tensor,
        embedded: torch.Tensor,
        image: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One layer, in which tokens and images attend to each other.

        Tokens pass through it as one batch, since the choice of a kernel depends on the number of rows.
        Images have many rows each and pass through it a few at a time.

        Args:
            image: (prompts, pixels, channels); None as long as it is the same for all prompts.
        """
        tokens = attend_among_tokens(layer, tokens, embedded)
        read = self._read(layer.cross_attn_token_to_image, tokens + embedded, image)
        tokens = layer.norm2(tokens + read)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        attention = layer.cross_attn_image_to_token
        keys, values = attention.k_proj(tokens + embedded), attention.v_proj(tokens)
        updated = torch.empty(len(tokens), *self.image.shape)
        for part in _parts(len(tokens)):
            queries = self._project(attention.q_proj, image, part, with_position=True)
            written = attention.out_proj(_attend(attention, queries, keys[part], values[part]))
            before = self.image if image is None else image[part]
            updated[part] = layer.norm4(before + written)
        return tokens, updated

    def _read(
        self, attention: Attention, queries: torch.Tensor, image: torch.Tensor | None
    ) -> torch.Tensor:
        """Tokens attend to images: (prompts, tokens, channels)."""
        queries = attention.q_proj(queries)
        read = []
        for part in _parts(len(queries)):
            keys = self._project(attention.k_proj, image, part, with_position=True)
            values = self._project(attention.v_proj, image, part, with_position=False)
            read.append(_attend(attention, queries[part], keys, values))
        return attention.out_proj(torch.cat(read))

    def _project(
        self, projection: nn.Linear, image: torch.Tensor | None, part: slice, with_position: bool
    ) -> torch.Tensor:
        """A projection of some prompts' images, (prompts, pixels, projected channels)."""
        if image is None:
            return self.shared[projection].expand(part.stop - part.start, -1, -1)
        return projection(image[part] + self.position if with_position else image[part])

    def _upscale(
        self, tokens: torch.Tensor, image: torch.Tensor, prompts: torch.Tensor
    ) -> torch.Tensor:
        """Masks of some prompts, (prompts, masks per prompt, height, width).

        Args:
            tokens, image: mask tokens and images of all prompts of the batch.
            prompts: (n,) int64, the prompts to upscale.
        """
        networks = enumerate(self.decoder.output_hypernetworks_mlps)
        weights = torch.stack([network(tokens[:, i]) for i, network in networks], dim=1)
        parts = []
        for part in self._upscaled_at_once(prompts, len(image)):
            upscaled = image[part].transpose(1, 2).unflatten(2, self.size)
            upscaled = self.decoder.output_upscaling(upscaled)
            parts.append((weights[part] @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:]))
        masks = torch.cat(parts)[:, self.given]
        return masks[: len(prompts)] if image.device.type == "cpu" else masks[prompts]

    def _upscaled_at_once(self, prompts: torch.Tensor, batch: int) -> tuple[torch.Tensor, ...]:
        """Prompts to upscale at once, such that each result is the same as in the whole batch."""
        if prompts.device.type != "cpu":
            # On a GPU the choice of a kernel depends on the batch size, so the batch stays whole.
            return (torch.arange(batch if len(prompts) else 0, device=prompts.device),)
        if batch > 1 and len(prompts) % 2:
            # On a CPU it differs only between one image and several: never leave one alone.
            prompts = torch.cat([prompts, prompts[-1:]])
        return prompts.split(PROMPTS_AT_ONCE)


def attend_among_tokens(
    layer: TwoWayAttentionBlock, tokens: torch.Tensor, embedded: torch.Tensor
) -> torch.Tensor:
    """A layer's first step, which does not involve images: (prompts, tokens, channels)."""
    if layer.skip_first_layer_pe:
        tokens = layer.self_attn(tokens, tokens, tokens)
    else:
        queries = tokens + embedded
        tokens = tokens + layer.self_attn(queries, queries, tokens)
    return layer.norm1(tokens)


def _parts(prompts: int) -> list[slice]:
    """Prompts to process at once: at least two, unless there is only one."""
    starts = range(0, max(1, prompts - 1), PROMPTS_AT_ONCE)
    stops = [*starts[1:], prompts]
    return [slice(*part) for part in zip(starts, stops, strict=True)]


def _attend(
    attention: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    """Attention of projected queries, keys and values: (prompts, n, heads × channels)."""
    q, k, v = (x.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)
