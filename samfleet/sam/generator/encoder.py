"""The image encoder of ``Sam`` with fused attention, equal except for float32 rounding.

Relative positions add one term by row and one by column to every attention score. The library computes
all scores of all heads and then adds both terms. Here, the sum of both terms for a few rows of queries
at a time is passed to ``scaled_dot_product_attention`` as a bias.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache

import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.modeling.image_encoder import (
    Attention,
    Block,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import nn
from torch.nn import functional

# Elements of the bias to compute at once: what fits into the caches of a core, or a small part of a
# GPU's memory.
BIAS_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 28}
# With less, memory is not what the bias takes.
SMALLEST_BIAS = 1 << 20


def in_bf16(sam: Sam) -> Sam:
    """A model that shares everything with `sam` but the blocks of its encoder, whose weights are in bf16.

    Activations take the format of the layer that they go to, so only products of these weights and of attention
    are in bf16. Norms, softmax, sums along the blocks, relative positions, the patches' embedding and the neck are
    in float32: each of the last three cost masks, see benchmarks/README.md.
    """
    values = {id(value): value for value in (*sam.parameters(), *sam.buffers())}
    for block in sam.image_encoder.blocks:
        for layer in (block.attn.qkv, block.attn.proj, block.mlp):
            for weight in layer.parameters():
                values[id(weight)] = nn.Parameter(weight.bfloat16(), requires_grad=False)
    return deepcopy(sam, values)  # which copies none of these


def encode_frames(
    encoder: ImageEncoderViT, frame: torch.Tensor, bias_at_once: int | None = None
) -> torch.Tensor:
    """Encodes frames.

    Args:
        frame: (frames, 3, side, side) float32, as ``Sam.preprocess`` returns it.
        bias_at_once: elements of the bias, instead of ``BIAS_AT_ONCE``; at least a row of queries is done at once.

    Returns:
        (frames, channels, height, width) float32.
    """
    tokens = encoder.patch_embed(frame)
    if encoder.pos_embed is not None:
        tokens = tokens + encoder.pos_embed
    bias_at_once = bias_at_once or BIAS_AT_ONCE[frame.device.type]
    for block in encoder.blocks:
        tokens = _block(block, tokens, bias_at_once)
    return encoder.neck(tokens.permute(0, 3, 1, 2))


def _block(block: Block, tokens: torch.Tensor, bias_at_once: int) -> torch.Tensor:
    attended = block.norm1(tokens)
    if block.window_size > 0:
        size = attended.shape[1:3]
        attended, padded = window_partition(attended, block.window_size)
    attended = _attend(block.attn, attended, bias_at_once)
    if block.window_size > 0:
        attended = window_unpartition(attended, block.window_size, padded, size)
    tokens = tokens + attended
    return tokens + block.mlp(_as_weights(block.norm2(tokens), block.mlp.lin1))


def _as_weights(tokens: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
    return tokens.to(layer.weight.dtype)


def _attend(attention: Attention, tokens: torch.Tensor, bias_at_once: int) -> torch.Tensor:
    """Attention among the tokens of windows: (windows, height, width, channels)."""
    windows, height, width, _ = tokens.shape
    qkv = attention.qkv(_as_weights(tokens, attention.qkv))
    qkv = qkv.view(windows, height * width, 3, attention.num_heads, -1)
    queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
    if not attention.use_rel_pos:
        out = functional.scaled_dot_product_attention(queries, keys, values, scale=attention.scale)
    else:
        by_row, by_column = _relative_positions(attention, queries, height, width)
        out = torch.empty_like(queries)
        row = windows * attention.num_heads * width * height * width
        rows = max(1, bias_at_once // row)
        for first in range(0, height, rows):
            part = slice(first * width, (first + rows) * width)
            asked = queries[:, :, part]
            bias = asked.new_empty(*asked.shape[:3], height, width)
            # in the format of the positions, and rounded once
            torch.add(by_row[:, :, part, :, None], by_column[:, :, part, None, :], out=bias)
            out[:, :, part] = functional.scaled_dot_product_attention(
                asked, keys, values, bias.flatten(3), scale=attention.scale
            )
    return attention.proj(out.transpose(1, 2).reshape(tokens.shape))


def _relative_positions(
    attention: Attention, queries: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the rows and the columns of keys add to scores: (windows, heads, queries, rows) each."""
    queries = queries.unflatten(2, (height, width)).to(attention.rel_pos_h.dtype)
    rows = _between(height, attention.rel_pos_h)
    columns = _between(width, attention.rel_pos_w)
    by_row = torch.einsum("nhyxc,ykc->nhyxk", queries, rows)
    by_column = torch.einsum("nhyxc,xkc->nhyxk", queries, columns)
    return by_row.flatten(2, 3), by_column.flatten(2, 3)


def _between(length: int, rel_pos: torch.Tensor) -> torch.Tensor:
    """The library's `get_rel_pos` for queries and keys of one length, without its copies.

    Returns:
        (length, length, channels), the embedding of the distance between every query and key.
    """
    if len(rel_pos) != 2 * length - 1:
        return get_rel_pos(length, length, rel_pos)
    return rel_pos[_distances(length, rel_pos.device)]


@lru_cache(maxsize=16)
def _distances(length: int, device: torch.device) -> torch.Tensor:
    place = torch.arange(length, device=device)
    return place[:, None] - place[None, :] + length - 1
