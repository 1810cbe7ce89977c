"""One COCO file of all images: instance segmentation, as pycocotools and what is built on it read it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from samfleet.exports.source import Source, Whole
from samfleet.opened.masks import MASK_COLUMNS, measurements_of
from samfleet.opened.tables import PLACE

_BOX = ("bbox_x", "bbox_y", "bbox_width", "bbox_height")


def _write(path: Path, sources: Iterable[Source], measurements: Sequence[str]) -> None:
    """Write image by image: the annotations first, so that only the images are kept."""
    images: list[dict[str, Any]] = []
    with path.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        number = 0
        for source in sources:
            image = source.image
            size = {"width": image.width, "height": image.height}
            plane = {name: cell for name, cell in zip(PLACE[1:], image.cells, strict=True) if cell}
            images.append({"id": len(images) + 1, "file_name": image.file, **plane, **size})
            for row in source.objects:
                number += 1
                file.write(",\n" if number > 1 else "\n")
                annotation = {
                    "id": number,
                    "image_id": len(images),
                    "category_id": 1,
                    "segmentation": {"size": [image.height, image.width], "counts": row["rle"]},
                    "area": row["area"],
                    "bbox": [row[name] for name in _BOX],
                    "iscrowd": 0,
                    "score": row["predicted_iou"],
                    "label": row["label"],
                    "attributes": measurements_of(row, measurements),
                }
                json.dump(annotation, file, ensure_ascii=False)
        file.write('\n], "images": ')
        json.dump(images, file, ensure_ascii=False)
        category = {"id": 1, "name": "object", "supercategory": "object"}
        file.write(f', "categories": {json.dumps([category])}}}\n')


COCO = Whole("coco", MASK_COLUMNS, "objects.json", _write)
"""One JSON file; masks are run-length encodings, pixel by pixel those of the tables."""
