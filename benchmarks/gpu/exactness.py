"""Records of every precision against the library's: tiny on the demo's images, with crops and without.

Passes if no field of `exact` differs; prints how many masks of the others match.
"""

from __future__ import annotations

from collections import Counter

from segment_anything import SamAutomaticMaskGenerator

from benchmarks.common import demo_parameters, differing_fields, matched, read_rgb
from benchmarks.gpu.common import parse_device, precisions_on
from samfleet.resources import DEMO_FOLDER
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.model import load_model

# One cannot be read, and on one without masks the library fails as soon as there are crops.
LEFT_OUT = {"damaged", "empty"}


def main() -> None:
    device = parse_device(__doc__)
    sam = load_model("tiny", device=device)
    paths = [p for p in sorted((DEMO_FOLDER / "images").rglob("*.*")) if p.stem not in LEFT_OUT]
    paths = paths[::2] if device.type == "cuda" else paths[3:4]
    parameters = demo_parameters() | {"crop_n_points_downscale_factor": 2}
    if device.type == "cpu":
        parameters["points_per_side"] = 8
    total: Counter[str] = Counter()
    for number, path in enumerate(paths):
        rgb = read_rgb(path)
        for layers in (0, 1) if number % 3 == 0 and device.type == "cuda" else (0,):
            chosen = parameters | {"crop_n_layers": layers}
            theirs = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **chosen).generate(rgb)
            total["records"] += len(theirs)
            line = f"{path.name} {rgb.shape[:2]} crop layers {layers}: {len(theirs)} masks"
            for name in precisions_on(device):
                ours = MaskGenerator(sam, name, **chosen | {"points_per_batch": None}).generate(rgb)
                differing = differing_fields(ours, theirs)
                total[f"{name} differing fields"] += differing
                for iou in (0.99, 0.9):
                    total[f"{name} matched at {iou}"] += round(
                        matched(ours, theirs, iou) * len(theirs)
                    )
                line += f" | {name} {len(ours)}, {differing} fields differ"
            print(line, flush=True)
    for name, count in total.items():
        share = f" ({count / total['records']:.2%})" if "matched" in name else ""
        print(f"{name}: {count}{share}")
    failed = total["exact differing fields"]
    print(f"EXACTNESS: {'FAIL' if failed else 'PASS'}: {failed} fields of exact differ")


if __name__ == "__main__":
    main()
