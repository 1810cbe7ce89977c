"""Draw the outlines of objects on images, to look at."""

import colorsys
import csv
import difflib
import fnmatch
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco

from samfleet.cells import read_csv, unguarded
from samfleet.config.settings import Settings
from samfleet.errors import UserError
from samfleet.exports.folder import ExportFolder
from samfleet.exports.names import export_names
from samfleet.files import escape_name, read_object, unescape_name
from samfleet.images.reading import THE_FILE, Failure, Wish, path_of, read_image
from samfleet.plan.collection import collection_root
from samfleet.plan.manifest import ManifestRow, read_manifest
from samfleet.planes import Plane
from samfleet.results import (
    manifest_file,
    objects_file,
    store_folder,
    store_settings_file,
    summary_file,
    summary_record_file,
    summary_tables,
)
from samfleet.sam.model_key import configured_model_key, differing_settings
from samfleet.sam.weights import CheckpointError
from samfleet.stamps import read_record
from samfleet.statuses import Status

logger = logging.getLogger(__name__)

_PLACE = ("image", "scene", "time", "slice")
_GOLDEN_ANGLE = 0.381966  # of a turn, so that consecutive numbers get very different hues


@dataclass
class Overlays:
    """What became of the images that overlays were asked for.

    Attributes:
        written: number of overlays written.
        removed: number of overlays removed, since the tables no longer have their images.
        without_result: images that are pending or failed, with the reason.
        outdated: images that are not what was detected, with the reason.
    """

    written: int = 0
    removed: int = 0
    without_result: dict[str, str] = field(default_factory=dict)
    outdated: dict[str, str] = field(default_factory=dict)


def draw_outlines(rgb: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    """A copy of an image with a coloured outline around each mask.

    Args:
        rgb: (height, width, 3) uint8.
        masks: (height, width) uint8 each, with values 0 and 1.
    """
    drawn = rgb.copy()
    for number, mask in enumerate(masks):
        hue = colorsys.hsv_to_rgb(number * _GOLDEN_ANGLE % 1, 0.75, 1)
        color = tuple(round(255 * part) for part in hue)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, color, 1)
    return drawn


def write_overlays(
    settings: Settings, results: Path, folder: Path, patterns: Iterable[str] = ()
) -> Overlays:
    """Write a PNG with outlines for each image that was detected, also where no object was found.

    An earlier overlay of an image that cannot be drawn any more is removed; and, unless there are patterns, those of
    images that the tables no longer have.

    Args:
        settings: the configuration.
        results: the folder of the results.
        folder: where the PNGs are written, under the names of `export_names`.
        patterns: images as the tables name them, or shell patterns of such names; all if there are none.

    Raises:
        UserError: the tables cannot be read or were made under other settings, a pattern fits no image, or the
            folder holds what samfleet did not write there. Nothing is written then.
    """
    _check_settings(settings, results)
    rows = _read_summary(results)
    names = export_names([_name(row) for row in rows], ".png")
    patterns = list(patterns)
    chosen = _matching({_name(row): row["image"] for row in rows}, patterns, summary_file(results))
    rows = [row for row in rows if _name(row) in chosen]
    objects = _objects(
        results, None if len(chosen) == len(names) else {row["image"] for row in rows}
    )
    planned = {
        (escape_name(row.path), *row.plane.cells): row
        for row in read_manifest(manifest_file(results))
    }
    export = ExportFolder(folder, "overlays")
    export.check(names[_name(row)] for row in rows)
    overlays = Overlays()
    for row in rows:
        image = _name(row)
        found = planned.get(_place(row))
        if row["status"] not in (Status.OK, Status.EMPTY):
            overlays.without_result[image] = f"{row['status']}: {row['reason']}"
        elif isinstance(drawn := _drawn(settings, row, objects.get(_place(row), ()), found), str):
            overlays.outdated[image] = drawn
        else:
            export.write(names[image], cv2.imencode(".png", drawn)[1].tobytes())
            overlays.written += 1
            continue
        export.remove(names[image])
    if not patterns:
        overlays.removed = export.keep_only(names.values())
    return overlays


def _place(row: dict[str, str]) -> tuple[str, str, str, str]:
    """Which image a row of the summary is."""
    return row["image"], row["scene"], row["time"], row["slice"]


def _name(row: dict[str, str]) -> str:
    """The path of an image's file and, if that holds several, which of them it is."""
    return row["image"] + Plane.of_cells(row["scene"], row["time"], row["slice"]).ending


