"""Load the mask generator that a configuration asks for, with its model."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from samfleet.config.settings import SamSettings, in_micrometres
from samfleet.sam.generator.generator import MaskGenerator
from samfleet.sam.model import load_model
from samfleet.sam.prompts.loading import load_map_decoder
from samfleet.sam.prompts.prompts import MapPrompts
from samfleet.sam.tiles import configured_tiles
from samfleet.sam.weights import cache_folder, configured_decoder, configured_weights


def load_generator(settings: SamSettings, device: str, threads: int) -> MaskGenerator:
    """Load the model, once for many images.

    Args:
        settings: the section of the configuration.
        device: where the model runs, "cuda" or "cpu".
        threads: CPU threads that torch may use.
    """
    if device == "cpu" and settings.precision == "exact":
        # With other numbers of threads, torch splits products such that their last bits change.
        threads = 1 << (threads.bit_length() - 1)
    torch.set_num_threads(threads)
    if settings.compile and device == "cuda":
        _keep_compiled_code(cache_folder(settings.cache_folder) / "compiled")
    weights = configured_weights(settings)
    sam = load_model(settings.model, weights, device)
    map_prompts = None
    if settings.prompts == "decoder":
        decoder = load_map_decoder(
            settings.model, weights, configured_decoder(settings), settings.decoder_statistics
        )
        side = sam.image_encoder.img_size
        map_prompts = MapPrompts(
            decoder.to(device), settings.seeds, side, settings.refine_with_maps
        )
    return MaskGenerator(
        sam,
        settings.precision,
        points_per_side=settings.points_per_side,
        points_per_batch=settings.points_per_batch,
        compiled=settings.compile and device == "cuda",
        pred_iou_thresh=settings.pred_iou_thresh,
        stability_score_thresh=settings.stability_score_thresh,
        stability_score_offset=settings.stability_score_offset,
        box_nms_thresh=settings.box_nms_thresh,
        crop_n_layers=settings.crop_n_layers,
        crop_nms_thresh=settings.crop_nms_thresh,
        crop_overlap_ratio=settings.crop_overlap_ratio,
        crop_n_points_downscale_factor=settings.crop_n_points_downscale_factor,
        min_mask_region_area=settings.min_mask_region_area,
        mask_nms_thresh=settings.mask_nms_thresh,
        mask_nms_of=settings.mask_nms_of,
        skip_background=settings.skip_background,
        tiles=None if in_micrometres(settings.object_diameter) else configured_tiles(settings),
        map_prompts=map_prompts,
        refine_with_boxes=settings.refine_with_boxes and map_prompts is not None,
        refine_with_maps=settings.refine_with_maps and map_prompts is not None,
    )


def _keep_compiled_code(folder: Path) -> None:
    """Let compiled code be kept in a folder, and compile in this process, which no others then outlive.

    Only for what is compiled for the first time afterwards; the user's own environment variables stand above it.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
