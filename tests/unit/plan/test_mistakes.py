"""A mistake that holds for all jobs of a plan ends the attempts; anything else does not."""

import copy

import pytest

from samfleet.errors import PermanentError, UserError
from samfleet.plan.mistakes import Retries, noted_mistakes
from samfleet.plan.planning import make_plan
from samfleet.results import mistake_file
from tests.builders import make_settings, write_files


@pytest.fixture
def planned(tmp_path):
    """The results of a plan and its id."""
    write_files(tmp_path, {"images/a.tif": b"a"})
    results = tmp_path / "results"
    return results, make_plan(make_settings(tmp_path / "images"), results, "0" * 16, 1).id


def again(results) -> list[bool]:
    """Whether a job is started again after its first, second and third attempt."""
    retries = copy.copy(Retries(2, results))
    return [retries > attempt - 1 for attempt in (1, 2, 3)]


@pytest.mark.parametrize("error", [UserError("a device failed"), OSError(5, "Input/output error")])
def test_a_failure_that_may_pass_is_tried_three_times(planned, error):
    results, plan = planned
    assert again(results) == [True, True, False]
    with pytest.raises(type(error)), noted_mistakes(results, plan):
        raise error
    assert again(results) == [True, True, False]


def test_a_permanent_mistake_is_noted_and_ends_the_attempts_of_its_plan(planned):
    results, plan = planned
    with pytest.raises(PermanentError), noted_mistakes(results, "another"):
        raise PermanentError("of another plan")
    assert again(results) == [True, True, False]
    with pytest.raises(PermanentError), noted_mistakes(results, plan):
        raise PermanentError("the wrong model")
    assert again(results) == [False, False, False]
    assert mistake_file(results, plan).read_text() == "the wrong model\n"


def test_without_a_plan_nothing_is_noted(tmp_path):
    assert again(tmp_path) == [True, True, False]
    assert Retries(2) == 2
