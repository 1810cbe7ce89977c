"""What is found: F1 over all objects of labelled images and its mean, with and without tiles, by a grid and by a decoder.

Images are read, shown, filtered and scored as the demo's configuration says, but with brightness not
limited. A mosaic of the images can stand for a stitched one.
"""

import argparse
import time
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import yaml
from pycocotools import mask as coco

from benchmarks.common import DEMO, report
from samfleet.config.schema import complete_config
from samfleet.config.settings import FluorescenceSettings, Settings, settings_of
from samfleet.detection.measurement import measure_found
from samfleet.detection.row import CandidateRow
from samfleet.evaluation.labels import LabelError, find_label_image, read_label_image
from samfleet.evaluation.matching import Counts, match_objects, score
from samfleet.images.reading import Failure, read_image
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.generator.loading import load_generator
from samfleet.sam.tiles import ENOUGH_DIAMETER, Tiles
from samfleet.summary.filtering import (
    FILTERS,
    Candidates,
    OverlappingPairs,
    first_failed,
    suppress_overlaps,
)


def demo_settings() -> Settings:
    """The demo's configuration, without a limit of brightness."""
    settings = settings_of(complete_config(yaml.safe_load(DEMO.read_text())))
    return replace(settings, fluorescence=replace(settings.fluorescence, min_mean_intensity=0.0))


def kept_objects(
    candidates: list[CandidateRow], fluorescence: FluorescenceSettings
) -> list[CandidateRow]:
    """The candidates that the summary's filters keep, also those at the edge of the image."""
    columns = Candidates(
        number=np.array([row.candidate for row in candidates]),
        predicted_iou=np.array([row.predicted_iou for row in candidates]),
        stability_score=np.array([row.stability_score for row in candidates]),
        area=np.array([row.area for row in candidates]),
        intensity_mean=np.array([row.intensity_mean[0] for row in candidates]),
        contrast=np.zeros(len(candidates)),
        circularity=np.array([row.circularity for row in candidates]),
        solidity=np.array([row.solidity for row in candidates]),
        touches_edge=np.zeros(len(candidates), bool),
    )
    passed = first_failed(columns, fluorescence) == FILTERS.index("max_overlap")
    pairs = [
        (row.candidate, other, shared)
        for row in candidates
        for other, shared in zip(row.overlapping, row.shared_pixels, strict=True)
    ]
    overlaps = OverlappingPairs(*np.array(pairs, np.int64).reshape(-1, 3).T)
    kept = suppress_overlaps(columns, passed, overlaps, fluorescence.max_overlap)
    return [candidates[number] for number in np.flatnonzero(kept)]


def find_objects(
    generator: MaskGenerator, rgb: np.ndarray, pixels: np.ndarray, settings: Settings
) -> tuple[list[dict], dict]:
    """The run-length encodings of the objects of an image, and what was done."""
    start = time.process_time()
    found = generator.find(rgb)
    seconds = time.process_time() - start
    is_color = pixels.shape[2] == 3
    (_, candidates), _ = measure_found(pixels, is_color, found, settings.fluorescence.largest_part)
    objects = kept_objects(candidates, settings.fluorescence)
    size = list(rgb.shape[:2])
    done = {"seconds": round(seconds, 2), "tiles": vars(found.tiles) if found.tiles else None}
    return [{"size": size, "counts": row.rle} for row in objects], done


def read_labelled(images: Path, labels: Path, settings: Settings) -> dict[str, tuple]:
    """For each image with a label image: what SAM sees, the pixels, and the labels."""
    found = {}
    for path in sorted(p for p in images.rglob("*") if p.is_file()):
        name = str(path.relative_to(images))
        try:
            label_image = find_label_image(name, labels)
        except LabelError:
            continue
        read = read_image(path, settings.image, settings.display)
        if isinstance(read, Failure):
            raise SystemExit(f"{path}: {read.reason}")
        found[name] = (read.rgb, read.pixels, read_label_image(label_image.path))
    return found


