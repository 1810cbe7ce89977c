"""Names of exported files: one for each image, within the folder, whatever the images are called."""

import os
import random
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.exports.names import export_names
from samfleet.files import escape_name
from tests.examples import examples

DIGEST = r"-[0-9a-f]{12}"
WIDE = "\N{MICROSCOPE}"  # four bytes


@pytest.mark.parametrize(
    ("image", "path"),
    [
        ("a.png", "a.png"),
        ("well/A.PNG", "well/A.PNG"),
        ("a.tif", "a.tif.png"),
        ("scan.01", "scan.01.png"),
        ("scan01", "scan01.png"),
        ("ä 1.jpg", "ä 1.jpg.png"),
        ("../images/a.png", "images/a.png"),
        ("/data/p7/a.tif", "data/p7/a.tif.png"),
        ("x/../../a.png", "a.png"),
        ("./a.png", "a.png"),
    ],
)
def test_a_path_is_the_images_own_within_the_folder(image, path):
    assert export_names([image], ".png") == {image: path}


@pytest.mark.parametrize(
    ("image", "pattern"),
    [
        (f"{'x' * 251}.tif", rf"x+{DIGEST}\.png"),
        (f"{'x' * 251}.png", r"x+\.png"),
        (f"{'ü' * 125}.tif", rf"ü+{DIGEST}\.png"),
        (f"{WIDE * 63}.tif", rf"{WIDE}+{DIGEST}\.png"),
        (escape_name("caf\udce9.tif"), rf"caf_\.tif{DIGEST}\.png"),
        (escape_name("a\n\\b.png"), rf"a__b{DIGEST}\.png"),
        (escape_name("caf\udce9/a.png"), rf"caf_/a{DIGEST}\.png"),
        (".samfleet/a.png", rf"_samfleet/a{DIGEST}\.png"),
        ("/.a.png", rf"_a{DIGEST}\.png"),
    ],
)
def test_what_is_no_name_for_a_file_is_told_by_a_digest(image, pattern):
    (path,) = export_names([image], ".png").values()
    assert re.fullmatch(pattern, path)
    assert len(os.fsencode(path)) <= 255


@pytest.mark.parametrize(
    "images",
    [
        ["a.tif", "a.tif.png"],
        ["A.png", "a.png"],
        ["b/x.tif", "B/x.tif"],
        ["straße.png", "STRASSE.png"],
        [unicodedata.normalize(form, "ä.png") for form in ("NFC", "NFD")],
        ["../images/a.png", "images/a.png"],
        ["/a.png", "a.png"],
        ["a.tif", "a.tif.png/b.png"],
        [f"{'x' * 250}1.tif", f"{'x' * 250}2.tif"],
        [escape_name("\udce9.png"), escape_name("\udcea.png"), "_.png"],
        [escape_name("\udce9.png/a.png"), "_.png"],
    ],
)
def test_names_that_would_meet_get_names_of_their_own(images):
    names = export_names(images, ".png")
    paths = list(names.values())
    keys = {unicodedata.normalize("NFC", path.casefold()) for path in paths}
    assert len(keys) == len(images)
    assert not any(other.startswith(f"{path}/") for path in paths for other in paths)
    assert names == export_names(images[::-1], ".png")


def test_equal_stems_are_told_apart_without_a_digest():
    names = export_names(["scan.01", "scan.02", "a.png", "a.tif"], ".png")
    assert list(names.values()) == ["scan.01.png", "scan.02.png", "a.png", "a.tif.png"]


def test_an_image_that_is_called_as_anothers_file_would_be_does_not_take_its_place():
    first = export_names(["a.tif", "A.tif"], ".png")["a.tif"]
    names = export_names(["a.tif", "A.tif", first], ".png")
    assert names["a.tif"] == first
    assert len({path.casefold() for path in names.values()}) == 3


PARTS = st.text(st.sampled_from("aAb.\\/\udce9\nß-é_"), min_size=1, max_size=7)


@examples(300)
@given(st.sets(PARTS, max_size=8))
def test_every_image_has_a_place_of_its_own_within_the_folder(names):
    images = sorted(
        {escape_name(os.path.normpath(name)) for name in names} - {".", "..", "/", "//"}
    )
    images = [image for image in images if not set(image.split("/")) <= {"", ".."}]
    paths = export_names(images, ".png")
    assert list(paths) == images
    for path in paths.values():
        assert path.lower().endswith(".png") and not path.lower().endswith(".png.png")
        assert escape_name(path) == path
        assert not any(part in ("", ".", "..") or part.startswith(".") for part in path.split("/"))
    shuffled = random.Random(0).sample(images, len(images))
    assert export_names(shuffled, ".png") == paths
    assert len({path.casefold() for path in paths.values()}) == len(images)
