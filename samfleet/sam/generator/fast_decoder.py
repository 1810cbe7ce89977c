"""The decoder of ``Sam`` with a third of the arithmetic, equal except for float32 rounding.

The two-way transformer of ``Sam`` projects every pixel of the image for every prompt. Instead of that,

- the first layer's projections are shared, since all prompts see the same image there;
- later projections are applied to the tokens, which are few: ``q · W x`` is ``W.T q · x``, and a
  weighted mean of ``W x`` is ``W`` times the weighted mean of ``x``;
- the tokens' update of the image is a product of rank heads × tokens, including the output projection;
- transposed convolutions of stride 2 are matrix products, with channels last throughout.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.transformer import Attention
from torch import nn
from torch.nn import functional

from samfleet.sam.generator.decoder import Decoded, Decoder, attend_among_tokens

# Size of the images of the prompts that a CPU processes at once: small enough for caches, but enough
# prompts to outweigh the cost of calling a kernel.
BYTES_AT_ONCE = 16 << 20


class FastDecoder(Decoder):
    """Like ``Decoder``, except for rounding; the module's docstring explains how."""

    @staticmethod
    def _shares(device: torch.device) -> bool:
        return True

    @staticmethod
    def _project_shared(projection: nn.Linear, image: torch.Tensor) -> torch.Tensor:
        return projection(image)

    def decode(self, prompts: torch.Tensor, pred_iou_thresh: float) -> Decoded:
        step = len(prompts)
        if prompts.device.type == "cpu":
            step = max(1, BYTES_AT_ONCE // self.image.nbytes)
        parts = [super(FastDecoder, self).decode(p, pred_iou_thresh) for p in prompts.split(step)]
        return Decoded(
            torch.cat([part.logits for part in parts]),
            torch.cat([p.index + i * step * self.masks_per_prompt for i, p in enumerate(parts)]),
            torch.cat([part.predicted_iou for part in parts]),
        )

    def _transform(self, embedded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        transformer = self.decoder.transformer
        tokens, image = embedded, self.image.expand(len(embedded), -1, -1)
        for number, layer in enumerate(transformer.layers):
            tokens = attend_among_tokens(layer, tokens, embedded)
            read, write = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
            if number == 0:
                tokens = tokens + self._read_shared(read, tokens + embedded)
            else:
                keyed = image + self.position
                tokens = tokens + _read(read, tokens + embedded, keyed, image)
            tokens = layer.norm2(tokens)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            if number == 0:
                scores = self._scores_shared(write, tokens + embedded)
            else:
                scores = _scores(write, tokens + embedded, keyed)
            image = layer.norm4(_write(write, scores, tokens, image))
        read = transformer.final_attn_token_to_image
        tokens = tokens + _read(read, tokens + embedded, image + self.position, image)
        return transformer.norm_final_attn(tokens), image

    def _read_shared(self, attention: Attention, queries: torch.Tensor) -> torch.Tensor:
        """Tokens attend to the image that all prompts share: (prompts, tokens, channels)."""
        prompts = len(queries)
        queries = _split_heads(attention.q_proj(queries).flatten(0, 1), attention)
        shared_keys = _split_heads(self.shared[attention.k_proj], attention)
        shared_values = _split_heads(self.shared[attention.v_proj], attention)
        scores = (_scale(queries) @ shared_keys.transpose(1, 2)).softmax(-1)
        values = (scores @ shared_values).unflatten(1, (prompts, -1))
        return attention.out_proj(values.permute(1, 2, 0, 3).flatten(2))

    def _scores_shared(self, attention: Attention, keys: torch.Tensor) -> torch.Tensor:
        """How the shared image attends to tokens: (prompts, heads, tokens, pixels)."""
        prompts = len(keys)
        keys = _split_heads(attention.k_proj(keys).flatten(0, 1), attention)
        shared_queries = _split_heads(self.shared[attention.q_proj], attention)
        scores = _scale(keys) @ shared_queries.transpose(1, 2)
        return scores.unflatten(1, (prompts, -1)).transpose(0, 1).softmax(2)

    def _upscale(
        self, tokens: torch.Tensor, image: torch.Tensor, prompts: torch.Tensor
    ) -> torch.Tensor:
        if len(prompts) < len(image):
            tokens, image = tokens[prompts], image[prompts]
        return self._masks(tokens, image)

    def _masks(self, tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Masks of all these prompts, (prompts, masks per prompt, height, width)."""
        first, norm, activation, second, last_activation = self.decoder.output_upscaling
        image = _upscale(first, image)
        image = functional.layer_norm(image, norm.weight.shape, norm.weight, norm.bias, norm.eps)
        image = last_activation(_upscale(second, activation(image)))
        networks = list(enumerate(self.decoder.output_hypernetworks_mlps))[self.given]
        weights = torch.stack([network(tokens[:, i]) for i, network in networks], dim=1)
        masks = weights @ image.flatten(1, -2).transpose(1, 2)
        # Pixels are ordered by (height, width) of the embedding, then by the two doublings of both.
        height, width = self.size
        masks = masks.unflatten(2, (height, width, 2, 2, 2, 2)).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return masks.reshape(*masks.shape[:2], 4 * height, 4 * width)


def _split_heads(values: torch.Tensor, attention: Attention) -> torch.Tensor:
    """(..., n, heads × channels) as (..., heads, n, channels)."""
    return values.unflatten(-1, (attention.num_heads, -1)).transpose(-3, -2)


def _scale(queries: torch.Tensor) -> torch.Tensor:
    return queries * queries.shape[-1] ** -0.5


def _by_head(projection: nn.Linear, attention: Attention) -> torch.Tensor:
    """A projection's weight as (heads, channels of a head, input channels)."""
    return projection.weight.unflatten(0, (attention.num_heads, -1))


def _read(
    attention: Attention, queries: torch.Tensor, keyed: torch.Tensor, image: torch.Tensor
) -> torch.Tensor:
    """Tokens attend to images, of which keys and values are projections.

    Args:
        queries: (prompts, tokens, channels).
        keyed, image: (prompts, pixels, channels), with and without positions.
    """
    queries = _scale(_split_heads(attention.q_proj(queries), attention))
    # The keys' bias is left out: it adds the same to every pixel's score, which softmax ignores.
    queries = queries @ _by_head(attention.k_proj, attention)
    weights = (queries.flatten(1, 2) @ keyed.transpose(1, 2)).softmax(-1)
    means = (weights @ image).unflatten(1, (attention.num_heads, -1))
    values = means @ _by_head(attention.v_proj, attention).transpose(1, 2)
    values = values.transpose(1, 2).flatten(2) + attention.v_proj.bias
    return attention.out_proj(values)


def _scores(attention: Attention, keys: torch.Tensor, keyed: torch.Tensor) -> torch.Tensor:
    """How images attend to tokens: (prompts, heads, tokens, pixels), summing to 1 over tokens."""
    keys = _scale(_split_heads(attention.k_proj(keys), attention))
    bias = keys @ attention.q_proj.bias.view(attention.num_heads, -1, 1)
    keys = keys @ _by_head(attention.q_proj, attention)
    scores = torch.baddbmm(bias.flatten(1, 2), keys.flatten(1, 2), keyed.transpose(1, 2))
    return scores.unflatten(1, keys.shape[1:3]).softmax(2)


def _write(
    attention: Attention, scores: torch.Tensor, tokens: torch.Tensor, image: torch.Tensor
) -> torch.Tensor:
    """Adds to images what they attend to: (prompts, pixels, channels)."""
    values = _split_heads(attention.v_proj(tokens), attention)
    weights = attention.out_proj.weight.T.unflatten(0, (attention.num_heads, -1))
    # The scores of each head add up to 1, so every head can contribute its share of the bias.
    values = values @ weights + attention.out_proj.bias / attention.num_heads
    return torch.baddbmm(image, scores.flatten(1, 2).transpose(1, 2), values.flatten(1, 2))


def _upscale(convolution: nn.ConvTranspose2d, image: torch.Tensor) -> torch.Tensor:
    """A transposed convolution whose kernel is as large as its stride.

    Args:
        image: (..., input channels).

    Returns:
        (..., height and width of the kernel, output channels).
    """
    weight = convolution.weight.permute(2, 3, 1, 0)
    bias = None if convolution.bias is None else convolution.bias.repeat(4)
    values = functional.linear(image, weight.flatten(0, 2), bias)
    return values.unflatten(-1, weight.shape[:3])
