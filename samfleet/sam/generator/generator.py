"""The mask generator: a loop over crops of the image and batches of prompts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils import amg
from segment_anything.utils.transforms import ResizeLongestSide
from torchvision.ops.boxes import batched_nms, box_area

from samfleet.errors import UserError
from samfleet.faults import is_out_of_memory
from samfleet.reduction import Picture
from samfleet.sam.generator.ahead import Encoded, EncodingAhead, StageEvents
from samfleet.sam.generator.candidates import (
    Candidates,
    Chosen,
    Following,
    Seen,
    View,
    no_following,
)
from samfleet.sam.generator.decoder import Decoded, Decoder
from samfleet.sam.generator.encoder import BIAS_AT_ONCE, SMALLEST_BIAS, encode_frames, in_bf16
from samfleet.sam.generator.fast_decoder import FastDecoder
from samfleet.sam.generator.foreground import Foreground
from samfleet.sam.generator.geometry import Geometry
from samfleet.sam.generator.packing import MaskBits, packer_of
from samfleet.sam.generator.pictures import WholePicture, whole
from samfleet.sam.generator.precision import PRECISIONS, arithmetic
from samfleet.sam.generator.tiled import FinishedTiles, Search, find_in_tiles
from samfleet.sam.generator.transfer import Arriving, to_device
from samfleet.sam.generator.undecided import Part, Undecided
from samfleet.sam.generator.upsampling import Upsampler
from samfleet.sam.masks.packed import CompactMask
from samfleet.sam.masks.records import FoundMasks, TileReport, make_records
from samfleet.sam.prompts.basins import Basins, Relief, distinct_masks, largest_parts
from samfleet.sam.prompts.prompts import MapPrompts, NotFiniteMaps, Prompts
from samfleet.sam.tiles import Layout, Tiles

STAGES = ("encoding", "decoding", "postprocessing")

logger = logging.getLogger(__name__)

_HOST = torch.device("cpu")

_NEAR = 20  # pixels at which the library takes a mask for cut

_BOX_MARGIN = 0.01  # by how much of its sides micro-sam enlarges a box at each side

# Masks × pixels of the image to upsample at once, which limits the memory that the worst masks need.
PIXELS_AT_ONCE = {"cpu": 1 << 27, "cuda": 1 << 30}


class NotFiniteError(UserError):
    """The model computed numbers that are infinite or no numbers."""


class MaskGenerator:
    """Generates masks for whole images from a grid of point prompts.

    The records are those of ``segment_anything.SamAutomaticMaskGenerator`` with
    ``output_mode="coco_rle"`` at the same ``points_per_batch``: identical bits with ``exact``, equal
    except for float32 rounding with ``fast``, which on a GPU computes in float32 what cuDNN's
    convolutions of the library compute in TF32. ``tf32`` computes matrix products in TF32, ``bf16`` also
    those of the encoder's blocks in bf16, on CUDA devices only. On a CPU, ``exact`` needs the number of
    torch threads to be one or another power of two: with three, the last bits of the library's own
    logits change.

    Args:
        sam: the model, in evaluation mode, on the device to use.
        precision: ``exact``, ``fast``, ``tf32`` or ``bf16``.
        points_per_side: prompts along each side of the image; None with ``point_grids``.
        points_per_batch: prompts decoded at once; None is the precision's fixed default.
        compiled: decode with compiled code; not with ``exact``.
        pred_iou_thresh: masks whose predicted IoU is not above it are rejected; 0 lets all pass.
        stability_score_thresh: smallest IoU of a mask with itself at shifted thresholds; 0 lets all
            pass.
        stability_score_offset: by how much the threshold of the logits is shifted for that.
        box_nms_thresh: greatest IoU of two masks' boxes within a crop.
        crop_n_layers: layers of crops in addition to the whole image; layer i has 4**i crops.
        crop_nms_thresh: greatest IoU of two masks' boxes across crops.
        crop_overlap_ratio: overlap of crops in the first layer, as a fraction of the image's shorter
            side.
        crop_n_points_downscale_factor: by how much ``points_per_side`` shrinks from one layer to
            the next.
        point_grids: an (n, 2) array for each layer, x and y from 0 to 1, instead of
            ``points_per_side``.
        min_mask_region_area: islands and holes with fewer pixels are removed; 0 keeps them.
        mask_nms_thresh: greatest part of their pixels that two masks may share at last; None compares
            only boxes.
        mask_nms_of: the part of what: "union" or "smaller", see `keep_best_masks`.
        skip_background: leave out prompts if ``Foreground`` sees nothing but background in their
            cell of the grid; the records are then those of the other prompts.
        tiles: how larger images are divided; None shows the model the whole image only. Without crops.
        map_prompts: where the prompts come from instead of the grid, which then only tells views
            without foreground; each prompt gives one mask.
        refine_with_boxes: ask a second time, with the boxes of the masks that ``map_prompts`` gave.
        refine_with_maps: let the outlines of the masks that are left follow the maps of ``map_prompts``, which
            then keeps them: where an object ends there, and where the next one begins. The predicted IoU of a mask is
            then the mean of SAM's and of what it is if the maps are right.

    Attributes:
        tiles: how the next image is divided, which may be set before it.
        following: gives the image that comes next, (height, width, 3) uint8, if it is shown as a whole and at hand;
            a GPU encodes it while the host is busy with what was found in the present one.
        seconds: seconds of the last image, by stage: encoding, decoding, postprocessing.
        device_seconds: for how long a GPU has had work so far, by its own clock; None on a CPU. Work that
            waits for the host within a stage counts.

    Raises:
        ValueError: if the precision is unknown, or the device or compiled code does not support it, or unless exactly
            one of ``points_per_side`` and ``point_grids`` is given.
    """

    def __init__(
        self,
        sam: Sam,
        precision: str = "fast",
        *,
        points_per_side: int | None = 32,
        points_per_batch: int | None = None,
        compiled: bool = False,
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
        mask_nms_thresh: float | None = None,
        mask_nms_of: str = "union",
        skip_background: bool = False,
        tiles: Tiles | None = None,
        map_prompts: MapPrompts | None = None,
        refine_with_boxes: bool = False,
        refine_with_maps: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {tuple(PRECISIONS)}, not {precision!r}")
        self._precision = PRECISIONS[precision]
        if self._precision.needs_gpu and sam.device.type != "cuda":
            raise ValueError(f"precision {precision!r} needs a CUDA device, not {sam.device}")
        if compiled and precision == "exact":
            raise ValueError("exact runs the library's operations as they are, not compiled")
        if (points_per_side is None) == (point_grids is None):
            raise ValueError("give exactly one of points_per_side and point_grids")
        if tiles is not None and crop_n_layers:
            raise ValueError("tiles take the place of crops: crop_n_layers must be 0")
        if refine_with_boxes and map_prompts is None:
            raise ValueError("refine_with_boxes needs map_prompts, whose points mean one mask each")
        if refine_with_maps and map_prompts is None:
            raise ValueError("refine_with_maps needs map_prompts, which have maps")
        if point_grids is None:
            point_grids = amg.build_all_layer_point_grids(
                points_per_side, crop_n_layers, crop_n_points_downscale_factor
            )
        if self._precision.blocks == torch.bfloat16:
            sam = in_bf16(sam)
        self.sam = sam
        self.precision = precision
        self.points_per_batch = points_per_batch or self._precision.points_per_batch(sam.device)
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.point_grids = point_grids
        self.min_mask_region_area = min_mask_region_area
        self.mask_nms_thresh = mask_nms_thresh
        self.mask_nms_of = mask_nms_of
        self.skip_background = skip_background
        self.tiles = tiles
        self.following: Following = no_following
        self.refine_with_boxes = refine_with_boxes
        self.refine_with_maps = refine_with_maps
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.device_seconds = 0.0 if sam.device.type == "cuda" else None
        self._events: list[StageEvents] = []
        self._transform = ResizeLongestSide(sam.image_encoder.img_size)
        self._exact = precision == "exact"
        encoder = sam.image_encoder
        self._encoder = encoder if self._exact else partial(encode_frames, encoder)
        self._bias_at_once = BIAS_AT_ONCE[sam.device.type]
        self._map_prompts = map_prompts
        # the library's encoder, which `exact` calls, waits for the device in every block
        self._ahead = EncodingAhead(sam.device.type == "cuda" and not self._exact)
        self._decoder = _decoder_class(self._exact, compiled)(sam, multimask=not map_prompts)

    def why_not_shown(self, height: int, width: int) -> str:
        """Why SAM cannot be shown an image of this size in pixels, in words; empty if it can."""
        size = f"{width} x {height} pixels are too"
        if self.tiles is not None:
            boxes = self.tiles.lay((height, width)).boxes[:1]  # all have this size
        else:
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
            One record for each mask: segmentation (COCO RLE: size [height, width], counts str), area
            (pixels), bbox [x, y, width, height], predicted_iou, point_coords [[x, y]],
            stability_score, crop_box [x, y, width, height].

        Raises:
            ValueError: if the image has another shape or dtype.
            NotFiniteError: if the model's output is not finite.
            MemoryError: if the encoder does not fit, or the decoder of maps.
            torch.cuda.OutOfMemoryError: if a batch does not fit; a smaller one may.
        """
        found = self.find(rgb, points_per_batch)
        start = time.perf_counter()
        records = make_records(found)
        self.seconds["postprocessing"] += time.perf_counter() - start
        return records

    @torch.no_grad()
    def find(
        self,
        image: np.ndarray | Picture,
        points_per_batch: int | None = None,
        finished: FinishedTiles | None = None,
    ) -> FoundMasks:
        """Like ``generate``, but without the steps that need no device: ``make_records`` does those.

        Args:
            image: (height, width, 3) uint8, or what gives parts of a larger one.
            points_per_batch: prompts decoded at once in this call.
            finished: what was found in tiles of this image before, to which the others are added.
        """
        picture = WholePicture(image) if isinstance(image, np.ndarray) else image
        self._finish_stages()  # of an image for which memory ran out
        self.seconds = dict.fromkeys(STAGES, 0.0)
        points_per_batch = points_per_batch or self.points_per_batch
        if self.tiles is not None:
            found, report, layout = self._find_in_tiles(
                picture, self.tiles, points_per_batch, finished
            )
        else:
            found = self._find_in_crops(picture, points_per_batch)
            report, layout = None, None
        self._finish_stages()
        candidates = found.candidates
        return FoundMasks(
            size=picture.size,
            boxes=candidates.boxes.cpu().numpy(),
            predicted_iou=candidates.predicted_iou.cpu().numpy(),
            stability=candidates.stability.cpu().numpy(),
            points=candidates.points.cpu().numpy(),
            crops=found.crops,
            masks=found.masks,
            min_mask_region_area=self.min_mask_region_area,
            nms_thresh=max(self.box_nms_thresh, self.crop_nms_thresh),
            mask_nms_thresh=self.mask_nms_thresh,
            mask_nms_of=self.mask_nms_of,
            reductions=found.reductions,
            tiles=report,
            layout=layout,
        )

    def _find_in_tiles(
        self,
        picture: Picture,
        tiles: Tiles,
        points_per_batch: int,
        finished: FinishedTiles | None,
    ) -> tuple[Chosen, TileReport, Layout]:
        def look(view: View) -> Seen:
            seen = self.look(view, points_per_batch)
            self._finish_stages()
            return seen

        input_size = self.sam.image_encoder.img_size
        search = Search(
            look=look,
            find_all=partial(self._find_in_crops, picture, points_per_batch),
            input_size=input_size,
            grid=self.point_grids[0],
            skip_background=self.skip_background,
            nms_thresh=self.crop_nms_thresh,
        )
        return find_in_tiles(picture, tiles, search, finished)

    def _find_in_crops(self, picture: Picture, points_per_batch: int) -> Chosen:
        rgb = whole(picture)
        size = rgb.shape[:2]
        crop_boxes, layers = amg.generate_crop_boxes(
            size, self.crop_n_layers, self.crop_overlap_ratio
        )
        prompts = list(self._grid(rgb, crop_boxes, layers))
        shown = [rgb[y0:y1, x0:x1] for x0, y0, x1, y1 in crop_boxes]
        parts, crops = [], []
        masks: list[CompactMask] = []
        whole_image = [0, 0, size[1], size[0]]
        for number, (box, points) in enumerate(zip(crop_boxes, prompts, strict=True)):
            cut = partial(_is_cut, crop=box, whole=whole_image) if box != whole_image else None
            left = (shown[later] for later in range(number + 1, len(shown)) if len(prompts[later]))
            following = partial(next, left, None) if len(shown) > 1 else self._next_image
            view = View(shown[number], box, points, cut, following=following)
            seen = self.look(view, points_per_batch)
            parts.append(seen.candidates)
            masks += seen.masks
            crops += [box] * len(seen.masks)
        # a single view's are on the host, whose device may have the next image by now
        with self._stage("postprocessing", on_host=len(crop_boxes) == 1):
            candidates = Candidates.concatenate(parts)
            if len(crop_boxes) > 1:
                # Masks from smaller crops come first.
                scores = 1 / box_area(torch.tensor(crops).view(-1, 4))
                # where the library does it, whose order of equals is the device's
                there = to_device(candidates.boxes, self.sam.device)
                scores = to_device(scores, self.sam.device)
                kept = _suppress(there, scores, self.crop_nms_thresh).cpu()
                candidates = candidates.select(kept)
                masks, crops = ([each[i] for i in kept.tolist()] for each in (masks, crops))
        boxes = np.array(crops, np.int64).reshape(-1, 4)
        return Chosen(candidates, masks, boxes, np.ones(len(boxes), np.int64))

    def _next_image(self) -> np.ndarray | None:
        """The image that comes next, unless it or a part of this one may be looked at in tiles first."""
        return self.following() if self.tiles is None and not self.crop_n_layers else None

    def _grid(
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

    def look(self, view: View, points_per_batch: int) -> Seen:
        """The masks in a part of an image, after non-maximum suppression within it."""
        if not len(view.points):
            return Seen.nothing(_HOST)
        encoded = self._encoded(view.rgb)
        prompts = self._prompts(encoded, view)
        if not len(prompts.points):
            return Seen.nothing(_HOST)
        with self._stage("decoding"), arithmetic(self._precision.decoder):
            self._decoder.set_image(prompts.embedding)
        upsampler = self._upsampler(encoded.unpadded, view.rgb.shape[:2])
        if self.refine_with_maps:
            return self._refined(prompts, view, upsampler, points_per_batch)
        size = view.rgb.shape[:2]
        parts: list[Part] = []
        undecided: list[Undecided] = []
        every = self._decoded(prompts.points, upsampler, points_per_batch, self.pred_iou_thresh)
        for points, decoded in every:
            # The host has just waited for the device, so what was on its way from there has arrived.
            parts, undecided = parts + self._decide(undecided), []
            with self._stage("postprocessing"):
                undecided = [
                    self._filter(part, points, upsampler, view)
                    for part in decoded.split(self._masks_at_once(size))
                ]
            if self.sam.device.type == "cpu":  # while they are in its caches
                parts, undecided = parts + self._decide(undecided), []
        return self._best(parts + self._decide(undecided), upsampler, view)

    def _decoded(
        self,
        points: np.ndarray,
        upsampler: Upsampler,
        points_per_batch: int,
        pred_iou_thresh: float,
    ) -> Iterator[tuple[torch.Tensor, Decoded]]:
        """Batch by batch the points that were asked for, (n, 2) float64 on the device, and their masks.

        Args:
            points: (n, 2) float64, x and y in the view.
            pred_iou_thresh: masks whose predicted IoU is not above it are rejected; 0 lets all pass.
        """
        size = upsampler.geometry.image
        both = np.stack([points, self._transform.apply_coords(points, size)])
        for batch in to_device(both, self.sam.device).split(points_per_batch, dim=1):
            asked, prompts = self._asked(batch[0], batch[1], upsampler)
            if len(asked):
                yield asked, self._decode(prompts, pred_iou_thresh)

    def _refined(
        self, prompts: Prompts, view: View, upsampler: Upsampler, points_per_batch: int
    ) -> Seen:
        """The masks of a view, whose outlines follow the maps.

        SAM's masks as they are can have stray pixels, by which their boxes would say what is cut or twice the same.
        So they are compared by their largest parts, and filtered by stability when the maps have bounded them.
        """
        assert self._map_prompts is not None and prompts.maps is not None
        least = max(0, 2 * self.pred_iou_thresh - 1)  # of SAM's if the maps' is 1
        every = list(self._decoded(prompts.points, upsampler, points_per_batch, least))
        if not every:
            return self._best([], upsampler, view)
        points = torch.cat([asked[decoded.index] for asked, decoded in every])
        logits = torch.cat([decoded.logits for _, decoded in every])
        predicted_iou = torch.cat([decoded.predicted_iou for _, decoded in every])
        geometry = upsampler.geometry
        with self._stage("postprocessing"):
            scale = geometry.encoder[0] // geometry.logits[0]
            height, width = (-(-length // scale) for length in geometry.unpadded)
            masks = logits[:, :height, :width] > self.sam.mask_threshold
            on_host = Arriving([masks, predicted_iou, points]).arrive()
            above, scores, places = (each.numpy() for each in on_host)
            above = largest_parts(above)
            in_frame = geometry.in_frame(places)
            relief = Relief.of(prompts.maps, self._map_prompts.seeds)
            every_basin = Basins(relief, geometry.in_frame(prompts.points))
            scores = (scores + every_basin.agreement(above, scale)) / 2
            good = np.flatnonzero((scores > self.pred_iou_thresh) | (self.pred_iou_thresh == 0))
            kept = good[distinct_masks(above[good], scores[good], in_frame[good], relief)]
            basins = Basins(relief, in_frame[kept])
        parts: list[Part] = []
        for first in range(0, len(kept), points_per_batch):
            numbers = kept[first : first + points_per_batch]
            with self._stage("postprocessing"):
                chosen = to_device(numbers, self.sam.device)
                evidence = basins.evidence(
                    range(first, first + len(numbers)), scale, geometry.logits
                )
                bounded = Decoded(
                    logits[chosen] + to_device(evidence, self.sam.device),
                    torch.arange(len(numbers), device=self.sam.device),
                    to_device(scores[numbers], self.sam.device),
                )
                undecided = [
                    self._filter(part, points[chosen], upsampler, view)
                    for part in bounded.split(self._masks_at_once(geometry.image))
                ]
            parts += self._decide(undecided)
        return self._best(parts, upsampler, view)

    def _prompts(self, encoded: Encoded, view: View) -> Prompts:
        if not self._map_prompts:
            return Prompts(view.points, encoded.embedding)
        with (
            self._stage("decoding"),
            arithmetic(self._precision.decoder),
            _naming("the decoder of maps"),
        ):
            try:
                return self._map_prompts.find(
                    encoded.embedding, encoded.frame, encoded.unpadded, view.rgb.shape[:2]
                )
            except NotFiniteMaps as error:
                raise self._not_finite() from error

    def _decide(self, undecided: list[Undecided]) -> list[Part]:
        with self._stage("postprocessing"):
            return [masks.decide() for masks in undecided]

    def _best(self, parts: list[Part], upsampler: Upsampler, view: View) -> Seen:
        """What is left after non-maximum suppression. Only that leaves the device, all at once."""
        if not parts:
            self._check(self._decoder.is_finite)
            return Seen.nothing(_HOST)
        with self._stage("postprocessing"):
            candidates = Candidates.concatenate([part.candidates for part in parts])
            cut = Candidates.concatenate([part.cut for part in parts])
            kept = _suppress(candidates.boxes, candidates.predicted_iou, self.box_nms_thresh)
            kept, is_finite = Arriving([kept, self._decoder.is_finite]).arrive()
            self._check(is_finite)
            candidates = candidates.select(to_device(kept, self.sam.device))
            bits = MaskBits.concatenate([part.bits for part in parts]).select(kept)
            arriving = Arriving([*candidates.tensors(), *cut.tensors(), *bits.tensors()])
        self._encode_ahead(view.following)
        host = iter(arriving.arrive())
        with self._stage("postprocessing", on_host=True):
            candidates, cut = Candidates.of(host), Candidates.of(host)
            packer = packer_of(upsampler.y, upsampler.x)
            masks = packer.pack(MaskBits.of(host, bits.cells), candidates.boxes.numpy())
            return Seen(candidates.in_image(view.box), masks, cut.in_image(view.box))

    def _check(self, is_finite: torch.Tensor) -> None:
        if not is_finite:
            raise self._not_finite()

    def _not_finite(self) -> NotFiniteError:
        return NotFiniteError(
            "the model's output is not finite: the weights that sam.checkpoint names are damaged, or "
            f"cannot be computed with sam.precision {self.precision}"
        )

    def _upsampler(self, unpadded: tuple[int, int], size: tuple[int, int]) -> Upsampler:
        height, width = self.sam.prompt_encoder.image_embedding_size
        geometry = Geometry(
            logits=(4 * height, 4 * width),
            encoder=(self.sam.image_encoder.img_size,) * 2,
            unpadded=unpadded,
            image=size,
            masks_per_prompt=self._decoder.masks_per_prompt,
        )
        return Upsampler(
            geometry,
            self.sam.mask_threshold,
            self.stability_score_offset,
            self.sam.device,
            exact=self._exact,
        )

    def _resized(self, rgb: np.ndarray) -> np.ndarray:
        """A crop at the size at which it is encoded, with its colours in the model's order."""
        if self.sam.image_format != "RGB":
            rgb = rgb[..., ::-1]
        return self._transform.apply_image(rgb)

    def _encoded(self, rgb: np.ndarray) -> Encoded:
        """A view's embedding, now or ahead."""
        encoded = self._ahead.take(rgb)
        if encoded is None:
            with self._stage("encoding", on_host=True):
                resized = self._resized(rgb)
            with self._stage("encoding"):
                frame = self._frame(resized)
                embedding = self._encode_frame(frame).float()
            encoded = Encoded(rgb, frame, embedding, resized.shape[:2])
        self._events += encoded.events
        self.seconds["encoding"] += encoded.seconds
        return encoded

    def _encode_ahead(self, following: Following) -> None:
        """Gives a GPU the next view to encode, behind all that it has to do for the present one."""
        if self._ahead.is_of_use and (rgb := following()) is not None:
            self._ahead.encode(rgb, self._encoded_by_itself)

    def _encoded_by_itself(self, rgb: np.ndarray) -> Encoded:
        """A view that is encoded while another one is looked at, whose times do not count for that one."""
        start = time.perf_counter()
        resized = self._resized(rgb)
        seconds = time.perf_counter() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        frame = self._frame(resized)
        with arithmetic(self._precision.encoder):
            embedding = self._encoder(frame).float()
        end.record()
        events = [("encoding", begin, end)]
        return Encoded(rgb, frame, embedding, resized.shape[:2], seconds, events)

    def _frame(self, resized: np.ndarray) -> torch.Tensor:
        pixels = to_device(resized, self.sam.device)
        return self.sam.preprocess(pixels.permute(2, 0, 1)[None].contiguous())

    def _encode_frame(self, frame: torch.Tensor) -> torch.Tensor:
        """The embedding; if memory runs out, with half as much at once, and so for all that follow.

        Raises:
            MemoryError: it does not fit even so.
        """
        while True:
            try:
                with arithmetic(self._precision.encoder):
                    return self._encoder(frame)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self._exact or self._bias_at_once <= SMALLEST_BIAS:
                    raise MemoryError("out of memory in the encoder") from error
            # after the handler, not in it: there the traceback would still hold the tensors
            torch.cuda.empty_cache()
            self._bias_at_once //= 2
            encoder = self.sam.image_encoder
            self._encoder = partial(encode_frames, encoder, bias_at_once=self._bias_at_once)
            logger.warning("out of memory in the encoder; trying again with half as much at once")

    def _asked(
        self, points: torch.Tensor, prompts: torch.Tensor, upsampler: Upsampler
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which points of a batch are asked for, and with which prompts: themselves or boxes.

        Args:
            points, prompts: (n, 2) float64, x and y in the view and in the encoder's input.
        """
        if not self.refine_with_boxes:
            return points, prompts
        geometry = upsampler.geometry
        first = self._decode(prompts, 0.0).split(self._masks_at_once(geometry.image))
        with self._stage("postprocessing"):
            boxes = torch.cat([upsampler.masks(part.logits).boxes for part in first])
            seen = boxes.any(1).nonzero()[:, 0]  # an empty mask has no box to ask for
            return points[seen], _box_prompts(boxes[seen], geometry)

    def _decode(self, prompts: torch.Tensor, pred_iou_thresh: float) -> Decoded:
        with self._stage("decoding"), arithmetic(self._precision.decoder):
            return self._decoder.decode(prompts, pred_iou_thresh)

    def _masks_at_once(self, size: tuple[int, int]) -> int:
        return max(1, PIXELS_AT_ONCE[self.sam.device.type] // (size[0] * size[1]))

    def _filter(
        self, decoded: Decoded, points: torch.Tensor, upsampler: Upsampler, view: View
    ) -> Undecided:
        """Which masks are stable and whole, and which are stable and cut by the view's edge."""
        masks = upsampler.masks(decoded.logits)
        stable = torch.ones_like(decoded.index, dtype=torch.bool)
        if self.stability_score_thresh > 0:
            stable = masks.stability >= self.stability_score_thresh
        is_cut = torch.zeros_like(stable) if view.cut is None else view.cut(masks.boxes)
        candidates = Candidates(
            boxes=masks.boxes,
            predicted_iou=decoded.predicted_iou,
            stability=masks.stability,
            points=points[decoded.index // self._decoder.masks_per_prompt],
        )
        cut = stable & is_cut if view.keeps_cut else torch.zeros_like(stable)
        return Undecided(candidates, masks, stable & ~is_cut, cut)

    @contextmanager
    def _stage(self, name: str, on_host: bool = False) -> Iterator[None]:
        """Counts a block towards a stage, without waiting for a GPU, whose own clock is read later."""
        if on_host or self.sam.device.type != "cuda":
            start = time.perf_counter()
            yield
            self.seconds[name] += time.perf_counter() - start
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        yield
        end.record()
        self._events.append((name, begin, end))

    def _finish_stages(self) -> None:
        """Adds the times of all stages so far by the GPU's clock."""
        events, self._events = self._events, []
        for name, begin, end in events:
            end.synchronize()
            seconds = begin.elapsed_time(end) / 1000
            self.seconds[name] += seconds
            self.device_seconds = (self.device_seconds or 0.0) + seconds


def _decoder_class(exact: bool, compiled: bool) -> type[Decoder]:
    if compiled:
        # only here, since torch's compiler takes seconds to import
        from samfleet.sam.generator.compiled_decoder import CompiledDecoder

        return CompiledDecoder
    return Decoder if exact else FastDecoder


@contextmanager
def _naming(part: str) -> Iterator[None]:
    """Says which part of the model memory does not suffice for, where fewer prompts would not help."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(f"out of memory in {part}") from error
        raise


def _box_prompts(boxes: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Boxes to ask for, from those of masks: (n, 4) float64, a little larger, in the encoder's input.

    Args:
        boxes: (n, 4) int64, x0 y0 x1 y1 in the view, both ends inside.
        geometry: of the view.
    """
    lengths = np.array([geometry.image[::-1], geometry.unpadded[::-1]], np.float64)
    size, unpadded = to_device(lengths, boxes.device)
    margin = (boxes[:, 2:] - boxes[:, :2]) * _BOX_MARGIN
    low = (boxes[:, :2] - margin).clamp(min=0)
    high = (boxes[:, 2:] + margin).minimum(size)
    return torch.cat([low, high], 1) * (unpadded / size).repeat(2)


def _is_cut(boxes: torch.Tensor, crop: list[int], whole: list[int]) -> torch.Tensor:
    """The library's `is_box_near_crop_edge`, which waits for the device, in whole numbers: (n,) bool.

    Args:
        boxes: (n, 4) int64, x0 y0 x1 y1 in the crop.
        crop, whole: the crop and the image, x0 y0 x1 y1 in the image.
    """
    corner = np.array(crop[:2] * 2)
    edges = to_device(np.array([crop, whole]) - corner, boxes.device)
    at_crop, at_image = ((boxes - edge).abs() <= _NEAR for edge in edges)
    return (at_crop & ~at_image).any(1)


def _suppress(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Non-maximum suppression: (k,) int64, the boxes that are kept, the best first."""
    one_class = torch.zeros(len(boxes), device=boxes.device)
    return batched_nms(boxes.float(), scores, one_class, threshold)
