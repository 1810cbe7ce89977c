"""Images with the tables of their detection, for what reads the tables."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

from samfleet.cells import guarded
from samfleet.digests import image_id
from samfleet.exports.job import Exported, export
from samfleet.files import escape_name, write_atomic
from samfleet.results import (
    OBJECT_COLUMNS,
    store_folder,
    store_settings_file,
    summary_record_file,
    summary_tables,
)
from samfleet.sam.model_key import configured_model_settings, model_key
from samfleet.stamps import write_record
from tests.builders import disc, make_settings, rle_counts

DISC = disc(60, 80, 20, 20, 10)


def object_row(mask: np.ndarray, label: int = 1, **columns: object) -> dict:
    """A row of objects.parquet for a (height, width) bool mask; what is not given of it is 0."""
    rows, xs = np.nonzero(mask)
    texts = dict.fromkeys((name for name, kind in OBJECT_COLUMNS.items() if kind == "string"), "")
    row = dict.fromkeys(OBJECT_COLUMNS, 0) | texts | {"scene": None, "time": None}
    row |= {"height": mask.shape[0], "width": mask.shape[1], "area": len(rows), "label": label}
    row |= {"bbox_x": xs.min(), "bbox_width": xs.max() - xs.min() + 1}
    row |= {"bbox_y": rows.min(), "bbox_height": rows.max() - rows.min() + 1}
    return row | {"rle": rle_counts(mask)} | columns


def write_objects(path: Path, rows: Sequence[dict], row_group_size: int | None = None) -> None:
    """Write objects.parquet; columns of channels are numbers, those of the user text, null where a row has none."""
    fields = [(name, pa.type_for_alias(kind)) for name, kind in OBJECT_COLUMNS.items()]
    values = {name: value for row in rows for name, value in row.items() if value is not None}
    fields += [
        (name, pa.string() if isinstance(value, str) else pa.float64())
        for name, value in values.items()
        if name not in OBJECT_COLUMNS
    ]
    schema = pa.schema(fields)
    arrays = [
        pa.array([row.get(name) for row in rows]).cast(kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    pq.write_table(pa.table(arrays, schema), path, row_group_size=row_group_size)


def _encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """A file of an image: a TIFF with tiles, or a PNG whatever the name says."""
    if suffix != ".tif":
        return cv2.imencode(".png", pixels)[1].tobytes()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, tile=(32, 48))
    return buffer.getvalue()


class Detected:
    """Images with the tables of their detection: one object in each that is `ok`, unless others are given."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.images: str | Path = folder / "images"
        self.results = folder / "results"
        self.rows: list[dict] = []
        self.objects: dict[str, list[dict]] = {}
        self.results.mkdir()

    def add(
        self,
        name: str,
        status: str = "ok",
        grey: int = 0,
        place: str | None = None,
        objects: Sequence[dict] | None = None,
        pixels: np.ndarray | None = None,
        **own: str,
    ) -> Path:
        """An image, black or grey unless its pixels are given, in `images/` or at `place`, and its row."""
        path = self.folder / "images" / (place or name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((60, 80), grey, np.uint8) if pixels is None else pixels
        content = _encoded(path.suffix, pixels)
        path.write_bytes(content)
        row = {"image": escape_name(name), "scene": "", "time": "", "slice": ""}
        row |= {"image_id": image_id(content), "status": status}
        row |= {"reason": f"why {status}", "width": pixels.shape[1], "height": pixels.shape[0]}
        self.rows.append(row | own)
        if status == "ok":
            self.objects[row["image"]] = [object_row(DISC)] if objects is None else list(objects)
        self.write()
        return path

    def write(self) -> None:
        """Write the tables of the rows and objects."""
        with (self.results / "summary.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.rows[-1])
            writer.writeheader()
            writer.writerows(r | {"image": guarded(r["image"])} for r in self.rows)
        rows = [
            found | {"image": row["image"], "image_id": row["image_id"]}
            for row in self.rows
            for found in self.objects.get(row["image"], ())
            if found["time"] is None or str(found["time"]) == row["time"]
        ]
        write_objects(self.results / "objects.parquet", rows)

    def summarized(self, **config) -> None:
        """Let the tables be those that a run under this configuration wrote."""
        settings = make_settings(self.images, **config)
        explained = configured_model_settings(settings, self.results)
        key = model_key(explained)
        store = store_folder(self.results, key)
        write_atomic(store_settings_file(store), json.dumps(explained))
        for table in summary_tables(self.results):
            table.touch()
        made_under = {"model_key": key, "fluorescence": asdict(settings.fluorescence)}
        tables = summary_tables(self.results)
        write_record(summary_record_file(self.results), "origin", 1, tables, made_under)

    def export(self, kind: str, *patterns: str, out: str = "out", **config) -> Exported:
        """Export the images that the patterns mean."""
        settings = make_settings(self.images, **config)
        return export(settings, self.results, kind, self.folder / out, patterns)

    def overlays(self, *patterns: str, **config) -> Exported:
        return self.export("overlays", *patterns, **config)

    def names(self) -> list[str]:
        """The files in the folder of overlays."""
        out = self.folder / "out"
        return [str(path.relative_to(out)) for path in sorted(out.rglob("*.png"))]

    def written(self) -> dict[str, bool]:
        """The overlays, and whether something is drawn on each."""
        out = self.folder / "out"
        paths = [path for path in sorted(out.rglob("*")) if path.suffix.lower() == ".png"]
        return {str(p.relative_to(out)): bool(cv2.imread(str(p)).any()) for p in paths}