def mosaic(pictures: dict[str, tuple], side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images and labels set beside each other, row by row, as one of at least `side` pixels."""
    rgbs, truths, count = [], [], 0
    row: list[tuple[np.ndarray, np.ndarray]] = []
    height = 0
    names = sorted(pictures)
    place = 0
    while height < side:
        row, width = [], 0
        while width < side:
            rgb, _, labels = pictures[names[place % len(names)]]
            place += 1
            row.append((rgb, labels))
            width += rgb.shape[1]
        least = min(len(rgb) for rgb, _ in row)
        parts = []
        for _, labels in row:
            part = labels[:least].astype(np.int64)
            parts.append(np.where(part > 0, part + count, 0))
            count += int(part.max(initial=0))
        rgbs.append(np.concatenate([rgb[:least] for rgb, _ in row], axis=1)[:, :side])
        truths.append(np.concatenate(parts, axis=1)[:, :side])
        height += least
    rgb, truth = (np.ascontiguousarray(np.concatenate(part)[:side]) for part in (rgbs, truths))
    return rgb, rgb.max(axis=2, keepdims=True), truth


def matched_when_slid(
    generator: MaskGenerator, rgb: np.ndarray, slide: int, settings: Settings
) -> dict[str, float]:
    """How many objects are found again at IoU ≥ 0.8 when a part of an image is slid over it.

    Only objects count that lie within what both positions show.
    """
    side = min(rgb.shape[:2]) - slide
    inner = side - slide
    found = []
    for corner in (0, slide):
        part = np.ascontiguousarray(rgb[corner : corner + side, corner : corner + side])
        objects, _ = find_objects(generator, part, part.max(axis=2, keepdims=True), settings)
        begin = slide - corner
        window = (slice(begin + 1, begin + inner - 1),) * 2
        masks = [coco.decode(rle | {"counts": rle["counts"].encode()}) for rle in objects]
        found.append([m[window] for m in masks if m.any() and m[window].sum() == m.sum()])
    encoded = [[coco.encode(np.asfortranarray(mask)) for mask in masks] for masks in found]
    best = coco.iou(*encoded, [0] * len(encoded[1])).max(1) if all(encoded) else np.zeros(1)
    return {"objects": len(found[0]), "matched_80": round(float((best >= 0.8).mean()), 3)}


def ways_of(names: list[str], input_size: int) -> dict[str, Tiles | None]:
    """What to compare: `none`, `auto` or, with another diameter that is enough, `auto20`, a size in pixels, or a size and
    `w` for no whole image.
    """
    ways: dict[str, Tiles | None] = {}
    for name in names:
        if name == "none":
            ways[name] = None
        elif name.startswith("auto"):
            ways[name] = Tiles(input_size, enough=float(name[4:] or ENOUGH_DIAMETER["tiny"]))
        else:
            ways[name] = Tiles(int(name.rstrip("w")), whole_image=not name.endswith("w"))
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("labels", type=Path, help="a folder of their label images")
    parser.add_argument("--ways", nargs="+", default=["none", "512", "256", "auto"])
    parser.add_argument("--prompts", nargs="+", default=["decoder"], help="grid, decoder, or both")
    parser.add_argument(
        "--all-points", action="store_true", help="of the grid, also those on the background"
    )
    parser.add_argument("--mosaic", type=int, default=0, help="side of a mosaic in pixels")
    parser.add_argument("--slide", type=int, default=0, help="by how many pixels images are slid")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the images' names")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    settings = demo_settings()
    pictures = read_labelled(arguments.images, arguments.labels, settings)
    pictures = {n: p for n, p in pictures.items() if any(part in n for part in arguments.only)}
    if not pictures:
        parser.error(f"no image in {arguments.images} has a label image in {arguments.labels}")
    if arguments.mosaic:
        pictures = {"mosaic": mosaic(pictures, arguments.mosaic)}
    total: dict[str, dict] = {}
    rows: dict[str, dict] = {}
    for prompts in arguments.prompts:
        skips = settings.sam.skip_background and not arguments.all_points
        sam = replace(settings.sam, prompts=prompts, skip_background=skips)
        generator = load_generator(sam, "cpu", arguments.threads)
        for size, tiles in ways_of(arguments.ways, generator.sam.image_encoder.img_size).items():
            generator.tiles, way = tiles, f"{prompts}, {size}"
            pooled: list[Counts] = []
            for name, (rgb, pixels, labels) in pictures.items():
                objects, done = find_objects(generator, rgb, pixels, settings)
                counts = Counts.of(match_objects(labels, objects))
                pooled.append(counts)
                scores = score(counts)
                areas = np.bincount(labels.ravel())[1:]
                diameter = 2 * np.sqrt(np.median(areas[areas > 0]) / np.pi)
                row = rows.setdefault(name, {"size": rgb.shape[:2], "objects": counts.labelled})
                row["diameter"] = round(float(diameter), 1)
                row[way] = {"f1_50": round(scores["f1_50"], 3), **done}
                if arguments.slide:
                    row[way] |= matched_when_slid(generator, rgb, arguments.slide, settings)
            scores = score(reduce(Counts.__add__, pooled))
            names = ("precision_50", "recall_50", "f1_50", "f1_75", "average_precision")
            total[way] = {name: round(scores[name], 3) for name in names}
            each = [score(counts) for counts in pooled]
            for name in ("f1_50", "f1_75"):
                total[way][f"mean_{name}"] = round(float(np.nanmean([s[name] for s in each])), 3)
            total[way]["seconds"] = round(sum(row[way]["seconds"] for row in rows.values()), 1)
    report(claim="objects found with tiles", total=total, images=rows)


if __name__ == "__main__":
    main()
