"""GeoJSON for each image, as QuPath imports it: detections with their class and measurements."""

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.exports.source import Kind, Row, Source
from samfleet.opened.masks import (
    MASK_COLUMNS,
    measurements_of,
    region_of,
)
from samfleet.opened.outlines import Ring, polygons_of

_CLASS = {"name": "Object", "color": [0, 200, 120]}
_NAMESPACE = uuid.UUID("5b0e7c5e-6c2f-4b6a-9e57-0d7a35d0a4b1")  # of the ids of objects


def _write(path: Path, source: Source) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, row in enumerate(source.objects):
            file.write(",\n" if number else "\n")
            json.dump(_feature(source, row), file)
        file.write("\n]}\n")


def _feature(source: Source, row: Row) -> dict[str, Any]:
    measured = measurements_of(row, source.measurements)
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{source.image.image_id} {row['label']}")),
        "geometry": geometry_of(row),
        "properties": {
            "objectType": "detection",
            "name": str(row["label"]),
            "classification": _CLASS,
            # a measurement is a number in QuPath
            "measurements": {name: float(value) for name, value in measured.items()},
        },
    }


def geometry_of(row: Row) -> dict[str, Any]:
    """The outline of an object along the edges of its pixels, in pixels from the image's top left corner."""
    polygons = [[_closed(ring) for ring in rings] for rings in polygons_of(region_of(row))]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(ring: Ring) -> list[list[int]]:
    """A ring whose last corner is the first one again."""
    return np.concatenate([ring, ring[:1]]).tolist()


GEOJSON = Kind("geojson", MASK_COLUMNS, {".geojson": _write}, measured=True)
"""GeoJSON with an object of QuPath for each object."""
