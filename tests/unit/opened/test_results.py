"""Results in Python."""

import json
from dataclasses import asdict

import numpy as np
import pytest

import samfleet
from samfleet.errors import UserError
from samfleet.files import write_atomic
from samfleet.results import run_file
from tests.builders import disc, make_settings
from tests.detected import DISC, Detected, object_row


@pytest.fixture
def detected(tmp_path) -> Detected:
    detected = Detected(tmp_path)
    pixels = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
    objects = [object_row(DISC, 1), object_row(disc(60, 80, 40, 60, 7), 2)]
    detected.add("=a.png", objects=objects, pixels=pixels, dose="1,5")
    detected.add("b.png", "empty", dose="x")
    settings = make_settings("images")  # relative to where the run was started
    write_atomic(run_file(detected.results), json.dumps({"configuration": asdict(settings)}))
    return detected


def test_images_objects_masks_and_pixels_of_an_object(detected, monkeypatch):
    monkeypatch.chdir("/")
    results = samfleet.open_results(detected.results)
    cell = results.objects.iloc[1]
    mask, pixels = results.mask(cell), results.pixels(cell)
    assert results.images["image"].tolist() == ["=a.png", "b.png"]
    assert results.images["dose"].tolist() == ["1,5", "x"]
    assert results.images["width"].tolist() == [80, 80]
    assert mask.sum() == cell.area and mask.shape == (cell.bbox_height, cell.bbox_width)
    assert pixels.shape == (*mask.shape, 1)
    full = np.arange(60 * 80).reshape(60, 80)
    assert sorted(pixels[mask, 0]) == full[disc(60, 80, 40, 60, 7)].tolist()
    assert results.image_pixels(results.images.iloc[1]).shape == (60, 80, 1)


def test_the_label_image_of_an_image(detected):
    results = samfleet.open_results(detected.results)
    labels = results.labels(results.images.iloc[0])
    np.testing.assert_array_equal(labels == 1, DISC)
    np.testing.assert_array_equal(labels == 2, disc(60, 80, 40, 60, 7))
    assert not results.labels(results.images.iloc[1]).any()


def test_images_that_moved_are_named(detected):
    (detected.folder / "images").rename(detected.folder / "moved")
    results = samfleet.open_results(detected.results)
    with pytest.raises(UserError, match=r"^=a\.png: there is no file"):
        results.pixels(results.objects.iloc[0])
    results = samfleet.open_results(detected.results, images=detected.folder / "moved")
    assert results.pixels(results.objects.iloc[0]).any()


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(UserError, match="there are no tables"):
        samfleet.open_results(tmp_path)
    with pytest.raises(UserError, match="none: no such folder"):
        samfleet.open_results(tmp_path / "none")


@pytest.mark.parametrize("content", ["", '{"configuration": {"images": "x", "colour": 1}}'])
def test_results_of_another_version_have_tables_but_no_pixels(detected, content):
    run_file(detected.results).write_text(content)
    results = samfleet.open_results(detected.results)
    assert results.mask(results.objects.iloc[0]).any()
    with pytest.raises(UserError, match=r"run\.json says nothing of a configuration"):
        results.pixels(results.objects.iloc[0])
