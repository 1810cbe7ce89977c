"""The tables, read again image by image."""

import pyarrow.parquet as pq
import pytest

from samfleet.errors import UserError
from samfleet.opened.tables import objects_of_images, table_images
from tests.detected import DISC, Detected, object_row, write_objects


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_every_image_has_its_objects_however_they_are_read(tmp_path, monkeypatch, batch):
    monkeypatch.setattr("samfleet.opened.tables._ROWS", batch)
    detected = Detected(tmp_path)
    counts = {"a.png": 3, "b.png": 0, "c.png": 1, "d.png": 4, "e.png": 0}
    for name, count in counts.items():
        objects = [object_row(DISC, number + 1) for number in range(count)]
        detected.add(name, "ok" if count else "empty", objects=objects)
    path = detected.results / "objects.parquet"
    write_objects(path, pq.read_table(path).to_pylist(), row_group_size=2)
    images = table_images(detected.results)
    for chosen in (images, images[::2], images[3:], images[1:2]):
        found = {
            image.name: objects.num_rows
            for image, objects in objects_of_images(detected.results, chosen, ["area"])
        }
        assert found == {image.name: counts[image.name] for image in chosen}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.325", 0.325),
        ("", None),
        ("0", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("x", None),
    ],
)
def test_the_size_of_a_pixel_is_a_number_above_0(tmp_path, text, size):
    detected = Detected(tmp_path)
    detected.add("a.png", pixel_size_um=text, well="A1")
    (image,) = table_images(detected.results)
    assert image.pixel_size == size
    assert image.own["well"] == "A1"


def test_a_table_without_a_column_is_named(tmp_path):
    detected = Detected(tmp_path)
    detected.add("a.png")
    with pytest.raises(
        UserError, match=r"objects\.parquet .* has no column size; run the workflow"
    ):
        list(objects_of_images(detected.results, table_images(detected.results), ["size"]))
