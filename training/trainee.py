"""`tiny` as it is trained: on crops of any size, with many prompts for each crop at once."""

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder, Sam
from segment_anything.modeling.image_encoder import Block
from segment_anything.modeling.transformer import Attention, TwoWayTransformer
from torch import Tensor, nn

from samfleet.sam.model import TINY_PATCH_SIZE
from samfleet.sam.prompts.tiny import TinyMapDecoder


class Trainee(nn.Module):
    """`tiny` and its map decoder, for batches of crops of any size.

    Args:
        in_bfloat16: Compute in it what loses little by it: twice as fast where the processor knows it.
    """

    def __init__(self, sam: Sam, in_bfloat16: bool = False) -> None:
        super().__init__()
        self.sam, self.in_bfloat16 = sam, in_bfloat16
        self.maps = TinyMapDecoder(sam.mask_decoder.transformer_dim)

    def normalised(self, images: Tensor) -> Tensor:
        """Images, (crops, 3, side, side) from 0 to 255, as the encoder is shown them."""
        return (images - self.sam.pixel_mean) / self.sam.pixel_std

    def embed(self, images: Tensor, corners: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Return image embeddings and their position encodings, (crops, channels, grid, grid).

        Args:
            images: float32, shape (crops, 3, side, side), as `normalised` returns them.
            corners: Row and column of each crop in the frame, in patches.
        """
        encoder = self.sam.image_encoder
        grid = images.shape[-1] // TINY_PATCH_SIZE
        x = images
        windows = [np.s_[y : y + grid, x : x + grid] for y, x in corners]
        x = encoder.patch_embed(x)
        x = x + torch.stack([encoder.pos_embed[0][window] for window in windows])
        for block in encoder.blocks:
            x = torch.func.functional_call(block, _cropped_positions(block, grid), x)
        embedding = encoder.neck(x.permute(0, 3, 1, 2))
        with _exactly(images.device):
            encoding = self.sam.prompt_encoder.get_dense_pe()[0]
        return embedding, torch.stack([encoding[:, w[0], w[1]] for w in windows])

    def decode(
        self, embedding: Tensor, encoding: Tensor, points: Tensor, with_masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the mask decoder of SAM for many prompts of several crops at once.

        The arithmetic is that of `MaskDecoder.predict_masks`. However, what the first layer computes
        from the image alone is computed once per crop, the upscaling runs as matrix products, and
        masks are computed only for the prompts that need one.

        Args:
            embedding, encoding: From `embed`, (crops, channels, grid, grid).
            points: float32, shape (crops, prompts, 2), x and y in pixels of the frame.
            with_masks: bool, shape (crops * prompts,), the prompts that need a mask.

        Returns:
            Mask logits of the n prompts that need a mask, (n, 4, grid, 4, grid, 4): patch, pixel in it.
            Predicted IoUs, (crops * prompts, 4).
        """
        decoder, prompter = self.sam.mask_decoder, self.sam.prompt_encoder
        prompts = points.shape[1]
        flat = points.reshape(-1, 1, 2)
        ones = torch.ones(flat.shape[:2], device=flat.device)
        with _exactly(flat.device):
            sparse, _ = prompter(points=(flat, ones), boxes=None, masks=None)
        output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
        keys = (embedding + prompter.no_mask_embed.weight.view(1, -1, 1, 1)).flatten(2).mT
        queries, keys = _transform(
            decoder.transformer, tokens, keys, encoding.flatten(2).mT, prompts
        )
        ious = decoder.iou_prediction_head(queries[:, 0])
        masks = _upscale(decoder, queries[with_masks, 1:5], keys[with_masks])
        grid = embedding.shape[-1]
        return masks.unflatten(2, (grid, grid)).permute(0, 1, 2, 4, 3, 5), ious


def _exactly(device: torch.device) -> torch.autocast:
    """For the encodings of positions, whose sines bfloat16 would blur."""
    return torch.autocast(device.type, enabled=False)


def _cropped_positions(block: Block, grid: int) -> dict[str, Tensor]:
    """The relative positions of a global block that occur in a smaller grid."""
    if block.window_size:
        return {}
    middle = block.attn.rel_pos_h.shape[0] // 2
    cut = slice(middle - grid + 1, middle + grid)
    return {f"attn.{k}": getattr(block.attn, k)[cut] for k in ("rel_pos_h", "rel_pos_w")}


def _transform(
    transformer: TwoWayTransformer, tokens: Tensor, keys: Tensor, encoding: Tensor, prompts: int
) -> tuple[Tensor, Tensor]:
    """`TwoWayTransformer.forward`, where the prompts of a crop share the image in the first layer.

    Args:
        tokens: (crops * prompts, n, channels); the point tokens are also their encoding.
        keys, encoding: (crops, pixels, channels).
    """
    start, queries = tokens, tokens
    first, crops = transformer.layers[0], len(keys)
    queries = first.norm1(first.self_attn(queries, queries, queries))
    asked = (queries + start).reshape(crops, -1, start.shape[-1])
    found = first.cross_attn_token_to_image(q=asked, k=keys + encoding, v=keys)
    queries = first.norm2(queries + found.reshape(queries.shape))
    queries = first.norm3(queries + first.mlp(queries))
    back = _shared_query_attention(
        first.cross_attn_image_to_token, keys + encoding, queries + start, queries, prompts
    )
    keys = first.norm4((keys[:, None] + back).flatten(0, 1))
    encoding = encoding.repeat_interleave(prompts, dim=0)
    for layer in transformer.layers[1:]:
        queries, keys = layer(queries=queries, keys=keys, query_pe=start, key_pe=encoding)
    found = transformer.final_attn_token_to_image(q=queries + start, k=keys + encoding, v=keys)
    return transformer.norm_final_attn(queries + found), keys


def _shared_query_attention(
    attention: Attention, q: Tensor, k: Tensor, v: Tensor, prompts: int
) -> Tensor:
    """`Attention.forward`, where all prompts of a crop share their queries.

    Args:
        q: (crops, pixels, channels).
        k, v: (crops * prompts, n, channels).

    Returns:
        (crops, prompts, pixels, channels).
    """
    heads = attention.num_heads
    q = attention.q_proj(q).unflatten(-1, (heads, -1)).transpose(1, 2)[:, None]
    k = attention.k_proj(k).unflatten(-1, (heads, -1)).transpose(1, 2).unflatten(0, (-1, prompts))
    v = attention.v_proj(v).unflatten(-1, (heads, -1)).transpose(1, 2).unflatten(0, (-1, prompts))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    return attention.out_proj((weights @ v).transpose(2, 3).flatten(3))


def _upscale(decoder: MaskDecoder, mask_tokens: Tensor, pixels: Tensor) -> Tensor:
    """The upscaling and the mask product of the decoder: (prompts, masks, pixels, 4, 4).

    A transposed convolution with kernel and stride 2 is a matrix product for each pixel.
    """
    first, norm, activation, second, activation2 = decoder.output_upscaling
    x = pixels @ first.weight.permute(0, 2, 3, 1).flatten(1)
    x = x.unflatten(-1, (2, 2, -1)) + first.bias
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = x @ second.weight.permute(0, 2, 3, 1).flatten(1)
    x = activation2(x.unflatten(-1, (2, 2, -1)) + second.bias)
    mlps = decoder.output_hypernetworks_mlps
    hyper = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(mlps)], dim=1)
    masks = hyper @ x.flatten(1, -2).mT
    # Turn (row of 2, column of 2, row, column) of each pixel into 4 rows of 4 columns.
    masks = masks.unflatten(2, (-1, 2, 2, 2, 2)).transpose(4, 5)
    return masks.flatten(3, 4).flatten(4, 5)