def _check_settings(settings: Settings, results: Path) -> None:
    """Objects of other settings, found on another page perhaps, are not this configuration's.

    Raises:
        UserError: the tables were made under other settings, which it names.
    """
    record = read_record(summary_record_file(results), summary_tables(results))
    if record is None or not record.settings:
        logger.warning(
            "%s: nothing says under which settings these tables were made; unless you know, run the workflow again",
            results,
        )
        return
    known, wanted = record.settings["fluorescence"], asdict(settings.fluorescence)
    other = [f"fluorescence.{name}" for name in wanted if known.get(name) != wanted[name]]
    other += _other_model(settings, results, record.settings["model_key"])
    if other:
        raise UserError(
            f"{results}: the objects are those of another {' and '.join(sorted({*other}))}; run the workflow first, "
            "or set back what was changed"
        )


def _other_model(settings: Settings, results: Path, key: str) -> list[str]:
    """The settings that keep the results of this model key from being the configuration's."""
    explained = read_object(store_settings_file(store_folder(results, key)))
    other = differing_settings(settings, explained) if explained else []
    try:
        same = configured_model_key(settings, results) == key
    except CheckpointError:  # only detecting needs the weights
        same = not other
    keys = {
        entry.name: f"{section}.{entry.name}"
        for section in ("image", "fluorescence")
        for entry in fields(getattr(settings, section))
    }
    return [] if same else [keys.get(name, name) for name in other] or ["sam.checkpoint"]


def _read_summary(results: Path) -> list[dict[str, str]]:
    path = summary_file(results)
    try:
        rows = read_csv(path)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); run the workflow again") from error
    if any(not row.keys() >= {*_PLACE, "image_id", "status", "reason"} for row in rows[:1]):
        raise UserError(f"{path} is not a table that samfleet wrote; run the workflow again")
    return rows


def _objects(results: Path, images: set[str] | None) -> dict[tuple, list[str]]:
    """For each image, as `_place` names it, the `counts` of its objects' run-length encodings."""
    filters = None if images is None else [("image", "in", images)]
    path = objects_file(results)
    try:
        table = pq.read_table(path, columns=[*_PLACE, "rle"], filters=filters)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({error}); run the workflow again") from error
    objects: dict[tuple, list[str]] = {}
    cells = [
        ["" if value is None else str(value) for value in table[name].to_pylist()]
        for name in _PLACE
    ]
    for *place, rle in zip(*cells, table["rle"].to_pylist(), strict=True):
        objects.setdefault(tuple(place), []).append(rle)
    return objects


def _matching(images: dict[str, str], patterns: list[str], table: Path) -> set[str]:
    """The images that patterns mean, given for each the path of its file; all if there are no patterns."""
    known, chosen, unknown = set(images), set(), []
    for pattern in patterns:
        spellings = {pattern, unguarded(pattern), os.path.normpath(pattern)}
        of_files = {name for name, file in images.items() if file in spellings}
        if found := known & spellings or of_files or set(fnmatch.filter(images, pattern)):
            chosen |= found
        else:
            close = difflib.get_close_matches(pattern, images, 1)
            unknown.append(pattern + (f" (did you mean {close[0]}?)" if close else ""))
    if unknown:
        raise UserError(f"{table} has no image {', nor '.join(unknown)}")
    return chosen if patterns else known


def _drawn(
    settings: Settings, row: dict[str, str], objects: Iterable[str], planned: ManifestRow | None
) -> np.ndarray | str:
    """An image with outlines, (height, width, 3) uint8 with blue first; or why it cannot be drawn."""
    root = collection_root(settings.images)
    path = path_of(root, unescape_name(row["image"]))
    wish = THE_FILE
    if planned is not None:
        channels = tuple((name, path_of(root, file)) for name, file in planned.channels)
        wish = Wish(planned.plane, planned.image_id, planned.size, planned.mtime_ns, channels)
    # reading a pipe would never end
    if not wish.channels and not (os.path.isfile(path) or os.path.isdir(path)):
        return f"there is no file {path}"
    read = read_image(path, settings.image, settings.display, wish)
    if read.image_id and read.image_id != row["image_id"]:
        return "the file has changed since it was detected; run the workflow again"
    if isinstance(read, Failure):
        return read.reason
    size = list(read.rgb.shape[:2])
    if size != [int(row["height"]), int(row["width"])]:
        return f"it was detected with {row['width']} × {row['height']} pixels, and is read with {size[1]} × {size[0]}"
    masks = [coco.decode({"size": size, "counts": counts}) for counts in objects]
    return cv2.cvtColor(draw_outlines(read.rgb, masks), cv2.COLOR_RGB2BGR)
