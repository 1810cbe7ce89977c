"""How many prompts `sam.skip_background` leaves out, and whether objects are lost with them.

An object is lost if prompts of the grid lie on it and none of them is kept.
"""

import argparse
from pathlib import Path

import numpy as np
from segment_anything.utils.amg import build_point_grid

from benchmarks.common import read_rgb, report
from samfleet.evaluation.labels import LabelError, find_label_image, read_label_image
from samfleet.sam.generator.foreground import Foreground


def kept_prompts(rgb: np.ndarray, points_per_side: int, longest_side: int) -> np.ndarray:
    """Rows and columns of all prompts' pixels, and whether each is kept: (3, n) int."""
    height, width = rgb.shape[:2]
    grid = build_point_grid(points_per_side)
    kept = Foreground(rgb, longest_side).is_in_cells(grid, [0, 0, width, height])
    points = grid * [width, height]
    return np.array([points[:, 1], points[:, 0], kept]).astype(int)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("labels", type=Path, help="a folder of their label images")
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--longest-side", type=int, default=512, help="the model's input")
    arguments = parser.parse_args()
    images = {}
    for path in sorted(p for p in arguments.images.rglob("*") if p.is_file()):
        name = str(path.relative_to(arguments.images))
        try:
            label_image = find_label_image(name, arguments.labels)
        except LabelError:
            continue
        labels = read_label_image(label_image.path)
        y, x, kept = kept_prompts(read_rgb(path), arguments.points_per_side, arguments.longest_side)
        on = labels[y, x]
        prompted, still = (np.unique(found[found > 0]) for found in (on, on[kept == 1]))
        images[name] = {
            "left_out": round(1 - kept.mean(), 3),
            "prompted_objects": len(prompted),
            "lost_objects": len(prompted) - len(still),
        }
    if not images:
        parser.error(f"no image in {arguments.images} has a label image in {arguments.labels}")
    rows = list(images.values())
    report(
        claim="prompts on the background",
        points_per_side=arguments.points_per_side,
        left_out=round(float(np.mean([row["left_out"] for row in rows])), 3),
        prompted_objects=sum(row["prompted_objects"] for row in rows),
        lost_objects=sum(row["lost_objects"] for row in rows),
        images=images,
    )


if __name__ == "__main__":
    main()
