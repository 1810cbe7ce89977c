"""The numbers of the report."""

import pyarrow as pa
import pytest

from samfleet.report.account import (
    devices,
    histograms,
    image_table,
    plates,
)
from samfleet.results import LEDGER_COLUMNS, SUMMARY_COLUMNS


def rows(*images: dict) -> list[dict[str, str]]:
    """Rows of the summary."""
    usual = dict.fromkeys(SUMMARY_COLUMNS, "") | {"status": "ok", "n_objects": "2"}
    usual |= {"object_area": "100", "integrated_intensity": "5000", "area_fraction": "0.5"}
    return [usual | image for image in images]


def test_a_histogram_counts_every_object_once():
    objects = pa.table(
        {
            "image": ["a"] * 4,
            "area": [1, 10, 100, 1000],
            **{name: [0.5] * 4 for name in ("intensity_mean", "circularity", "predicted_iou")},
            "stability_score": [0.1, None, 0.2, 0.3],
        }
    )
    found = {each["title"]: each for each in histograms(objects, rows({}, {"n_objects": "7"}))}
    assert sum(found["Area"]["counts"]) == 4
    assert (found["Area"]["edges"][0], found["Area"]["edges"][-1]) == (1, 1000)
    ratios = [
        b / a for a, b in zip(found["Area"]["edges"], found["Area"]["edges"][1:], strict=False)
    ]
    assert max(ratios) == pytest.approx(min(ratios))  # equal steps on a logarithmic axis
    assert sum(found["Circularity"]["counts"]) == 4  # although they are all equal
    assert sum(found["Stability score"]["counts"]) == 3
    assert found["Objects per image"]["median"] == 4.5


def test_a_device_is_idle_while_its_process_waits(tmp_path):
    lines = [",".join(LEDGER_COLUMNS)]
    for device, waiting, key in (
        ("gpu0", 1, "K"),
        ("gpu0", 3, "K"),
        ("gpu1", 0, "K"),
        ("gpu0", 99, "other"),
    ):
        values = dict.fromkeys(LEDGER_COLUMNS, "") | {
            **{"when": "2026-01-01T00:00:00.000+00:00", "model_key": key, "host": "node"},
            **{"device": device, "status": "ok" if waiting < 3 else "error"},
            **{"seconds_encoding": 4, "seconds_decoding": 3, "seconds_postprocessing": 1},
            **{"seconds_waiting": waiting, "seconds_reading": 50},
        }
        lines.append(",".join(str(values[name]) for name in LEDGER_COLUMNS))
    (tmp_path / "ledger.csv").write_text("\n".join(lines) + "\n")
    first, second = devices(tmp_path, "K")
    assert (first["device"], first["images"], first["failed"]) == ("gpu0", 2, 1)
    assert first["busy"] == 16
    assert first["idle"] == pytest.approx(4 / 20)
    assert first["rate"] == pytest.approx(2 / 20)
    assert second["idle"] == 0


def test_the_table_has_failures_then_warnings_first_and_says_how_many_there_are():
    images = [{"image": f"{n}.tif"} for n in range(6000)]
    images[5000] |= {"status": "error", "reason": "why"}
    images[5500] |= {"warning": "doubtful"}
    table = image_table(rows(*images))
    assert (len(table["rows"]), table["total"]) == (5000, 6000)
    assert [row[:3] for row in table["rows"][:3]] == [
        ["5000.tif", "error", "why"],
        ["5500.tif", "ok", "doubtful"],
        ["0.tif", "ok", ""],
    ]


def test_wells_are_a_column_of_the_user_with_a_plate_if_there_is_one():
    found = plates(
        rows(
            {"image": "a", "Well": "B02", "plate": "P1"},
            {
                "image": "b",
                "Well": "b2",
                "plate": "P1",
                "n_objects": "4",
                "object_area": "300",
                "integrated_intensity": "3000",
            },
            {"image": "c", "Well": "H12", "plate": "P2", "status": "error", "n_objects": ""},
            {"image": "d", "Well": "none", "plate": "P2"},
        )
    )
    assert [(plate["name"], plate["size"]) for plate in found] == [("P1", (2, 3)), ("P2", (8, 12))]
    (well,) = found[0]["wells"]
    assert (well["row"], well["column"], well["images"]) == (1, 1, 2)
    assert (well["objects"], well["per_image"]) == (6, 3)
    assert well["intensity"] == 8000 / 400
    (well,) = found[1]["wells"]
    assert (well["row"], well["column"], well["failed"], well["objects"]) == (7, 11, 1, None)


@pytest.mark.parametrize(
    ("names", "wells"),
    [
        (["run/x_A01_s1.tif", "run/x_A01_s2.tif", "run/x_B12.tif"], {(0, 0), (1, 11)}),
        (["r02c03f01.tif", "r16c24f01.tif"], set()),  # nothing sets the well apart
        (["r02c03-ch1.tif", "r16c24-ch1.tif"], {(1, 2), (15, 23)}),
        (["A1-scan.tif", "B2-scan.tif"], set()),  # one digit is too little to tell
        (["x_A01.tif", "x_A01.tif"], set()),  # one well is no plate
        (["x_A01.tif", "b.tif", "c.tif"], set()),
        (["image_2024A01.tif", "image_2024B02.tif"], set()),
        ([], set()),
    ],
)
def test_wells_are_read_from_names_that_nearly_all_have_one(names, wells):
    found = plates(rows(*({"image": name} for name in names)))
    assert {(well["row"], well["column"]) for plate in found for well in plate["wells"]} == wells


def test_wells_of_1536_are_read():
    (plate,) = plates(rows({"image": "a", "well": "AF48"}, {"image": "b", "well": "A1"}))
    assert plate["size"] == (32, 48)
    assert [(well["row"], well["column"]) for well in plate["wells"]] == [(0, 0), (31, 47)]
