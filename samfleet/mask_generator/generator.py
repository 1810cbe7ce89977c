"""The mask generator: prompts on a grid in, records out."""

from __future__ import annotations

import time

import numpy as np
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

#: Prompts decoded at once, by precision. Fixed, since another number can move last bits.
DEFAULT_POINTS_PER_BATCH = {"exact": 64, "fast": 64, "tf32": 64, "bf16": 64}
PRECISIONS = tuple(DEFAULT_POINTS_PER_BATCH)


class MaskGenerator:
    """Generates masks for whole images from a grid of point prompts.

    Args:
        sam: the model, in evaluation mode, on the device to use.
        precision: ``exact``, ``fast``, ``tf32`` or ``bf16``; the last two need CUDA.
        points_per_batch: prompts decoded at once; None is the precision's fixed default.
        parameters: as those of ``segment_anything.SamAutomaticMaskGenerator``.

    Raises:
        ValueError: on an unknown precision, or one that the model's device cannot do.
    """

    def __init__(
        self,
        sam: Sam,
        precision: str = "fast",
        *,
        points_per_batch: int | None = None,
        **parameters,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, not {precision!r}")
        if precision in ("tf32", "bf16") and sam.device.type != "cuda":
            raise ValueError(f"precision {precision!r} needs a CUDA device, not {sam.device}")
        self.precision = precision
        self.points_per_batch = points_per_batch or DEFAULT_POINTS_PER_BATCH[precision]
        self.seconds: dict[str, float] = {}
        self._generator = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters)

    def generate(self, rgb: np.ndarray, points_per_batch: int | None = None) -> list[dict]:
        """Generates the masks of one image.

        Args:
            rgb: (height, width, 3) uint8.
            points_per_batch: prompts decoded at once, for this call alone.

        Returns:
            One record a mask: segmentation (COCO RLE), area, bbox [x, y, width, height],
            predicted_iou, point_coords [[x, y]], stability_score, crop_box.

        Raises:
            torch.cuda.OutOfMemoryError: if the batch does not fit; a smaller one may.
        """
        self._generator.points_per_batch = points_per_batch or self.points_per_batch
        start = time.perf_counter()
        records = self._generator.generate(rgb)
        seconds = time.perf_counter() - start
        self.seconds = {"encoding": 0.0, "decoding": seconds, "postprocessing": 0.0}
        return records
