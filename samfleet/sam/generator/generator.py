"""The mask generator: a loop over crops of the image and batches of prompts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils import amg
from segment_anything.utils.transforms import ResizeLongestSide
from torchvision.ops.boxes import batched_nms, box_area

from samfleet.sam.generator.decoder import Decoded, Decoder
from samfleet.sam.generator.encoder import encode_frames
from samfleet.sam.generator.fast_decoder import FastDecoder
from samfleet.sam.generator.foreground import Foreground
from samfleet.sam.generator.geometry import Geometry
from samfleet.sam.generator.packing import packer_of
from samfleet.sam.generator.upsampling import Upsampler
from samfleet.sam.masks.packed import PackedMask
from samfleet.sam.masks.records import FoundMasks, make_records

#: Prompts decoded at once, by precision. Fixed, since another number can move last bits.
DEFAULT_POINTS_PER_BATCH = {"exact": 64, "fast": 64, "tf32": 64, "bf16": 64}
# Masks × pixels of the image to upsample at once, which bounds the memory of the worst masks.
PIXELS_AT_ONCE = 1 << 27
PRECISIONS = tuple(DEFAULT_POINTS_PER_BATCH)


@dataclass(frozen=True)
class Candidates:
    """Masks that passed the filters so far.

    Attributes:
        boxes: (n, 4) int64, x0 y0 x1 y1, both ends inside.
        predicted_iou, stability: (n,) float32.
        points: (n, 2) float64, x and y of the prompts.
        crops: (n, 4) int64, x0 y0 x1 y1 of the crops that the masks were found in.
        masks: n masks, in their crops.
    """

    boxes: torch.Tensor
    predicted_iou: torch.Tensor
    stability: torch.Tensor
    points: torch.Tensor
    crops: torch.Tensor
    masks: list[PackedMask]

    @classmethod
    def none(cls, device: torch.device) -> Candidates:
        return cls(
            boxes=torch.zeros(0, 4, dtype=torch.int64, device=device),
            predicted_iou=torch.zeros(0, device=device),
            stability=torch.zeros(0, device=device),
            points=torch.zeros(0, 2, dtype=torch.float64),
            crops=torch.zeros(0, 4, dtype=torch.int64),
            masks=[],
        )

    @classmethod
    def concatenate(cls, parts: list[Candidates]) -> Candidates:
        *tensors, masks = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(torch.cat, tensors), [mask for part in masks for mask in part])

    def select(self, index: torch.Tensor) -> Candidates:
        """The candidates at (n,) int64 numbers, in their order."""
        *tensors, masks = vars(self).values()
        return Candidates(
            *(tensor[index.to(tensor.device)] for tensor in tensors),
            [masks[i] for i in index.tolist()],
        )


class MaskGenerator:
    """Generates masks for whole images from a grid of point prompts.

    The records are those of ``segment_anything.SamAutomaticMaskGenerator`` with
    ``output_mode="coco_rle"`` at the same ``points_per_batch``: the same bits with ``exact``, the
    same but for float32 rounding with ``fast``. ``tf32`` and ``bf16`` compute matrix products in
    these formats, on CUDA devices only. On a CPU, ``exact`` wants one torch thread or a power of
    two: with three, the library's own logits change in their last bits.

    Args:
        sam: the model, in evaluation mode, on the device to use.
        precision: ``exact``, ``fast``, ``tf32`` or ``bf16``.
        points_per_side: prompts along each side of the image; None with ``point_grids``.
        points_per_batch: prompts decoded at once; None is the precision's fixed default.
        pred_iou_thresh: masks must be predicted to be better; 0 lets all pass.
        stability_score_thresh: least IoU of a mask with itself at moved thresholds; 0 lets all
            pass.
        stability_score_offset: how far the logits' threshold is moved for that.
        box_nms_thresh: greatest IoU of two masks' boxes within a crop.
        crop_n_layers: layers of crops besides the whole image; layer i has 4**i crops.
        crop_nms_thresh: greatest IoU of two masks' boxes across crops.
        crop_overlap_ratio: overlap of crops in the first layer, as a part of the image's shorter
            side.
        crop_n_points_downscale_factor: by how much ``points_per_side`` shrinks from one layer to
            the next.
        point_grids: one (n, 2) array a layer, x and y from 0 to 1, in place of
            ``points_per_side``.
        min_mask_region_area: islands and holes of fewer pixels are removed; 0 leaves them.
        skip_background: leave out prompts in whose cell of the grid ``Foreground`` sees nothing
            but background; the records are those of the other prompts alone.

    Attributes:
        seconds: seconds of the last image, by stage: encoding, decoding, postprocessing.

    Raises:
        ValueError: on a precision that is unknown or that the device cannot do, or unless exactly
            one of ``points_per_side`` and ``point_grids`` is given.
    """

    def __init__(
        self,
        sam: Sam,
        precision: str = "fast",
        *,
        points_per_side: int | None = 32,
        points_per_batch: int | None = None,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: list[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        skip_background: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, not {precision!r}")
        if precision in ("tf32", "bf16") and sam.device.type != "cuda":
            raise ValueError(f"precision {precision!r} needs a CUDA device, not {sam.device}")
        if (points_per_side is None) == (point_grids is None):
            raise ValueError("give exactly one of points_per_side and point_grids")
        if point_grids is None:
            point_grids = amg.build_all_layer_point_grids(
                points_per_side, crop_n_layers, crop_n_points_downscale_factor
            )
        self.sam = sam
        self.precision = precision
        self.points_per_batch = points_per_batch or DEFAULT_POINTS_PER_BATCH[precision]
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.point_grids = point_grids
        self.min_mask_region_area = min_mask_region_area
        self.skip_background = skip_background
        self.seconds: dict[str, float] = {}
        self._transform = ResizeLongestSide(sam.image_encoder.img_size)
        self._exact = precision == "exact"
        encoder = sam.image_encoder
        self._encoder = encoder if self._exact else partial(encode_frames, encoder)
        self._decoder = Decoder(sam) if self._exact else FastDecoder(sam)

    def why_not_shown(self, height: int, width: int) -> str:
        """Why SAM cannot be shown an image of this size in pixels, in words; empty when it can."""
        size = f"{width} x {height} pixels are too"
        boxes, _ = amg.generate_crop_boxes(
            (height, width), self.crop_n_layers, self.crop_overlap_ratio
        )
        side = self._transform.target_length
        for left, top, right, bottom in boxes:
            if left >= right or top >= bottom:
                return (
                    f"{size} few for sam.crop_n_layers ({self.crop_n_layers}): "
                    "a crop would be empty"
                )
            scaled = self._transform.get_preprocess_shape(bottom - top, right - left, side)
            if min(scaled) < 1:
                return f"{size} narrow: SAM scales the longer side to {side}, the other to 0"
        return ""

    def generate(self, rgb: np.ndarray, points_per_batch: int | None = None) -> list[dict]:
        """Generates the masks of one image.

        Args:
            rgb: (height, width, 3) uint8.
            points_per_batch: prompts decoded at once in this call.

        Returns:
            One record a mask: segmentation (COCO RLE: size [height, width], counts str), area
            (pixels), bbox [x, y, width, height], predicted_iou, point_coords [[x, y]],
            stability_score, crop_box [x, y, width, height].

        Raises:
            ValueError: if the image has another shape or dtype.
            torch.cuda.OutOfMemoryError: if a batch does not fit; smaller ones may.
        """
        found = self.find(rgb, points_per_batch)
        with self._stage("postprocessing"):
            return make_records(found)

    @torch.no_grad()
    def find(self, rgb: np.ndarray, points_per_batch: int | None = None) -> FoundMasks:
        """As ``generate``, but for what needs no device, which ``make_records`` does elsewhere."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"expected (height, width, 3) uint8, not {rgb.shape} {rgb.dtype}")
        self.seconds = {"encoding": 0.0, "decoding": 0.0, "postprocessing": 0.0}
        size = rgb.shape[:2]
        crop_boxes, layers = amg.generate_crop_boxes(
            size, self.crop_n_layers, self.crop_overlap_ratio
        )
        points_per_batch = points_per_batch or self.points_per_batch
        prompts = self._prompts(rgb, crop_boxes, layers)
        candidates = Candidates.concatenate(
            [
                self._crop_candidates(rgb, crop_box, points, points_per_batch)
                for crop_box, points in zip(crop_boxes, prompts, strict=True)
            ]
        )
        with self._stage("postprocessing"):
            if len(crop_boxes) > 1:
                # Masks from smaller crops first.
                scores = 1 / box_area(candidates.crops)
                candidates = _suppress(candidates, scores, self.crop_nms_thresh)
            *tensors, masks = vars(candidates).values()
            boxes, predicted_iou, stability, points, crops = (
                tensor.cpu().numpy() for tensor in tensors
            )
        return FoundMasks(
            size=size,
            boxes=boxes,
            predicted_iou=predicted_iou,
            stability=stability,
            points=points,
            crops=crops,
            masks=masks,
            min_mask_region_area=self.min_mask_region_area,
            nms_thresh=max(self.box_nms_thresh, self.crop_nms_thresh),
        )

    def _prompts(
        self, rgb: np.ndarray, crop_boxes: list[list[int]], layers: list[int]
    ) -> Iterator[np.ndarray]:
        """Each crop's prompts, (n, 2) float64, x and y in the crop."""
        if self.skip_background:
            longest_side = self.sam.image_encoder.img_size << self.crop_n_layers
            foreground = Foreground(rgb, longest_side)
        for crop_box, layer in zip(crop_boxes, layers, strict=True):
            x0, y0, x1, y1 = crop_box
            grid = self.point_grids[layer]
            points = grid * np.array([[x1 - x0, y1 - y0]])
            if self.skip_background:
                points = points[foreground.is_in_cells(grid, crop_box)]
            yield points

    def _crop_candidates(
        self, rgb: np.ndarray, crop_box: list[int], points: np.ndarray, points_per_batch: int
    ) -> Candidates:
        if not len(points):
            return Candidates.none(self.sam.device)
        x0, y0, x1, y1 = crop_box
        with self._stage("encoding"):
            unpadded = self._encode(rgb[y0:y1, x0:x1])
        parts = []
        for first in range(0, len(points), points_per_batch):
            batch = points[first : first + points_per_batch]
            parts.append(self._batch_candidates(batch, unpadded, crop_box, rgb.shape[:2]))
        with self._stage("postprocessing"):
            candidates = Candidates.concatenate(parts)
            candidates = _suppress(candidates, candidates.predicted_iou, self.box_nms_thresh)
            return Candidates(
                amg.uncrop_boxes_xyxy(candidates.boxes, crop_box),
                candidates.predicted_iou,
                candidates.stability,
                amg.uncrop_points(candidates.points, crop_box),
                candidates.crops,
                candidates.masks,
            )

    def _encode(self, rgb: np.ndarray) -> tuple[int, int]:
        """Hands the embedding of a crop to the decoder; returns the crop's size as encoded."""
        if self.sam.image_format != "RGB":
            rgb = rgb[..., ::-1]
        resized = torch.as_tensor(self._transform.apply_image(rgb), device=self.sam.device)
        frame = self.sam.preprocess(resized.permute(2, 0, 1)[None].contiguous())
        with self._arithmetic():
            self._decoder.set_image(self._encoder(frame))
        return resized.shape[0], resized.shape[1]

    def _batch_candidates(
        self,
        points: np.ndarray,
        unpadded: tuple[int, int],
        crop_box: list[int],
        size: tuple[int, int],
    ) -> Candidates:
        x0, y0, x1, y1 = crop_box
        with self._stage("decoding"):
            encoder_points = self._transform.apply_coords(points, (y1 - y0, x1 - x0))
            encoder_points = torch.as_tensor(encoder_points, device=self.sam.device)
            with self._arithmetic():
                decoded = self._decoder.decode(encoder_points, self.pred_iou_thresh)
        with self._stage("postprocessing"):
            geometry = Geometry(
                logits=tuple(decoded.logits.shape[-2:]),
                encoder=(self.sam.image_encoder.img_size,) * 2,
                unpadded=unpadded,
                image=(y1 - y0, x1 - x0),
                masks_per_prompt=self._decoder.masks_per_prompt,
            )
            at_once = max(1, PIXELS_AT_ONCE // (geometry.image[0] * geometry.image[1]))
            return Candidates.concatenate(
                [
                    self._filter(part, points, geometry, crop_box, size)
                    for part in decoded.split(at_once)
                ]
            )

    def _filter(
        self,
        decoded: Decoded,
        points: np.ndarray,
        geometry: Geometry,
        crop_box: list[int],
        size: tuple[int, int],
    ) -> Candidates:
        """Masks that are stable and do not end at a crop's edge within the image."""
        upsampler = Upsampler(
            geometry,
            self.sam.mask_threshold,
            self.stability_score_offset,
            self.sam.device,
            exact=self._exact,
        )
        masks = upsampler.masks(decoded.logits)
        kept = ~amg.is_box_near_crop_edge(masks.boxes, crop_box, [0, 0, size[1], size[0]])
        if self.stability_score_thresh > 0:
            kept &= masks.stability >= self.stability_score_thresh
        index = kept.nonzero()[:, 0]
        prompts = decoded.index[index] // self._decoder.masks_per_prompt
        return Candidates(
            boxes=masks.boxes[index],
            predicted_iou=decoded.predicted_iou[index],
            stability=masks.stability[index],
            points=torch.as_tensor(points)[prompts.cpu()],
            crops=torch.tensor(crop_box).expand(len(index), -1),
            masks=packer_of(upsampler.y, upsampler.x).pack(masks, index),
        )

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Matrix products in the format of the precision."""
        if self.precision == "bf16":
            with torch.autocast("cuda", torch.bfloat16):
                yield
        elif self.precision == "tf32":
            allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            try:
                yield
            finally:
                torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed
        else:
            yield

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.sam.device.type == "cuda":
            torch.cuda.synchronize(self.sam.device)
        self.seconds[name] += time.perf_counter() - start


def _suppress(candidates: Candidates, scores: torch.Tensor, threshold: float) -> Candidates:
    """Non-maximum suppression of boxes; leaves the best first."""
    boxes = candidates.boxes.float()
    one_class = torch.zeros(len(boxes), device=boxes.device)
    kept = batched_nms(boxes, scores.to(boxes.device), one_class, threshold)
    return candidates.select(kept)
