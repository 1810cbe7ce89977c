"""Encoder and decoder of every precision against the library's, on vit_h with random weights.

Passes if `exact` gives the library's bits at every size of batch. If the library differs from itself,
set ``torch.backends.cudnn.deterministic`` before blaming `exact`.
"""

from __future__ import annotations

import numpy as np
import torch
from segment_anything import SamPredictor

from benchmarks.common import fluorescence
from benchmarks.gpu.common import parse_device, precisions_on, random_model
from samfleet.sam.generator import PRECISIONS, MaskGenerator
from samfleet.sam.generator.precision import arithmetic

BATCHES = (64, 64, 17, 1)


@torch.no_grad()
def main() -> None:
    device = parse_device(__doc__)
    torch.set_num_threads(1)
    sam = random_model(device)
    side = sam.image_encoder.img_size
    rgb = fluorescence(side, side)
    predictor = SamPredictor(sam)
    random = np.random.default_rng(0)

    def library(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.ones(len(points), 1, dtype=torch.int, device=device)
        _, iou, logits = predictor.predict_torch(points[:, None], labels, return_logits=True)
        return logits, iou

    def draw(count: int) -> torch.Tensor:
        return torch.as_tensor(random.uniform(0, side, (count, 2)), device=device)

    points = draw(BATCHES[0])
    first, *again = [(predictor.set_image(rgb), library(points)[0])[1] for _ in range(3)]
    print("the library three times, same bits:", [bool((o == first).all()) for o in again])
    differing = 0
    for allowed in (True, False):
        torch.backends.cudnn.allow_tf32 = allowed
        predictor.set_image(rgb)
        for name in precisions_on(device):
            generator, precision = MaskGenerator(sam, name), PRECISIONS[name]
            generator._decoder.set_image(generator._encoded(rgb).embedding)
            line = f"cuDNN's TF32 {allowed}, {name}:"
            for count in BATCHES:
                points = draw(count)
                logits, iou = library(points)
                with arithmetic(precision.decoder):
                    decoded = generator._decoder.decode(points, 0.0)
                ours, ours_iou = decoded.logits.view_as(logits), decoded.predicted_iou.view_as(iou)
                same = bool((ours == logits).all() and (ours_iou == iou).all())
                differing += name == "exact" and not same
                error = (ours - logits).norm() / logits.norm()
                signs = ((ours > 0) != (logits > 0)).double().mean()
                line += f" | {count}: " + (
                    "same" if same else f"error {error:.1e} signs {signs:.1e}"
                )
            print(line, flush=True)
    torch.backends.cudnn.allow_tf32 = True
    print(f"PARTS: {'FAIL' if differing else 'PASS'}: exact differs in {differing} batches")


if __name__ == "__main__":
    main()
