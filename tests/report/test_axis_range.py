import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slasearch.report.figures._base import axis_range, thinned, tint

NUMBERS = st.lists(st.floats(-100, 100, allow_nan=False, allow_subnormal=False), min_size=1, max_size=20)


@given(values=NUMBERS, ends=NUMBERS)
def test_axis_holds_every_value_and_is_not_taken_over_by_intervals(values: list[float], ends: list[float]) -> None:
    found = axis_range(values, ends)
    assert found.low < min(values) <= max(values) < found.high
    spread = (max(values) - min(values)) or abs(max(values)) * 0.1 or 1.0
    assert found.high - found.low <= 2.3 * spread
    assert found.cut == (min(ends) < found.low or max(ends) > found.high)
    assert bool(found.note) == found.cut


def test_short_intervals_are_shown_whole() -> None:
    found = axis_range([0.8, 0.9], [0.78, None, 0.93])
    assert found.low < 0.78 < 0.93 < found.high
    assert not found.cut


def test_an_interval_of_next_to_no_length_leaves_room() -> None:
    for end in (0.0, 5e-324, 1e-300):
        found = axis_range([0.0], [end])
        assert found.low < 0.0 <= end < found.high


def test_values_that_are_missing_do_not_matter() -> None:
    assert axis_range([0.8, math.nan, 0.9]) == axis_range([0.8, 0.9])
    assert axis_range([]).low < 0 < axis_range([]).high


def test_thinning_keeps_what_it_must() -> None:

    keep = np.zeros(10_000, dtype=bool)
    keep[[3, 7_777]] = True
    shown = thinned(keep, 1_000)
    assert shown[[3, 7_777]].all()
    assert 900 <= shown.sum() <= 1_002
    assert thinned(np.zeros(10, dtype=bool)).all()


def test_tint_is_plotlys_colour() -> None:
    assert tint("#0072B2", 0.15) == "rgba(0,114,178,0.15)"
