"""Filters: which candidates are objects, at their boundaries, and greedy overlap."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.config.settings import FluorescenceSettings
from samfleet.summary.filtering import (
    FILTERS,
    Candidates,
    OverlappingPairs,
    first_failed,
    suppress_overlaps,
)
from tests.builders import make_settings

SETTINGS = replace(
    make_settings().fluorescence,
    min_predicted_iou=0.8,
    min_stability_score=0.85,
    min_area=100,
    max_area=200,
    min_mean_intensity=8.1,
    min_contrast=5.0,
    min_circularity=0.6,
    min_solidity=0.7,
    exclude_edge=True,
    max_overlap=0.5,
)
PASSING = {
    "predicted_iou": 0.8,
    "stability_score": 0.85,
    "area": 150,
    "intensity_mean": 8.1,
    "contrast": 5.0,
    "circularity": 0.6,
    "solidity": 0.7,
    "touches_edge": False,
}


def candidates(*rows: dict) -> Candidates:
    rows = [PASSING | {"number": number} | row for number, row in enumerate(rows)]
    names = ("number", *PASSING)
    return Candidates(**{name: np.array([row[name] for row in rows]) for name in names})


def dropped_by(settings: FluorescenceSettings = SETTINGS, **columns) -> str:
    (index,) = first_failed(candidates(columns), settings)
    return FILTERS[index]


PASSED = "max_overlap"
"""What `first_failed` says of a candidate that only an overlap can still drop."""


def below(value: float) -> float:
    return np.nextafter(value, -np.inf)


@pytest.mark.parametrize(
    ("column", "value", "outcome"),
    [
        ("predicted_iou", 0.8, PASSED),
        ("predicted_iou", below(0.8), "min_predicted_iou"),
        ("stability_score", 0.85, PASSED),
        ("stability_score", below(0.85), "min_stability_score"),
        ("area", 100, PASSED),
        ("area", 99, "min_area"),
        ("area", 200, PASSED),
        ("area", 201, "max_area"),
        ("intensity_mean", 8.1, PASSED),
        ("intensity_mean", below(8.1), "min_mean_intensity"),
        ("intensity_mean", np.nan, "min_mean_intensity"),
        ("contrast", 5.0, PASSED),
        ("contrast", below(5.0), "min_contrast"),
        ("contrast", np.nan, "min_contrast"),
        ("circularity", 0.6, PASSED),
        ("circularity", below(0.6), "min_circularity"),
        ("circularity", np.nan, "min_circularity"),
        ("solidity", 0.7, PASSED),
        ("solidity", below(0.7), "min_solidity"),
        ("touches_edge", True, "exclude_edge"),
    ],
)
def test_a_filter_keeps_what_is_at_its_boundary_and_drops_what_is_beyond(column, value, outcome):
    assert dropped_by(**{column: value}) == outcome


def test_a_candidate_is_counted_under_the_first_filter_that_drops_it():
    wrong = {"predicted_iou": 0.1, "stability_score": 0.1, "area": 1, "intensity_mean": 0.0}
    wrong |= {"contrast": 0.0, "circularity": 0.0, "solidity": 0.0, "touches_edge": True}
    order = []
    for column, right in PASSING.items():
        order.append(dropped_by(**wrong))
        wrong[column] = right
    assert order == [
        *("min_predicted_iou", "min_stability_score", "min_area", "min_mean_intensity"),
        *("min_contrast", "min_circularity", "min_solidity", "exclude_edge"),
    ]


def test_filters_that_are_not_set_drop_nothing():
    settings = make_settings().fluorescence
    for score in (0.0, -0.1, np.nan):  # SAM's own thresholds let them pass where they are 0
        unset = {"predicted_iou": score, "stability_score": score, "contrast": score - 9}
        unset |= {"circularity": score, "solidity": score, "touches_edge": True}
        assert dropped_by(settings, area=2000, **unset) == PASSED


def test_a_score_that_is_no_number_reaches_no_minimum():
    assert dropped_by(stability_score=np.nan) == "min_stability_score"
    assert dropped_by(replace(SETTINGS, min_stability_score=0.0), stability_score=np.nan) != PASSED


def suppress(max_overlap: float, shared: dict[tuple[int, int], int], *rows: dict) -> list[int]:
    """Numbers that stay; `shared` has the pixels of each pair of rows."""
    given_candidates = candidates(*rows)
    passed = np.array([not row.get("dropped") for row in rows], bool)
    both = [(i, j, n) for pair, n in shared.items() for i, j in (pair, pair[::-1])]
    columns = np.array(both, np.int64).reshape(-1, 3).T
    kept = suppress_overlaps(given_candidates, passed, OverlappingPairs(*columns), max_overlap)
    return given_candidates.number[kept].tolist()


def test_of_two_that_share_more_than_allowed_the_better_stays():
    low, high = {"predicted_iou": 0.8}, {"predicted_iou": 0.9}
    assert suppress(0.5, {(0, 1): 76}, low, high) == [1]
    assert suppress(0.5, {(0, 1): 75}, low, high) == [0, 1]


def test_the_allowed_part_is_that_of_the_smaller_one():
    large, small = {"area": 1000, "predicted_iou": 0.9}, {"area": 100}
    assert suppress(0.5, {(0, 1): 51}, large, small) == [0]
    assert suppress(0.5, {(0, 1): 50}, large, small) == [0, 1]
    small["predicted_iou"], large["predicted_iou"] = 0.9, 0.8
    assert suppress(0.5, {(0, 1): 51}, large, small) == [1]


def test_better_is_predicted_iou_then_stability_then_the_lower_number():
    assert suppress(0, {(0, 1): 9}, {"stability_score": 0.9}, {"predicted_iou": 0.9}) == [1]
    assert suppress(0, {(0, 1): 9}, {}, {"stability_score": 0.9}) == [1]
    assert suppress(0, {(0, 1): 9}, {}, {}) == [0]
    assert suppress(0, {(0, 1): 9}, {"number": 5}, {"number": 3}) == [3]


def test_only_those_that_stay_suppress_others():
    rows = [{"predicted_iou": value} for value in (0.9, 0.85, 0.8)]
    assert suppress(0.5, {(0, 1): 100, (1, 2): 100}, *rows) == [0, 2]


def test_candidates_that_another_filter_dropped_suppress_nobody():
    better = {"predicted_iou": 0.9, "dropped": True}
    assert suppress(0, {(0, 1): 100}, better, {}) == [1]


def test_overlaps_of_one_and_zero():
    assert suppress(1, {(0, 1): 150}, {}, {}) == [0, 1]
    assert suppress(0, {(0, 1): 1}, {}, {}) == [0]
    assert suppress(0, {}) == []


SCORES = st.sampled_from([0.8, 0.9])


@given(
    st.lists(st.tuples(SCORES, SCORES, st.frozensets(st.integers(0, 15), min_size=1)), max_size=8),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
def test_no_two_objects_overlap_too_much_and_nothing_is_dropped_without_a_better_one(
    masks, max_overlap
):
    rows = [{"predicted_iou": p, "stability_score": s, "area": len(m)} for p, s, m in masks]
    pixels = [mask for _, _, mask in masks]
    shared = {
        (i, j): len(pixels[i] & pixels[j])
        for i, j in itertools.combinations(range(len(masks)), 2)
        if pixels[i] & pixels[j]
    }
    kept = suppress(max_overlap, shared, *rows)

    def conflict(i: int, j: int) -> bool:
        smaller = min(len(pixels[i]), len(pixels[j]))
        return len(pixels[i] & pixels[j]) > max_overlap * smaller

    def better(i: int, j: int) -> bool:
        return (-masks[i][0], -masks[i][1], i) < (-masks[j][0], -masks[j][1], j)

    assert not any(conflict(i, j) for i, j in itertools.combinations(kept, 2))
    for number in set(range(len(masks))) - set(kept):
        assert any(conflict(number, other) and better(other, number) for other in kept)
