"""Which images the report shows and counts: bounded, varied, and the same every time."""

import random

import pytest

from samfleet.report.selection import choose_pictures, choose_sample


def row(name: str, **columns) -> dict[str, str]:
    """A row of the summary, with an id of its own."""
    present = {
        **{"image": name, "image_id": f"id of {name}", "status": "ok", "reason": "", "warning": ""},
        **{"n_candidates": "10", "n_objects": "5", "intensity_mean": "100"},
        **{"area_fraction": "0.1", "background": "10"},
    }
    return present | {key: str(value) for key, value in columns.items()}


def failed(name: str, status: str) -> dict[str, str]:
    empty = dict.fromkeys(("n_candidates", "n_objects", "intensity_mean", "area_fraction"), "")
    return row(name, status=status, background="", reason="why", **empty)


def test_all_images_are_shown_where_there_is_room():
    rows = [row(f"{n}.tif", n_objects=n) for n in range(30)]
    shown = choose_pictures(rows)
    assert list(shown) == list(range(30))
    assert "most objects" in shown[29]
    assert "fewest objects" in shown[0]
    assert shown[15] == ["ordinary"]


def test_extremes_failures_and_warnings_are_shown_of_many_images():
    rows = [row(f"{n}.tif", n_objects=50, intensity_mean=100 + n % 7) for n in range(5000)]
    rows[1234] |= {"n_objects": "900"}
    rows[2345] |= {"intensity_mean": "2"}
    rows[3456] |= {"warning": "doubtful"}
    rows[4000] |= {"status": "empty", "n_objects": "0"}
    rows += [failed(f"bad {n}", "unreadable") for n in range(500)] + [failed("odd", "too_large")]
    shown = choose_pictures(rows)
    assert len(shown) == 200
    assert shown[1234][0] == "most objects"
    assert shown[2345][0] == "dimmest objects"
    assert shown[3456][0] == "warning"
    assert shown[4000][0] == "empty"
    assert shown[5500] == ["failed"]  # the only one of its status
    assert sum(words == ["failed"] for words in shown.values()) == 24
    assert sum("ordinary" in words for words in shown.values()) > 100


def test_the_choice_is_the_same_in_any_order_and_is_spread_over_the_collection():
    rows = [row(f"{n:04}.tif") for n in range(1000)]
    names = {rows[index]["image"] for index in choose_pictures(rows)}
    shuffled = random.Random(1).sample(rows, len(rows))
    assert {shuffled[index]["image"] for index in choose_pictures(shuffled)} == names
    thirds = [sum(int(name[:4]) // 334 == third for name in names) for third in range(3)]
    assert min(thirds) > 40


def test_copies_of_an_image_are_shown_once():
    rows = [row("a.tif"), row("b.tif") | {"image_id": "id of a.tif"}, row("c.tif")]
    assert list(choose_pictures(rows)) == [0, 2]


def test_images_of_very_many_candidates_leave_room_for_others():
    rows = [row(f"{n}.tif", n_candidates=20_000) for n in range(5)]
    rows += [row(f"small {n}.tif", n_candidates=10) for n in range(5)]
    shown = choose_pictures(rows)
    assert sum(int(rows[index]["n_candidates"]) for index in shown) <= 30_000
    assert {5, 6, 7, 8, 9} <= set(shown)


def test_up_to_the_limit_every_candidate_is_counted_also_of_copies():
    rows = [row(f"{n}.tif", n_candidates=500) for n in range(100)]
    rows += [row("copy.tif", n_candidates=500) | {"image_id": "id of 0.tif"}, failed("b", "error")]
    sample = choose_sample(rows)
    assert sample.exact
    assert (sample.candidates, sample.total) == (50_500, 50_500)
    assert sample.files["id of 0.tif"] == 2
    assert len(sample.files) == 100


def test_above_the_limit_complete_images_are_sampled():
    rows = [row(f"{n}.tif", n_candidates=100) for n in range(2000)]
    sample = choose_sample(rows)
    assert not sample.exact
    assert (sample.candidates, sample.total) == (50_000, 200_000)
    assert len(sample.files) == 500
    assert choose_sample(reversed(rows)) == sample


@pytest.mark.parametrize("candidates", ["", "0"])
def test_images_without_candidates_count_nothing(candidates):
    sample = choose_sample([row("a.tif", n_candidates=candidates, status="empty")])
    assert (sample.candidates, sample.total, sample.exact) == (0, 0, True)
