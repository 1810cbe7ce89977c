"""The table of cases in Python; `test_browser.py` runs it in the page's scripts."""

import pytest

from samfleet.report.explorer import filter_specifications
from samfleet.summary.filtering import FILTERS
from tests.builders import make_settings
from tests.filter_cases import CASES, COLUMNS, in_python


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_summary_filters_as_the_table_says(case):
    assert in_python(case) == (case["kept"], case["dropped_by"])


def test_the_page_is_told_of_every_filter_and_has_the_column_that_it_looks_at():
    found = filter_specifications(make_settings(sam={"pred_iou_thresh": 0.6}).sam)
    assert tuple(each["key"] for each in found) == FILTERS
    for each in found:
        assert each["kind"] == "overlap" or each["column"] in COLUMNS
    kinds = {each["key"]: each["kind"] for each in found}
    assert (kinds["min_area"], kinds["max_area"], kinds["max_overlap"]) == ("min", "max", "overlap")
    assert kinds["exclude_edge"] == "exclude"
    limits = {each["key"]: (each["minimum"], each["maximum"], each["optional"]) for each in found}
    assert limits["min_contrast"] == (0, 255, True)
    assert limits["min_predicted_iou"] == (0.6, 1, True)  # lower ones are not stored
    assert limits["max_area"] == (1, None, False)
