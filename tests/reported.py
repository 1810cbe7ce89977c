"""Collections as a run leaves them: drawn images, a store with their candidates, and the tables."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samfleet.config.settings import Settings
from samfleet.detection.row import CandidateRow
from samfleet.digests import image_id
from samfleet.files import write_atomic
from samfleet.plan.planning import make_plan
from samfleet.report.job import write_report
from samfleet.results import report_file, store_folder, store_settings_file
from samfleet.sam.model_key import configured_model_settings, model_key
from samfleet.summary.job import summarize_plan
from tests.builders import (
    disc,
    make_settings,
    rle_counts,
    stored_candidate,
    stored_rows,
    write_segment,
)

HEIGHT, WIDTH = 96, 128
BACKGROUND = 10

Disc = tuple[float, float, float, int]
"""The centre (y, x) of a disc, its radius and its grey value."""


class Collection:
    """Grey images of discs in a folder, each disc a candidate with its true measurements.

    Attributes:
        folder: the working directory; images are in `images/`, or a table of the user lists them.
        images: the configuration's `images`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.results = folder / "results"
        self.images = folder / "images"
        self._rows: list[list[dict]] = []

    def add(
        self, name: str, *discs: Disc, scores: list[tuple[float, float]] | None = None, **image
    ):
        """Draw an image and store its result: candidates of these discs, or columns such as `status`."""
        pixels = np.full((HEIGHT, WIDTH), BACKGROUND, np.uint8)
        masks = [disc(HEIGHT, WIDTH, y, x, radius) for y, x, radius, _ in discs]
        for mask, (*_, grey) in zip(masks, discs, strict=True):
            pixels[mask] = grey
        pixels[0, 0] = len(self._rows)  # every image has its own content
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = cv2.imencode(".png", pixels)[1].tobytes()
        path.write_bytes(content)
        candidates = [
            candidate(number, masks, pixels, *(scores[number] if scores else (0.9, 0.95)))
            for number in range(len(masks))
        ]
        size = {} if "status" in image else {"width": WIDTH, "height": HEIGHT}
        background = {} if "status" in image else {"background": [float(BACKGROUND)] * 3}
        self._rows.append(stored_rows(image_id(content), [], **size, **background, **image))
        if "status" not in image:
            self._rows[-1] = _with_candidates(image_id(content), candidates, image)

    def settings(self, **sections: Any) -> Settings:
        """The settings of a configuration of these images, which keeps every disc unless it says otherwise."""
        fluorescence = {"min_area": 1, "min_mean_intensity": 0} | sections.pop("fluorescence", {})
        return make_settings(self.images, fluorescence=fluorescence, **sections)

    def summarize(self, **sections: Any) -> Settings:
        """Leave the plan, the store and the tables of a run, and return its settings."""
        settings = self.settings(**sections)
        explained = configured_model_settings(settings, self.results)
        key = model_key(explained)
        store = store_folder(self.results, key)
        write_segment(store, "segment", *self._rows)
        write_atomic(store_settings_file(store), json.dumps({"model": "tiny", **explained}))
        plan = make_plan(settings, self.results, key, 1)
        summarize_plan(settings, self.results, plan, partial=True)
        return settings

    def report(self, **sections: Any) -> str:
        """The text of the report of such a run."""
        write_report(self.summarize(**sections), self.results)
        return report_file(self.results).read_text(encoding="utf-8")


def _with_candidates(identity: str, candidates: list[CandidateRow], image: dict) -> list[dict]:
    rows = stored_rows(identity, candidates, background=[float(BACKGROUND)] * 3, **image)
    for row in rows:  # `stored_rows` would draw other masks for another size
        row |= {"width": WIDTH, "height": HEIGHT}
    return rows


def candidate(
    number: int, masks: list[np.ndarray], pixels: np.ndarray, predicted_iou: float, stability: float
) -> CandidateRow:
    """A candidate with what is true of its mask."""
    mask = masks[number]
    rows, columns = np.nonzero(mask)
    values = pixels[mask].astype(float)
    shared = {
        other: int((mask & each).sum())
        for other, each in enumerate(masks)
        if other != number and (mask & each).any()
    }
    return stored_candidate(
        number,
        area=len(values),
        rle=rle_counts(mask),
        bbox_x=int(columns.min()),
        bbox_y=int(rows.min()),
        bbox_width=int(np.ptp(columns)) + 1,
        bbox_height=int(np.ptp(rows)) + 1,
        centroid_x=float(columns.mean()),
        centroid_y=float(rows.mean()),
        predicted_iou=predicted_iou,
        stability_score=stability,
        overlapping=list(shared),
        shared_pixels=list(shared.values()),
        valid_pixels=[len(values)] * 3,
        intensity_mean=[float(values.mean())] * 3,
        intensity_sum=[float(values.sum())] * 3,
        intensity_max=[float(values.max())] * 3,
        intensity_std=[float(values.std())] * 3,
    )


def data_of(page: str) -> dict[str, Any]:
    """What the scripts of a report are given."""
    (text,) = re.findall(r'<script type="application/octet-stream" id="data">([^<]*)<', page)
    return json.loads(gzip.decompress(base64.b64decode(text)))
