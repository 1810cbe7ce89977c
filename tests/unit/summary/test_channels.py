"""Columns of every channel, physical sizes, and what is said of pictures."""

import pyarrow as pa
import pytest

from samfleet.channels import Channels
from samfleet.summary.quality import out_of_focus, remarks
from tests.builders import stored_candidate, stored_rows
from tests.unit.summary.test_tables import Run


@pytest.mark.parametrize(
    ("names", "count", "is_color", "expected"),
    [
        (["DAPI", "GFP"], 2, False, ("DAPI", "GFP")),
        (None, 2, False, ("0", "1")),
        (["DAPI", ""], 2, False, ("DAPI", "1")),
        (["GFP", "GFP", "DAPI"], 3, False, ("GFP_0", "GFP_1", "DAPI")),
        (["1", ""], 2, False, ("1_0", "1_1")),
        (["GFP_1", "GFP", "GFP"], 3, False, ("GFP_1_0", "GFP_1_1", "GFP_2")),
        (["a", "a", "a_0_0", "a_0"], 4, False, ("a_0_0_0", "a_1", "a_0_0_2", "a_0_3")),
        ([], 3, True, ("red", "green", "blue")),
        ([""], 1, False, ()),
        (["DAPI"], 1, False, ("DAPI",)),
        ([" D\tAPI "], 1, False, ("D\\u0009API",)),
    ],
)
def test_channels_are_called_by_their_names_or_numbers(names, count, is_color, expected):
    assert Channels(tuple(names or ()), count, is_color).names == expected


def image(identity: str, values: list[float], **columns) -> list[dict]:
    """An image with an object of 2000 pixels whose channels have these means, over a background of 10."""
    mean = [max(values), max(values), *values]
    candidate = stored_candidate(0, intensity_mean=mean)
    planes = len(mean)
    lists = {"background": [10.0] * planes, "image_maximum": [200.0] * planes}
    return stored_rows(identity, [candidate], **lists, **columns)


def test_all_channels_are_measured_beside_the_chosen_one(tmp_path):
    run = Run(tmp_path, ("a.nd2", "A"), ("b.nd2", "B"), ("c.tif", "C"))
    run.segment("s", image("A", [100.0, 40.0], channels=["DAPI", "GFP"]))
    run.segment("t", image("B", [30.0, 60.0], channels=["GFP", "RFP"]), stored_rows("C"))
    run.summarize(channel=0, white=510)
    first, second, third = run.objects()
    assert (first["intensity_mean"], first["raw_intensity_mean"]) == (50, 100)
    assert (first["intensity_mean_DAPI"], first["intensity_mean_GFP"]) == (50, 20)
    assert (first["raw_integrated_intensity_GFP"], first["raw_ctcf_GFP"]) == (80_000, 60_000)
    assert (second["intensity_mean_GFP"], second["intensity_mean_RFP"]) == (15, 30)
    assert first["intensity_mean_RFP"] is second["intensity_mean_DAPI"] is None
    assert third["intensity_mean_GFP"] is None
    assert not any(name.endswith("_0") for name in third)


def test_the_channel_of_a_name_is_measured_wherever_it_stands_and_its_absence_is_said(
    tmp_path, caplog
):
    run = Run(tmp_path, ("a.nd2", "A"), ("b.nd2", "B"), ("c.nd2", "C"))
    run.segment("s", image("A", [100.0, 40.0], channels=["DAPI", "GFP"]))
    run.segment("t", image("B", [30.0, 60.0], channels=["GFP", "RFP"]))
    run.segment("u", image("C", [70.0, 60.0], channels=["DAPI", "RFP"]))
    run.summarize(channel="GFP", min_mean_intensity=0, white=255)
    assert [row["intensity_mean"] for row in run.objects()] == [40, 30]
    assert [row["status"] for row in run.rows()] == ["ok", "ok", "unsupported"]
    assert run.rows()[2]["reason"] == (
        "fluorescence.channel is GFP, but the channels are called DAPI, RFP"
    )


