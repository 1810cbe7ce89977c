"""Initial weights of `tiny`, from which it learns small objects within minutes."""

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import nn


def initialise(sam: Sam, seed: int) -> None:
    """Set the initial weights.

    SAM draws its position frequencies around one cycle per half frame. In 64 channels that is too
    coarse to distinguish neighbours, so they go up to 10 here. Queries and keys between tokens and
    image start out equal, so that the token of a prompt attends to the place of the prompt. The
    encoder starts out like a convolution of the cosine transform of the image.
    """
    generator = torch.Generator().manual_seed(seed)
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    count = matrix.shape[1]
    size = torch.logspace(np.log10(0.4), np.log10(10), count)
    size = size[torch.randperm(count, generator=generator)]
    angle = torch.rand(count, generator=generator) * torch.pi
    matrix.copy_(torch.stack([size * angle.cos(), size * angle.sin()]))
    nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=0.02, generator=generator)
    _transform_cosines(sam.image_encoder.patch_embed.proj)
    for block, distance in zip(sam.image_encoder.blocks, (1, 1, 2, 1, 3, 1), strict=True):
        _attend_to_neighbours(block.attn, distance)
    transformer = sam.mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        nn.init.orthogonal_(attention.q_proj.weight, gain=1.7, generator=generator)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
    # Nearly all pixels lie outside the object of a prompt, so all mask logits start at -4.
    sam.mask_decoder.output_upscaling[3].bias[0] = 4.0
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].bias[0] = -1.0


def _transform_cosines(embedding: nn.Conv2d) -> None:
    """Make the first half of the channels the cosine transform of the grey values of a patch."""
    side = embedding.weight.shape[-1]
    k = torch.arange(side)
    cosines = torch.cos(torch.pi / side * (k + 0.5) * k[:, None]) * (2 / side) ** 0.5
    cosines[0] /= 2**0.5
    basis = torch.einsum("ay,bx->abyx", cosines, cosines).flatten(0, 1)
    count = min(len(basis), len(embedding.weight) // 2)
    embedding.weight[:count] = basis[:count, None] / 3


def _attend_to_neighbours(attention: nn.Module, distance: int) -> None:
    """Make each head attend to the patches around one diagonal neighbour, like a convolution.

    This follows d'Ascoli et al. 2021, "ConViT": the score is ``-sharpness * |offset - neighbour|²``.
    Three channels of the queries are constant, so that the relative positions alone give this
    score. Beyond four patches it falls linearly, so that attention to far patches can be learnt.
    """
    heads, (entries, width) = attention.num_heads, attention.rel_pos_h.shape
    sharpness = 0.5 / distance
    offset = torch.arange(entries) - entries // 2.0
    square = torch.where(offset.abs() < 4, offset.square(), 8 * offset.abs() - 16)
    for positions, channel in ((attention.rel_pos_h, 1), (attention.rel_pos_w, 2)):
        positions[:, 0] = -sharpness * square
        positions[:, channel] = 2 * sharpness * distance * offset
    attention.qkv.weight[: heads * width].unflatten(0, (heads, width))[:, :3] = 0
    bias = attention.qkv.bias[: heads * width].unflatten(0, (heads, width))
    bias[:, 0] = 1
    bias[:, 1:3] = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).repeat(heads // 4, 1)
