"""What many tests are made of: configurations, images' files, masks and stores by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from samfleet.brightness import Brightness
from samfleet.config.schema import complete_config, schema
from samfleet.config.settings import Settings, settings_of
from samfleet.detection.row import CandidateRow, ImageRow, image_rows
from samfleet.plan.record import Plan, PlannedShard
from samfleet.plan.shards import ShardImage, read_shard
from samfleet.results import done_file, shard_file, store_folder
from samfleet.sam.masks.bitmask import BitMask
from samfleet.sam.masks.packed import PackedMask, Tiling
from samfleet.sam.masks.records import FoundMasks, SurvivingMask
from samfleet.statuses import Status
from samfleet.store.ledger import detections
from samfleet.store.segments import SegmentWriter

PLAN = "20260101-000000-abcdef"


def make_config(images: str | Path = "demo", **sections) -> dict:
    """A completed configuration; a section's keys are given as a dict."""
    return complete_config({"images": str(images), **sections})


def make_settings(images: str | Path = "demo", **sections) -> Settings:
    """The settings of such a configuration."""
    return settings_of(make_config(images, **sections))


def schema_leaves(part: dict | None = None, prefix: str = "") -> dict[str, dict]:
    """Every key of the configuration that holds a value, as "sam.model", with its schema."""
    found = {}
    for name, subschema in (part or schema())["properties"].items():
        inner = "properties" in subschema
        found |= (
            schema_leaves(subschema, f"{prefix}{name}.") if inner else {prefix + name: subschema}
        )
    return found


def setting(key: str, value: object) -> dict:
    """A configuration, not completed, that sets one key such as "sam.model"."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return {"images": "x"} | value


def write_files(root: Path, contents: dict[str, bytes]) -> Path:
    """Files with these contents by relative path; the folder that they are in."""
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def weights_stub(width: int = 1280, note: str = "") -> bytes:
    """A safetensors file with the one entry that tells which model it is for (vit_h: 1280), and no number."""
    entry = {"dtype": "F32", "shape": [0, 64, 64, width], "data_offsets": [0, 0]}
    header = {"__metadata__": {"note": note}, "image_encoder.pos_embed": entry}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def disc(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    """A boolean mask of the pixels whose centres lie in a disc."""
    rows, columns = np.mgrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def rle_counts(mask: np.ndarray) -> str:
    """The `counts` of a mask's COCO run-length encoding, by the reference implementation."""
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


def surviving_mask(
    mask: np.ndarray, predicted_iou: float = 0.9, stability: float = 0.95
) -> SurvivingMask:
    """A mask of a whole image, (height, width) bool, as it comes to measurement."""
    height, width = mask.shape
    return SurvivingMask(
        pixels=BitMask.of(mask, (0, 0)),
        rle=rle_counts(mask),
        bbox=[0, 0, width - 1, height - 1],
        predicted_iou=predicted_iou,
        stability=stability,
        point=[1.5, 2.5],
        crop_box=[0, 0, width, height],
    )


def found_masks(
    *masks: np.ndarray,
    size: tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    min_mask_region_area: int = 0,
) -> FoundMasks:
    """Masks of whole images as the generator finds them, from the better to the worse.

    Args:
        masks: (height, width) bool each.
        size: (height, width), needed if there are no masks.
        crop: x0 y0 x1 y1 that all were found in; the whole image if it is not given.
        min_mask_region_area: islands and holes of fewer pixels are to be removed.
    """
    height, width = size or masks[0].shape
    x0, y0, x1, y1 = crop or (0, 0, width, height)
    tiling = _tiling(y1 - y0, x1 - x0)
    count = len(masks)
    pixels = [np.nonzero(mask if mask.any() else ~mask)[::-1] for mask in masks]
    boxes = [[*map(np.min, xy), *map(np.max, xy)] for xy in pixels]
    return FoundMasks(
        size=(height, width),
        boxes=np.array(boxes, np.int64).reshape(-1, 4),
        predicted_iou=np.array([0.9 - 0.01 * i for i in range(count)], np.float32),
        stability=np.full(count, 0.95, np.float32),
        points=np.tile([1.5, 2.5], (count, 1)),
        crops=np.tile([x0, y0, x1, y1], (count, 1)),
        masks=[packed_mask(mask[y0:y1, x0:x1], tiling) for mask in masks],
        min_mask_region_area=min_mask_region_area,
        nms_thresh=0.7,
    )


