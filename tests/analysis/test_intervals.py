import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from slasearch.analysis.intervals import holm, log_interval, p_of_zero, standard_error, t_interval

NUMBERS = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=2, max_size=12)


@given(values=NUMBERS, confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_t_interval_is_scipys(values: list[float], confidence: float) -> None:
    found = t_interval(values, confidence)
    error = stats.sem(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if error > 1e-6:
        low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=error)
        assert found.low == pytest.approx(low, rel=1e-6, abs=1e-6)
        assert found.high == pytest.approx(high, rel=1e-6, abs=1e-6)


def test_t_interval_covers_as_it_says_at_three_seeds() -> None:
    draws = np.random.default_rng(3).normal(5.0, 2.0, size=(2_000, 3))
    found = [t_interval(row) for row in draws]
    covered = np.mean([item.low <= 5.0 <= item.high for item in found])  # type: ignore[operator]
    assert 0.935 < covered < 0.965


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one, none = t_interval([0.8]), t_interval([math.nan, math.inf])
    assert (one.mean, one.low, one.high, one.n) == (0.8, None, None, 1)
    assert none.n == 0
    assert math.isnan(none.mean)
    assert (one.text(), none.text()) == ("0.800", "–")


def test_values_that_are_not_finite_are_left_out() -> None:
    assert t_interval([1.0, math.nan, 3.0]) == t_interval([1.0, 3.0])


def test_text_shows_sign_and_half_width() -> None:
    found = t_interval([-0.02, -0.03, -0.025])
    assert found.text(signed=True) == "−0.025 ± 0.012"


@given(values=st.lists(st.floats(1, 1e6), min_size=2, max_size=12))
def test_interval_of_sizes_is_that_of_their_logarithms(values: list[float]) -> None:
    found, logs = log_interval(values), t_interval(np.log(values))
    if found.low is None or found.high is None or logs.low is None:
        assert found.low is found.high is logs.low is None
        return
    assert 0 < found.low <= found.mean * (1 + 1e-9)
    assert found.mean == pytest.approx(stats.gmean(values))
    assert math.log(found.low) == pytest.approx(logs.low, abs=1e-9)
    assert found.mean / found.low == pytest.approx(found.high / found.mean)


def test_sizes_of_zero_or_of_one_run_have_no_interval() -> None:
    zero, one, none = log_interval([0.0, 400.0]), log_interval([400.0]), log_interval([math.nan])
    assert (zero.mean, zero.low, zero.n) == (0.0, None, 2)
    assert (one.text(), one.low) == ("400", None)
    assert none.text() == "–"
    assert log_interval([1000.0, 4000.0]).text().startswith("2,000 (")


@given(values=NUMBERS)
def test_p_and_error_are_scipys(values: list[float]) -> None:
    if np.std(values) > 1e-3:
        found = t_interval(values)
        assert p_of_zero(found) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-5, abs=1e-9)
        assert standard_error(found) == pytest.approx(stats.sem(values), rel=1e-6)


def test_neither_p_nor_error_without_spread_or_values() -> None:
    for values in ([], [0.5], [0.5, 0.5], [0.7 - 0.65, 0.75 - 0.7]):
        assert p_of_zero(t_interval(values)) is None
        assert standard_error(t_interval(values)) is None
    assert t_interval([0.5, 0.5]).text() == "0.500"


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([None]) == [None]
