"""The tables hold what they held under one version of them."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from samfleet.digests import image_id
from samfleet.plan.planning import make_plan
from samfleet.results import (
    TABLES_VERSION,
    filtering_file,
    objects_file,
    store_folder,
    summary_file,
)
from samfleet.summary.tables import write_summary
from tests.builders import make_settings, stored_candidate, stored_rows, write_files, write_segment

GOLDEN = Path(__file__).parents[2] / "data" / "golden_tables.json"
REASON = "raise TABLES_VERSION in samfleet/results.py and write tests/data/golden_tables.json anew"


def tables(folder: Path) -> dict:
    """Every table of a small run, as text and types."""
    images = write_files(folder / "images", {"a.tif": b"a", "b.tif": b"b", "c.tif": b"c"})
    results, settings = folder / "results", make_settings(images)
    plan = make_plan(settings, results, "0123456789abcdef", 1)
    covered = stored_candidate(1, overlapping=[0], shared_pixels=[1500])
    dark = stored_candidate(2, intensity_mean=[1.0] * 3)
    shared = {"overlapping": [1], "shared_pixels": [1500]}
    kept = stored_candidate(0, predicted_iou=0.97, **shared)
    rows = [
        stored_rows(image_id(b"a"), [kept, covered, dark]),
        stored_rows(image_id(b"b"), status="unreadable", reason="truncated"),
    ]
    store = store_folder(results, plan.model_key)
    write_segment(store, "segment", *rows)
    write_summary(settings, results, store)
    objects = pq.read_table(objects_file(results))
    return {
        "version": TABLES_VERSION,
        "summary": summary_file(results).read_text().splitlines(),
        "filtering": filtering_file(results).read_text().splitlines(),
        "object_types": {field.name: str(field.type) for field in objects.schema},
        "objects": json.loads(pd.DataFrame(objects.to_pylist()).to_json(orient="records")),
    }


def test_golden_tables_hold_their_version(tmp_path):
    assert tables(tmp_path) == json.loads(GOLDEN.read_text()), REASON


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        GOLDEN.write_text(json.dumps(tables(Path(temporary)), indent=1) + "\n")
