"""Which images of a file are wanted, and how they are identified."""

import pytest

from samfleet.digests import digest_of
from samfleet.planes import (  # fmt: skip
    ONLY,
    Companion,
    Description,
    Plane,
    Scene,
    Selection,
    image_id_of_plane,
    select,
)


def chosen(*scenes: Scene, **selection) -> list[tuple]:
    found = select(Description(scenes), Selection(**selection)).planes
    return [(plane.scene, plane.time, plane.slice, problem) for plane, problem in found]


STACK = Scene(times=2, slices=3)


def test_by_default_scenes_and_times_are_images_and_slices_are_projected():
    assert chosen(Scene()) == [(None, None, "", "")]
    assert chosen(STACK) == [(None, 0, "max", ""), (None, 1, "max", "")]
    assert chosen(Scene(), Scene(times=2)) == [(0, 0, "", ""), (1, 0, "", ""), (1, 1, "", "")]


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ("all", ["0", "1", "2"]),
        (1, ["1"]),
        ((2, 0), ["0", "2"]),
        ("mean", ["mean"]),
        ((1, 9), ["1"]),
    ],
)
def test_slices_may_be_chosen(slices, expected):
    assert [cells[2] for cells in chosen(STACK, times=0, slices=slices)] == expected


def test_scenes_may_be_chosen_by_name_and_number():
    scenes = [Scene("A1"), Scene("A2"), Scene("B1"), Scene("C1")]
    assert [cells[0] for cells in chosen(*scenes, scenes=("A2", 2))] == [1, 2]
    assert [cells[0] for cells in chosen(*scenes, scenes="B1")] == [2]


def test_all_scenes_of_a_name_are_chosen():
    scenes = [Scene("A1"), Scene("A2"), Scene("A1"), Scene("")]
    assert [cells[0] for cells in chosen(*scenes, scenes="A1")] == [0, 2]


@pytest.mark.parametrize(
    ("cell", "names", "number"),
    [
        ("01", ["01", "02", "03"], 0),
        ("1", ["01", "02", "03"], 1),
        ("02", ["A1", "A2", "A3"], 2),
        ("0", ["1", "0", "2"], 0),
        ("00", ["01", "00"], 1),
    ],
)
def test_digits_with_zeros_before_them_are_a_scenes_name_if_one_has_it(cell, names, number):
    selection = Selection().narrowed(cell, "", "")
    found = select(Description(tuple(map(Scene, names))), selection)
    assert [plane.scene for plane, _ in found.planes] == [number]


@pytest.mark.parametrize("selection", [{"times": 2}, {"slices": (3,)}, {"scenes": "B1"}])
def test_why_a_selection_finds_nothing_in_a_file_is_said(selection):
    found = select(Description((STACK,)), Selection(**selection))
    (name,) = selection
    assert found.planes == [] and f"correct image.{name}, or {name[:-1]} in" in found.missing
    assert found.missing.startswith("unsupported: it has ")
    assert select(Description((STACK,)), Selection()).missing == ""


def test_a_scene_that_cannot_be_read_has_its_own_row_and_costs_no_other():
    scenes = Scene("a"), Scene("b", problem="unreadable: it has no plane"), Scene("c", times=2)
    assert chosen(*scenes) == [
        (0, 0, "", ""),
        (1, None, "", "unreadable: it has no plane"),
        (2, 0, "", ""),
        (2, 1, "", ""),
    ]


@pytest.mark.parametrize(
    ("selection", "left_out", "projected"),
    [({}, 0, 6), ({"slices": "all"}, 0, 0), ({"slices": 0}, 4, 0), ({"times": 0}, 3, 3)],
)
def test_planes_that_are_left_out_or_only_projected_are_counted(selection, left_out, projected):
    found = select(Description((STACK,)), Selection(**selection))
    assert (found.left_out, found.projected) == (left_out, projected)


def test_of_a_set_of_files_each_gives_the_images_that_are_its_own():
    companions = (Companion("b.tif", 1, 2),)
    own = frozenset({(0, 0, 0), (0, 0, -1), (0, 1, 2)})
    description = Description((STACK,), companions, own)
    assert [p.cells for p, _ in select(description, Selection()).planes] == [("0", "0", "max")]
    all_slices = select(description, Selection(slices="all")).planes
    assert [p.cells for p, _ in all_slices] == [("0", "0", "0"), ("0", "1", "2")]
    of_others = Description((STACK,), companions, frozenset())
    found = select(of_others, Selection())
    assert (found.planes, found.missing) == ([], "")
    assert "it has 2 times" in select(of_others, Selection(times=7)).missing  # nor has another file


def test_a_table_narrows_the_selection():
    narrowed = Selection().narrowed("B1", "3", "sharpest")
    assert narrowed == Selection("B1", 3, "sharpest")
    assert Selection(slices=2).narrowed("", "", "") == Selection(slices=2)


def test_the_one_image_of_a_file_has_its_digest_and_others_ids_of_their_own():
    assert image_id_of_plane("ab", ONLY) == "ab"
    planes = [
        Plane(0),
        Plane(None, 0),
        Plane(None, None, "0"),
        Plane(None, None, "max"),
        Plane(0, 0),
    ]
    identities = {image_id_of_plane("ab", plane) for plane in planes}
    assert len(identities | {"ab", image_id_of_plane("cd", Plane(0))}) == 7
    assert image_id_of_plane("ab", Plane(1, 2, "max")) == digest_of(["ab", 1, 2, "max"])


@pytest.mark.parametrize("plane", [ONLY, Plane(0), Plane(None, 3), Plane(1, 2, "max")])
def test_a_plane_is_read_from_the_cells_that_it_is_written_as(plane):
    assert Plane.of_cells(*plane.cells) == plane


def test_a_description_is_read_as_it_was_written():
    scene = Scene("A\t1", 2, 3, ("DAPI", ""), 4, 5, "uint16", False, 0.25, "2024-01-01T00:00:00", 2)
    companions, own = (Companion("b", 1, 2),), frozenset({(0, 0, -1)})
    for description in (Description((scene, Scene())), Description((scene,), companions, own)):
        text = description.to_json()
        assert "\t" not in text and "\n" not in text
        assert Description.of_json(text) == description


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"scenes":[3]}', '{"scenes":[{"x":1}]}'])
def test_a_damaged_description_is_refused(text):
    with pytest.raises(ValueError):
        Description.of_json(text)
