"""Golden masks: what the embedded model finds in one image of the demo.

`python -m tests.golden` writes tests/data/golden_masks.json anew. Do so after replacing the
embedded weights. Where the code changed what is found or measured, also raise ALGORITHM_VERSION in
samfleet/sam/model_key.py, so that stored results are not mixed with new ones.
"""

import hashlib
import json
from pathlib import Path

FILE = Path(__file__).parent / "data" / "golden_masks.json"
IMAGE = Path(__file__).parents[1] / "resources" / "demo" / "images" / "dapi" / "field_02.png"
_KEPT = (
    "rle",
    "area",
    "n_parts",
    "predicted_iou",
    "stability_score",
    "perimeter_crofton",
    "intensity_sum",
)


def find() -> dict:
    """The algorithm's version, the weights' digest, and the candidates as they are stored."""
    import torch

    from samfleet.config.schema import complete_config
    from samfleet.config.settings import settings_of
    from samfleet.detection.measurement import measure_found
    from samfleet.images.reading import read_image
    from samfleet.sam.generator import MaskGenerator
    from samfleet.sam.model import load_model
    from samfleet.sam.model_key import ALGORITHM_VERSION
    from samfleet.sam.weights import TINY_WEIGHTS

    torch.set_num_threads(1)
    settings = settings_of(complete_config({"images": "demo"}))
    read = read_image(IMAGE, settings.image, settings.display)
    generator = MaskGenerator(
        load_model("tiny", TINY_WEIGHTS, "cpu"),
        points_per_side=12,
        pred_iou_thresh=0.5,
        stability_score_thresh=0.5,
        min_mask_region_area=20,
    )
    found = generator.find(read.rgb)
    only_largest_part = settings.fluorescence.largest_part
    (image, candidates), _ = measure_found(read.pixels, read.is_color, found, only_largest_part)
    return {
        "algorithm_version": ALGORITHM_VERSION,
        "weights": hashlib.sha256(TINY_WEIGHTS.read_bytes()).hexdigest(),
        "height": image["height"],
        "width": image["width"],
        "background": image["background"],
        "candidates": [{name: getattr(row, name) for name in _KEPT} for row in candidates],
    }


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(find(), indent=1) + "\n")
