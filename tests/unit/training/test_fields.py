"""Synthetic fields and the demo that is made of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.resources import DEMO_FOLDER
from tests.examples import examples
from training.fields import (
    MULTI_HUE_MAPS,
    Field,
    FieldSettings,
    draw_field,
    make_demo,
    multi_hue,
    random_settings,
    single_hue,
)

DEMO = DEMO_FOLDER


def _read(path: Path) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)


def _draw(seed: int = 0, **changes) -> Field:
    wanted = {"height": 128, "width": 160, "diameter": 24.0, "count": 12} | changes
    return draw_field(FieldSettings(**wanted), np.random.default_rng(seed))


def test_field_has_the_asked_size_and_number_of_nuclei():
    field = _draw()
    assert field.image.shape == field.labels.shape == (128, 160)
    assert field.image.dtype == np.float32 and field.labels.dtype == np.uint16
    assert np.unique(field.labels).tolist() == list(range(13))
    assert field.image.min() >= 0 and field.image.max() <= 1


def test_nuclei_have_about_the_asked_diameter():
    field = _draw(height=400, width=400, count=30, spread=0.0, clustering=0.0)
    areas = np.bincount(field.labels.ravel())[1:]
    assert np.median(np.sqrt(4 * areas / np.pi)) == pytest.approx(24, rel=0.15)


def test_nuclei_are_brighter_than_the_background():
    field = _draw(photons=1e5, dimmest=0.5, debris=0)
    assert field.image[field.labels > 0].mean() > 3 * field.image[field.labels == 0].mean()


def test_field_without_nuclei_is_dark():
    field = _draw(count=0, debris=0, dead_pixels=0)
    assert not field.labels.any()
    assert field.image.max() < 0.2


def test_fewer_photons_make_more_noise():
    def noise(photons: float) -> float:
        return float(
            _draw(count=0, debris=0, dead_pixels=0, gradient=0.0, photons=photons).image.std()
        )

    assert noise(30) > 3 * noise(3000)


def test_same_seed_same_field_other_seed_other_field():
    assert np.array_equal(_draw(5).image, _draw(5).image)
    assert not np.array_equal(_draw(5).labels, _draw(6).labels)


@examples(15)
@given(st.integers(0, 10_000), st.integers(24, 96), st.integers(24, 96))
def test_any_random_field_is_valid(seed, height, width):
    rng = np.random.default_rng(seed)
    field = draw_field(random_settings(rng, height, width), rng)
    assert np.isfinite(field.image).all()
    ids = np.unique(field.labels)
    assert ids.max() == len(ids[ids > 0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("height", 0),
        ("diameter", 1),
        ("photons", 0),
        ("count", -1),
        ("clustering", 1.5),
        ("dimmest", -0.1),
        ("gradient", 2),
    ],
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=name if name != "height" else "needs pixels"):
        FieldSettings(**({"height": 10, "width": 10} | {name: value}))


def test_single_hue_keeps_the_grey_value_in_its_brightest_channel():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = single_hue(grey, (1.0, 0.0, 0.5))
    assert np.array_equal(rgb.max(axis=2), grey)
    assert not rgb[..., 1].any()


def test_multi_hue_is_rgb():
    grey = np.array([[0, 255, 100]], np.uint8)
    # OpenCV's "hot" runs from black over red: red comes before blue.
    red, _, blue = multi_hue(grey, "hot")[0, 2]
    assert red > blue
    assert multi_hue(grey, "viridis").shape == (1, 3, 3)
    assert "jet" in MULTI_HUE_MAPS


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8)])
def test_look_up_tables_want_8_bit_grey(wrong):
    with pytest.raises(ValueError, match="2-D uint8"):
        single_hue(wrong, (1, 0, 0))
    with pytest.raises(ValueError, match="2-D uint8"):
        multi_hue(wrong, "hot")


@pytest.fixture(scope="module")
def made_demo(tmp_path_factory) -> tuple[Path, list[Path]]:
    """The folder of a demo that was made now, and its images."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, make_demo(folder)


@pytest.mark.slow
def test_demo_is_made_byte_for_byte(made_demo, tmp_path):
    first, second = made_demo[1], make_demo(tmp_path)
    assert len(first) == 24
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_committed_demo_is_what_the_command_makes(made_demo):
    folder, images = made_demo
    for made in images:
        name = made.relative_to(folder / "images")
        kept = DEMO / "images" / name
        if name.stem == "damaged":
            assert kept.is_file()
            continue
        a, b = _read(made).astype(float), _read(kept).astype(float)
        # Another processor may round a few pixels' photons differently.
        assert a.shape == b.shape and np.mean(np.abs(a - b) > 0.02 * b.max()) < 0.01, name
        labels = (DEMO / "labels" / name).with_suffix(".png")
        made_labels = (folder / "labels" / name).with_suffix(".png")
        assert np.mean(_read(labels) != _read(made_labels)) < 0.001, name


def test_demo_holds_what_it_promises():
    paths = sorted(p for p in (DEMO / "images").rglob("*") if p.is_file())
    assert len(paths) == 24
    assert sum(p.stat().st_size for p in DEMO.rglob("*") if p.is_file()) < 3_000_000
    counts = {}
    for path in paths:
        image = _read(path)
        if image is None or path.stem == "damaged":
            continue
        labels = _read((DEMO / "labels" / path.relative_to(DEMO / "images")).with_suffix(".png"))
        assert labels.dtype == np.uint16 and labels.shape == image.shape[:2]
        counts[path.relative_to(DEMO / "images").as_posix()] = int(labels.max())
        assert image.dtype == (np.uint16 if path.suffix == ".tif" else np.uint8)
    assert len(counts) == 23
    assert [name for name, n in counts.items() if n == 0] == ["dapi/empty.png"]
    assert {Path(name).suffix for name in counts} == {".png", ".jpg", ".tif"}
