"""A small SAM with random weights that shows spots, and pictures for it."""

from functools import partial

import numpy as np
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

SIDE, PATCH, CHANNELS = 64, 4, 64

# Thresholds under which some masks of this model pass and some do not.
SOME = {
    "points_per_side": 8,
    "pred_iou_thresh": 0.02,
    "stability_score_thresh": 0.15,
    "box_nms_thresh": 0.98,
    "crop_nms_thresh": 0.98,
    "crop_n_points_downscale_factor": 2,
}
ALL = SOME | {
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
    "crop_nms_thresh": 1.0,
}


def build_sam(seed: int = 5) -> Sam:
    torch.manual_seed(seed)
    grid = SIDE // PATCH
    sam = Sam(
        ImageEncoderViT(
            img_size=SIDE,
            patch_size=PATCH,
            embed_dim=32,
            depth=2,
            num_heads=2,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            global_attn_indexes=(1,),
            window_size=6,
            out_chans=CHANNELS,
        ),
        PromptEncoder(CHANNELS, (grid, grid), (SIDE, SIDE), mask_in_chans=8),
        MaskDecoder(
            transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=2, mlp_dim=64),
            transformer_dim=CHANNELS,
            iou_head_hidden_dim=32,
        ),
    ).eval()
    for parameter in sam.parameters():
        parameter.requires_grad_(False)
        if parameter.dim() == 1 or parameter.count_nonzero() == 0:
            parameter.add_(0.1 * torch.randn_like(parameter))
    # Prompts matter more.
    for embedding in sam.prompt_encoder.point_embeddings:
        embedding.weight.mul_(2)
    for layer in sam.mask_decoder.transformer.layers:
        for attention in (layer.self_attn, layer.cross_attn_image_to_token):
            attention.v_proj.weight.mul_(3)
            attention.out_proj.weight.mul_(3)
    for network in sam.mask_decoder.output_hypernetworks_mlps:
        for linear in network.layers:
            linear.weight.mul_(4)
    for linear in sam.mask_decoder.iou_prediction_head.layers:
        linear.weight.mul_(2)
    return sam


class Spots(torch.nn.Module):
    """Stands for the decoder's upscaling: each channel shows a few spots.

    A mask, which is a weighted sum of channels, is then some of the spots, where random weights
    would give noise that fills the frame. The spots lie in the middle part of the frame, so that
    some stay clear of a crop's edges.
    """

    def __init__(self, channels: int, side: int, part: float) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        y, x = np.mgrid[:side, :side]
        spots = np.zeros((channels, side, side))
        for channel in spots:
            for _ in range(3):
                centre, radius = random.uniform(-part, part, 2), random.uniform(1, side / 7)
                centre = (centre + 1) * side / 2
                distance = np.hypot(y - centre[0], x - centre[1]) / (part * radius)
                channel += np.exp(-(distance**4)) - 0.04
        self.register_buffer("spots", torch.as_tensor(spots, dtype=torch.float32))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.spots * image[:, : len(self.spots), :1, :1]


def spotted_sam(part: float = 1.0) -> Sam:
    """A model whose masks are spots in the middle part of the frame."""
    sam = build_sam()
    sam.mask_decoder.output_upscaling = Spots(CHANNELS // 8, 4 * SIDE // PATCH, part)
    return sam


def image(height: int, width: int, seed: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    field = random.normal(20, 6, (height, width))
    for _ in range(8):
        centre, radius = random.uniform(0, (height, width)), random.uniform(3, 12)
        field += 90 * (np.hypot(y - centre[0], x - centre[1]) < radius)
    return (field[..., None] * np.array([0.2, 1, 0.5])).clip(0, 255).astype(np.uint8)
