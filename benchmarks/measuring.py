"""Measuring the masks of an image as they are, against decoding each one to a whole frame first.

Both sides go from what the generator found to the values that are stored, as a worker process does.
The former one makes records with run-length encodings, decodes each to a frame, looks for the
mask's window, measures every plane even where planes are the same, and takes overlaps from a table
of the IoU of every mask with every other.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import asdict

import cv2
import numpy as np
from pycocotools import mask as coco
from skimage.measure import perimeter_crofton

from benchmarks.common import interleave, report, use_one_thread
from samfleet.detection.measurement import LUMINANCE_WEIGHTS, measure_found
from samfleet.sam.masks.packed import PackedMask, Tiling
from samfleet.sam.masks.records import FoundMasks, make_records

CELLS = 256
"""A side of the generator's low-resolution masks, in cells."""

IMAGES = {"1024": (1024, 50), "2048": (2048, 300)}
"""Side in pixels and number of masks."""


def nuclei(side: int, count: int, min_area: int) -> FoundMasks:
    """Ragged discs of 12 to 40 pixels' radius in pairs, some joined, and all of the background.

    Args:
        side: of the image in pixels.
        count: number of masks.
        min_area: islands and holes of fewer pixels are to be removed.
    """
    random = np.random.default_rng(side)
    start = np.arange(0, side, side // CELLS, dtype=np.int32)
    cells = (start, start), (np.full_like(start, side // CELLS),) * 2
    tiling = Tiling(*cells)
    masks: list[PackedMask] = []
    boxes, background = [], np.ones((side, side), bool)
    centre = random.integers(0, side, 2)
    while len(masks) < count - 1:
        if len(masks) % 2 == 0:
            centre = random.integers(0, side, 2)
        places = centre + random.normal(0, 20, (random.choice([1, 1, 3]), 2))
        mask = np.zeros((side, side), np.uint8)
        for place in places.astype(int).tolist():
            axes = random.integers(12, 40, 2).tolist()
            cv2.ellipse(mask, place, axes, random.uniform(0, 180), 0, 360, 1, -1)
        if not mask.any():
            continue
        masks.append(_pack(_roughen(mask, random), tiling))
        background &= ~mask.view(bool)
        boxes.append(_box(mask))
    masks.append(_pack(background, tiling))
    boxes.append(_box(background))
    return FoundMasks(
        size=(side, side),
        boxes=np.array(boxes),
        predicted_iou=random.uniform(0.8, 1, count).astype(np.float32),
        stability=random.uniform(0.9, 1, count).astype(np.float32),
        points=random.uniform(0, side, (count, 2)),
        crops=np.tile([0, 0, side, side], (count, 1)),
        masks=masks,
        min_mask_region_area=min_area,
        nms_thresh=1.0,
    )


def _roughen(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A mask with noise along its outline: (height, width) bool."""
    x, y, width, height = cv2.boundingRect(mask)
    part = cv2.GaussianBlur(mask[y : y + height, x : x + width].astype(np.float32), (0, 0), 2)
    mask[y : y + height, x : x + width] = part + random.normal(0, 0.06, part.shape) > 0.5
    return mask.view(bool)


def _box(mask: np.ndarray) -> list[int]:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return [x, y, x + width - 1, y + height - 1]


def _pack(mask: np.ndarray, tiling: Tiling) -> PackedMask:
    """As the generator packs a mask: the cells of its box, whole or pixel by pixel."""
    side = int(tiling.count[0][0])
    x0, y0, x1, y1 = (end // side for end in _box(mask))
    part = mask[y0 * side : (y1 + 1) * side, x0 * side : (x1 + 1) * side]
    cells = part.reshape(y1 - y0 + 1, side, x1 - x0 + 1, side).swapaxes(1, 2)
    whole = cells.all((2, 3))
    row, column = np.nonzero(cells.any((2, 3)) & ~whole)
    return PackedMask(
        tiling=tiling,
        first=(y0, x0),
        shape=whole.shape,
        whole=np.packbits(whole),
        row=row.astype(np.int16),
        column=column.astype(np.int16),
        pixels=np.packbits(cells[row, column].reshape(-1, side * side), axis=1),
    )


def pixels_of(side: int, kind: str) -> np.ndarray:
    """Noise as a camera has it: (side, side, channels), of 12 bits in 16 or of three times 8."""
    random = np.random.default_rng(1)
    if kind == "colour":
        return random.integers(0, 256, (side, side, 3), np.uint8)
    return random.integers(0, 4096, (side, side, 1), np.uint16)


def measure_frames(pixels: np.ndarray, is_color: bool, found: FoundMasks) -> tuple[dict, list]:
    """The former way: columns of the image, and of every candidate."""
    records = make_records(found)
    height, width = pixels.shape[:2]
    covered = np.zeros((height, width), bool)
    candidates = []
    for number, record in enumerate(records):
        mask = coco.decode(record["segmentation"]).view(bool)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        cropped = mask[window]
        area = int(np.count_nonzero(cropped))
        if area < height * width / 2:
            covered[window] |= cropped
        values = np.stack([*_planes(pixels[window][cropped], is_color)])
        candidates.append(
            _sam_columns(number, record)
            | _shape_columns(cropped, area, window)
            | {
                "valid_pixels": [area] * len(values),
                "intensity_sum": values.sum(axis=1).tolist(),
                "intensity_mean": values.mean(axis=1).tolist(),
                "intensity_max": values.max(axis=1).tolist(),
                "intensity_std": values.std(axis=1).tolist(),
            }
        )
    for candidate, overlap in zip(candidates, _dense_overlaps(records, candidates), strict=True):
        candidate.update(overlap)
    planes = [*_planes(pixels, is_color)][: 1 if pixels.shape[2] == 1 else None]
    repeat = 3 if len(planes) == 1 else 1
    return {
        "width": width,
        "height": height,
        "n_invalid_pixels": 0,
        "background": [float(np.median(plane[~covered])) for plane in planes] * repeat,
        "image_maximum": [float(plane.max()) for plane in planes] * repeat,
    }, candidates


def _planes(pixels: np.ndarray, is_color: bool) -> Iterator[np.ndarray]:
    yield pixels.max(axis=-1).astype(np.float64)
    yield pixels @ np.array(LUMINANCE_WEIGHTS) if is_color else pixels.max(axis=-1).astype(float)
    for channel in range(pixels.shape[-1]):
        yield pixels[..., channel].astype(np.float64)


def _sam_columns(number: int, record: dict) -> dict:
    x, y, width, height = record["crop_box"]
    return {
        "candidate": number,
        "rle": record["segmentation"]["counts"],
        "predicted_iou": record["predicted_iou"],
        "stability_score": record["stability_score"],
        "point_x": record["point_coords"][0][0],
        "point_y": record["point_coords"][0][1],
        "crop_x": x,
        "crop_y": y,
        "crop_width": width,
        "crop_height": height,
    }


def _shape_columns(cropped: np.ndarray, area: int, window: tuple[slice, slice]) -> dict:
    rows, columns = window
    y, x = np.nonzero(cropped)
    length = float(perimeter_crofton(cropped, directions=4))
    left = np.full(y[-1] + 1, np.iinfo(np.int32).max, np.int32)
    right = np.full(y[-1] + 1, -1, np.int32)
    np.minimum.at(left, y, x.astype(np.int32))
    np.maximum.at(right, y, x.astype(np.int32))
    filled = np.flatnonzero(right >= 0).astype(np.int32)
    corners = [
        np.column_stack([column, row])
        for column in (left[filled], right[filled] + 1)
        for row in (filled, filled + 1)
    ]
    return {
        "area": area,
        "bbox_x": columns.start,
        "bbox_y": rows.start,
        "bbox_width": columns.stop - columns.start,
        "bbox_height": rows.stop - rows.start,
        "centroid_x": float(x.mean() + columns.start),
        "centroid_y": float(y.mean() + rows.start),
        "perimeter_crofton": length,
        "circularity": 4 * math.pi * area / length**2,
        "solidity": area / cv2.contourArea(cv2.convexHull(np.concatenate(corners).astype("i4"))),
    }


def _dense_overlaps(records: list[dict], candidates: list[dict]) -> list[dict]:
    encodings = [record["segmentation"] for record in records]
    areas = np.array([candidate["area"] for candidate in candidates], np.float64)
    iou = np.asarray(coco.iou(encodings, encodings, [0] * len(encodings)))
    shared = np.rint(iou * (areas[:, None] + areas[None]) / (1 + iou)).astype(np.int64)
    np.fill_diagonal(shared, 0)
    others = [np.flatnonzero(row) for row in shared]
    return [
        {"overlapping": other.tolist(), "shared_pixels": row[other].tolist()}
        for row, other in zip(shared, others, strict=True)
    ]


def compare(side: int, count: int, kind: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Both sides on one image."""
    found, pixels = nuclei(side, count, arguments.min_mask_region_area), pixels_of(side, kind)
    sides = {
        "records": lambda: make_records(found),
        "former": lambda: measure_frames(pixels, kind == "colour", found),
        "present": lambda: measure_found(pixels, kind == "colour", found, False)[0],
    }
    results = interleave(sides, arguments.repeats + 1)
    image, candidates = results["former"][1]
    our_image, our_candidates = results["present"][1]
    pairs = [(image, our_image)]
    pairs += zip(candidates, map(asdict, our_candidates), strict=True)
    return {
        "masks": len(candidates),
        "mean_area": float(np.mean([candidate["area"] for candidate in candidates])),
        "overlapping_pairs": sum(len(row.overlapping) for row in our_candidates) // 2,
        "milliseconds": {name: round(1000 * least, 1) for name, (least, _) in results.items()},
        "ratio": round(results["former"][0] / results["present"][0], 2),
        "values": sum(len(one) for one, _ in pairs),
        "differing_values": sum(
            name not in two or bool(one[name] != two[name]) for one, two in pairs for name in one
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--min-mask-region-area", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5, help="after a warm-up; the least counts")
    arguments = parser.parse_args()
    use_one_thread()
    report(
        claim="measuring masks",
        min_mask_region_area=arguments.min_mask_region_area,
        images={
            f"{name}² {kind}": compare(*size, kind, arguments)
            for name, size in IMAGES.items()
            for kind in ("16 bits", "colour")
        },
    )


if __name__ == "__main__":
    main()