def _cut(length: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixels and lengths of cells of four pixels."""
    start = np.arange(0, length, 4, np.int32)
    return start, np.minimum(4, length - start).astype(np.int32)


def _tiling(height: int, width: int) -> Tiling:
    return Tiling(*zip(_cut(height), _cut(width), strict=True))


def packed_mask(mask: np.ndarray, tiling: Tiling | None = None) -> PackedMask:
    """A (height, width) bool mask of a crop as the generator packs it, in cells of four pixels."""
    tiling = tiling or _tiling(*mask.shape)
    rows, columns = (len(start) for start in tiling.start)
    height, width = (int(count.max()) for count in tiling.count)
    cells = np.zeros((rows * height, columns * width), bool)
    cells[: mask.shape[0], : mask.shape[1]] = mask
    cells = cells.reshape(rows, height, columns, width).swapaxes(1, 2)
    whole = cells.sum((2, 3)) == tiling.count[0][:, None] * tiling.count[1]
    row, column = np.nonzero(cells.any((2, 3)) & ~whole)
    return PackedMask(
        tiling=tiling,
        first=(0, 0),
        shape=whole.shape,
        whole=np.packbits(whole),
        row=row.astype(np.int16),
        column=column.astype(np.int16),
        pixels=np.packbits(cells[row, column].reshape(-1, height * width), axis=1),
    )


def stored_candidate(number: int, **columns) -> CandidateRow:
    """A candidate that passes the default filters of an 8-bit image with one channel."""
    area = columns.get("area", 2000)
    mean = columns.get("intensity_mean", [100.0] * 3)
    present = {
        "candidate": number,
        "bbox_x": number,
        "bbox_y": 2 * number,
        "bbox_width": 50,
        "bbox_height": 40,
        "area": area,
        "n_parts": 1,
        "rle": first_pixels(min(area, 300 * 400), 300, 400),
        "predicted_iou": 0.9,
        "stability_score": 0.95,
        "point_x": number + 20.0,
        "point_y": 2 * number + 15.0,
        "crop_x": 0,
        "crop_y": 0,
        "crop_width": 400,
        "crop_height": 300,
        "centroid_x": number + 25.0,
        "centroid_y": 2 * number + 20.0,
        "perimeter_crofton": 160.0,
        "circularity": 0.98,
        "solidity": 0.99,
        "major_axis_length": 56.0,
        "minor_axis_length": 45.0,
        "eccentricity": 0.6,
        "orientation": 0.5,
        "feret_diameter_max": 57.0,
        "extent": 0.8,
        "overlapping": [],
        "shared_pixels": [],
        "valid_pixels": [area] * len(mean),
        "intensity_sum": [value * area for value in mean],
        "intensity_mean": mean,
        "intensity_max": [value + 50 for value in mean],
        "intensity_std": [3.0] * len(mean),
    }
    return CandidateRow(**present | columns)


def stored_rows(image_id: str, candidates: list[CandidateRow] | int = 1, **image) -> list[dict]:
    """The store's rows of a detected 8-bit image, or with a `status` of one that failed.

    Masks are made to fit an image of another size, whose first pixels they cover.
    """
    if isinstance(candidates, int):
        candidates = [stored_candidate(number) for number in range(candidates)]
    columns = {"image_id": image_id, "plan": PLAN}
    if image.get("status", Status.OK) == Status.OK:
        columns |= {"width": 400, "height": 300, "dtype": "uint8", "is_color": False, "plane": ""}
        columns |= {"background": [10.0] * 3, "image_maximum": [200.0] * 3}
        planes = len((columns | image)["background"])
        columns |= {"focus": [400.0] * planes, "image_std": [40.0] * planes}
        columns |= {"n_saturated": [0] * planes, "n_zero": [0] * planes, "channels": []}
        columns |= {"warning": "", "n_invalid_pixels": 0}
        # as if all pixels had the maximum
        maximum = np.array((columns | image)["image_maximum"][:1], float)
        columns["pixels_above"] = [400 * 300 for _ in Brightness.of(maximum).above]
    else:
        candidates = []
    row = ImageRow(**columns | image)
    if {"width", "height"} & image.keys():
        candidates = [
            replace(each, rle=first_pixels(each.area, row.height, row.width)) for each in candidates
        ]
    return list(image_rows(row, candidates))


def first_pixels(area: int, height: int, width: int) -> str:
    """The mask of an image's first pixels, by columns, as the store holds it."""
    counts = [0, area, height * width - area]
    rle = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return rle["counts"].decode()


def write_segment(folder: Path, name: str, *images: list[dict], flush_every: int = 0) -> None:
    """A segment of these images; with `flush_every` one that was flushed on the way."""
    writer = SegmentWriter(folder, name)
    for number, rows in enumerate(images, start=1):
        writer.add(rows)
        if flush_every and number % flush_every == 0:
            writer.flush()
    writer.finish()


def job_ledgers(results: Path) -> list[dict]:
    """The rows of the ledger as text, also of jobs that did not end."""
    return [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in detections(results).to_pylist()
    ]


def shard_images(results: Path, plan: Plan) -> list[ShardImage]:
    """What a plan's shards ask for, in order."""
    return [
        image
        for shard in plan.shards
        for image in read_shard(shard_file(results, plan.id, shard.name))
    ]


def carry_out(
    results: Path, plan: Plan, outcomes: dict[str, dict] | None = None, done: bool = True
) -> None:
    """Do the work of a plan's jobs: store a result for every image that its shards ask for.

    Args:
        outcomes: by path the columns of a result that is not simply detected.
        done: whether the shards' records are written, too.
    """
    rows = [
        stored_rows(image.image_id, **{"plan": plan.id, **(outcomes or {}).get(image.path, {})})
        for image in shard_images(results, plan)
    ]
    write_segment(store_folder(results, plan.model_key), plan.id, *rows)
    for shard in plan.shards if done else ():
        done_file(results, plan.id, shard.name).write_text("{}\n")


def plan_of(*shards: PlannedShard, images: int, **fields) -> Plan:
    """A plan of some shards for so many images, all of them pending."""
    plan = Plan(
        id="P",
        stamp=1,
        source="images",
        files="",
        manifest="",
        descriptions="",
        selection="",
        model_key="K",
        content="",
        max_pixels=1,
        images=images,
        pending=images,
        shards=shards,
    )
    return replace(plan, **fields)