def test_the_order_of_the_columns_is_that_of_the_channels_whatever_the_order_of_segments(tmp_path):
    orders = []
    for names in ("st", "ts"):
        run = Run(tmp_path / names, ("a.nd2", "A"), ("b.nd2", "B"))
        run.segment(names[0], image("A", [1.0, 2.0], channels=["b", "a"]))
        run.segment(names[1], image("B", [1.0, 2.0], channels=["c", "b"]))
        run.summarize(min_mean_intensity=0)
        columns = list(run.objects()[0])
        orders.append([name for name in columns if name.startswith("intensity_mean_")])
    assert orders[0] == orders[1] == [f"intensity_mean_{name}" for name in "bca"]


def test_the_users_columns_are_carried_into_the_objects(tmp_path):
    run = Run(tmp_path, ("a.tif", "A"))
    run.images = tmp_path / "images.csv"
    run.images.write_text("image,well,intensity_mean_x\na.tif,A1,7\n")
    run.segment("s", image("A", [100.0, 40.0], channels=["x", "y"]))
    run.summarize()
    (found,) = run.objects()
    assert (found["well"], found["intensity_mean_x_of_table"]) == ("A1", "7")
    assert found["intensity_mean_x"] == 100
    assert run.rows()[0]["well"] == "A1"


def test_sizes_are_physical_where_the_side_of_a_pixel_is_known(tmp_path):
    run = Run(tmp_path, ("a.nd2", "A"), ("b.tif", "B"))
    run.segment("s", stored_rows("A", pixel_size_um=0.5, acquired="2024-05-06"), stored_rows("B"))
    run.summarize()
    first, second = run.objects()
    assert (first["area"], first["area_um2"], first["perimeter_um"]) == (2000, 500, 80)
    assert (first["major_axis_length_um"], first["feret_diameter_max_um"]) == (28, 28.5)
    assert second["pixel_size_um"] is second["area_um2"] is None
    known, unknown = run.rows()
    assert (known["pixel_size_um"], known["object_area_um2"], known["acquired"]) == ("0.5", "500", "2024-05-06")  # fmt: skip
    assert (unknown["pixel_size_um"], unknown["object_area_um2"]) == ("", "")


@pytest.mark.parametrize(
    ("saturated", "brightest", "deviation", "words"),
    [
        (0.0, 200, 30, ""),
        (0.012, 255, 30, "saturated: 1.2 % of the pixels"),
        (0.0005, 255, 30, ""),
        (0.0, 5, 1, "darker than the scale: its brightest pixel is at 5 of 255"),
        (0.0, 5, 0, "empty"),
        (1.0, 255, 0, "empty: all pixels have the same value; saturated"),
        (None, None, None, ""),
    ],
)
def test_what_one_picture_shows_is_said_in_words(saturated, brightest, deviation, words):
    said = "; ".join(remarks(saturated, brightest, deviation))
    assert said.startswith(words) and bool(said) == bool(words)


def test_a_picture_that_is_far_less_sharp_than_the_others_is_named(tmp_path, caplog):
    names = [f"{n}.tif" for n in range(6)]
    run = Run(tmp_path, *((name, name) for name in names))
    rows = [stored_rows(name, focus=[10.0 if name == "3.tif" else 400.0] * 3) for name in names]
    run.segment("s", *rows)
    run.summarize()
    warned = {row["image"]: row["warning"] for row in run.rows() if row["warning"]}
    assert list(warned) == ["3.tif"] and "out of focus" in warned["3.tif"]
    assert list(out_of_focus({"a": 1.0, "b": 0.01})) == []


def test_the_columns_of_channels_are_numbers(tmp_path):
    run = Run(tmp_path, ("a.nd2", "A"))
    run.segment("s", image("A", [100.0, 40.0], channels=["DAPI", ""]))
    run.summarize()
    import pyarrow.parquet as pq

    schema = pq.read_schema(run.results / "objects.parquet")
    assert schema.field("intensity_mean_DAPI").type == pa.float64()
    assert schema.field("raw_ctcf_1").type == pa.float64()
