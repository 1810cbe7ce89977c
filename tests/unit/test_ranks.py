"""Numbers at places of the order of many, in parts, as numpy finds them in one array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samfleet.ranks import RankCounter, middle_ranks, percentile_rank, values_at

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", ">u2", ">f4"]


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None)
@given(data=st.data())
def test_every_rank_is_the_number_of_the_sorted_array(dtype, data):
    values = data.draw(arrays(dtype, st.integers(1, 40)))
    cut = data.draw(st.integers(0, len(values)))
    known = np.sort(values[values == values])
    found = values_at(lambda: [values[:cut], values[cut:]], values.dtype, range)
    assert np.array_equal(np.array(found, known.dtype), known)


@settings(deadline=None)
@given(arrays("f4", st.integers(1, 200), elements=st.integers(0, 9)), st.floats(0, 100))
def test_percentiles_and_medians_are_numpys(values, percentile):
    (found,) = values_at(lambda: [values], values.dtype, lambda n: [percentile_rank(n, percentile)])
    assert found == np.percentile(values, percentile, method="inverted_cdf")
    middle = values_at(lambda: [values], values.dtype, middle_ranks)
    assert np.mean(middle) == np.median(values)


def test_memory_does_not_grow_with_the_numbers(monkeypatch):
    """More of them than are counted at once, each pass over all."""
    monkeypatch.setattr("samfleet.ranks._AT_ONCE", 10)
    values = np.random.default_rng(0).normal(size=(37, 11))
    passes = []

    def parts():
        passes.append(1)
        return iter(values)

    found = values_at(parts, values.dtype, lambda n: [0, n // 3, n - 1])
    assert found == np.sort(values.ravel())[[0, 37 * 11 // 3, -1]].tolist()
    assert len(passes) == 4


def test_without_numbers_there_are_none():
    assert values_at(lambda: [np.full(3, np.nan)], np.dtype("f4"), range) == []
    assert RankCounter("u2").count == 0
