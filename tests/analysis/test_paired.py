"""Statistics of differences, against published examples, scipy, hand calculation and seeded simulation."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy import stats

from slasearch.analysis.effects import (
    detectable,
    improvement,
    paired_effect,
    power,
    unpaired_effect,
    unpaired_improvement,
)
from slasearch.analysis.iqm import iqm_difference
from slasearch.analysis.paired import Statistic, non_inferiority, paired_difference, signed_rank, welch_difference
from slasearch.errors import ReportError

# Student's data on sleep (1908), whose results stand in the documentation of R's t.test.
FIRST = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
SECOND = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP = [a - b for a, b in zip(FIRST, SECOND, strict=True)]
# Wilcoxon's plants (1945).
PLANTS = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]

DIFFERENCES = st.lists(st.integers(-6, 6).map(float), min_size=6, max_size=9)


def covered(low: float | None, truth: float, high: float | None) -> bool:
    assert low is not None
    assert high is not None
    return low <= truth <= high


# ---------------------------------------------------------------- means


def test_paired_difference_of_students_data() -> None:
    found = paired_difference(SLEEP)
    assert (found.estimate, found.n, found.df) == (pytest.approx(1.58), 10, 9)
    assert (found.low, found.high) == (pytest.approx(0.7001142, abs=1e-6), pytest.approx(2.4598858, abs=1e-6))
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert found.error == pytest.approx(stats.sem(SLEEP))
    assert found.interval.text(2) == "1.58 ± 0.88"


def test_welch_difference_of_students_data() -> None:
    found = welch_difference(FIRST, SECOND)
    assert (found.low, found.high) == (pytest.approx(-0.2054832, abs=1e-6), pytest.approx(3.3654832, abs=1e-6))
    assert (found.p, found.df) == (pytest.approx(0.07939, abs=1e-5), pytest.approx(17.776, abs=1e-3))
    assert (found.n, found.paired) == (20, False)
    assert "Welch" in found.method


def test_welch_covers_where_arms_have_other_spreads_and_sizes() -> None:
    draws = np.random.default_rng(1)
    hits = []
    for _ in range(600):
        found = welch_difference(draws.normal(1, 3, 4), draws.normal(0, 1, 9))
        hits.append(covered(found.low, 1.0, found.high))
    assert 0.92 < np.mean(hits) < 0.98


@pytest.mark.parametrize("values", [[], [0.3], [0.2, 0.2, 0.2]])
def test_without_spread_there_is_no_interval(values: list[float]) -> None:
    found = paired_difference(values)
    assert (found.low, found.high, found.p, found.error, found.df) == (None,) * 5
    assert len(found.warnings) == 1
    assert non_inferiority(found, 0.01).holds is None
    assert detectable(found).low is None
    assert welch_difference(values, FIRST).low is None


# ---------------------------------------------------------------- the margin


def test_non_inferiority_is_the_lower_end_above_the_margin() -> None:
    difference = paired_difference([-0.002, 0.001, -0.004, -0.001, -0.003])
    assert difference.low is not None
    below = -difference.low
    assert non_inferiority(difference, below * 1.001).holds is True
    assert non_inferiority(difference, below * 0.999).holds is False
    assert non_inferiority(difference, below).p == pytest.approx(0.025)


def test_non_inferiority_p_is_scipys_one_sided_test() -> None:
    values = [-0.002, 0.001, -0.004, -0.001, -0.003]
    found = non_inferiority(paired_difference(values), 0.005)
    assert found.p == pytest.approx(stats.ttest_1samp(values, -0.005, alternative="greater").pvalue)
    assert (found.margin, found.holds, found.n) == (0.005, True, 5)


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan, math.inf])
def test_a_margin_has_to_be_above_zero(margin: float) -> None:
    with pytest.raises(ReportError, match="expected a margin above 0"):
        non_inferiority(paired_difference(SLEEP), margin)


# ---------------------------------------------------------------- signed ranks


def test_signed_rank_of_wilcoxons_plants() -> None:
    found = signed_rank(PLANTS)
    assert found.p == 0.041259765625
    walsh = [(a + b) / 2 for i, a in enumerate(PLANTS) for b in PLANTS[i:]]
    assert found.estimate == np.median(walsh)


def test_six_pairs_can_reach_the_level_and_five_are_refused() -> None:
    assert signed_rank([1, 2, 3, 4, 5, 6]).p == 0.03125
    with pytest.raises(ReportError, match=r"at least 6 pairs .* is \.031\), got 5 \(smallest p 0\.0625\)"):
        signed_rank([1, 2, 3, 4, 5])
    with pytest.raises(ReportError, match="got 5"):
        signed_rank([1, 2, 3, 4, 5, 0.75 - 0.7 - 0.05])
    with pytest.raises(ReportError, match=r"got 0 \(smallest p 1\)"):
        signed_rank([])


@settings(max_examples=20, deadline=None)
@given(values=DIFFERENCES)
def test_signed_rank_with_ties_is_scipys_over_all_permutations(values: list[float]) -> None:
    moved = [value for value in values if value]
    if len(moved) < 6:
        return
    found = signed_rank(values)
    exact = stats.wilcoxon(moved, method=stats.PermutationMethod(n_resamples=np.inf))
    assert found.p == pytest.approx(exact.pvalue)
    assert bool(found.warnings) == (len(moved) < len(values))


@pytest.mark.parametrize("n", [6, 7, 10, 25])
def test_the_interval_holds_the_shifts_that_the_test_does_not_refuse(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1, n)
    found = signed_rank(values)
    assert found.low is not None
    assert found.high is not None
    for end, inward in ((found.low, 1e-6), (found.high, -1e-6)):
        inside, outside = (signed_rank(values - end + sign * inward).p for sign in (-1, 1))
        assert inside is not None
        assert outside is not None
        assert outside <= 0.05 < inside


def test_signed_rank_interval_covers() -> None:
    draws = np.random.default_rng(2).standard_t(3, size=(500, 8))
    found = [signed_rank(row) for row in draws]
    assert 0.93 < np.mean([covered(item.low, 0.0, item.high) for item in found]) <= 0.99


# ---------------------------------------------------------------- effect sizes


def test_effect_of_three_pairs_by_hand() -> None:
    found = paired_effect([1.0, 2.0, 3.0])
    assert found.estimate == pytest.approx(2 / math.sqrt(math.pi))
    assert found.n == 3


def test_effect_of_students_data_and_its_noncentral_interval() -> None:
    found = paired_effect(SLEEP)
    raw = np.mean(SLEEP) / np.std(SLEEP, ddof=1)
    assert found.estimate == pytest.approx(raw * (1 - 3 / (4 * 9 - 1)), rel=1e-3)
    assert found.low is not None
    assert found.high is not None
    t = raw * math.sqrt(10)
    assert stats.nct.sf(t, 9, found.low * math.sqrt(10)) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, 9, found.high * math.sqrt(10)) == pytest.approx(0.025, abs=1e-6)


def test_effects_cover_and_have_no_bias() -> None:
    draws = np.random.default_rng(4)
    pairs = [paired_effect(draws.normal(0.8, 1, 6)) for _ in range(1_500)]
    arms = [unpaired_effect(draws.normal(0.8, 1, 5), draws.normal(0, 1, 7)) for _ in range(1_500)]
    for found in (pairs, arms):
        assert 0.935 < np.mean([covered(item.low, 0.8, item.high) for item in found]) < 0.965
        assert np.mean([item.estimate for item in found]) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_huge_effect_has_its_interval_on_one_side(sign: int) -> None:
    found = paired_effect([sign * value for value in (0.101, 0.1, 0.0995, 0.1003)])
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.estimate < found.high
    assert found.low * found.high > 0


def test_effect_needs_three_pairs_and_spread() -> None:
    for values in ([], [0.1, 0.2], [0.1, 0.1, 0.1, 0.1]):
        found = paired_effect(values)
        assert math.isnan(found.estimate)
        assert found.warnings
    assert math.isnan(unpaired_effect([0.1], [0.2, 0.3, 0.4]).estimate)
    assert unpaired_effect([1.0, 2.0], [0.0, 1.0]).estimate == pytest.approx(math.sqrt(2) / math.sqrt(math.pi))


def test_ties_count_half_in_the_probability_of_improvement() -> None:
    assert improvement([0.2, 0.1, -0.1, 0.75 - 0.7 - 0.05]).estimate == pytest.approx(0.625)
    assert unpaired_improvement([1, 2], [1, 0, 3]).estimate == pytest.approx((1 + 0.5 + 1 + 1) / 6)
    assert unpaired_improvement(FIRST, SECOND).estimate == pytest.approx(
        stats.mannwhitneyu(FIRST, SECOND).statistic / 100
    )
    assert math.isnan(improvement([]).estimate)


def test_interval_of_a_share_is_wilsons() -> None:
    found = improvement([1] * 7 + [-1] * 3)
    wilson = stats.binomtest(7, 10).proportion_ci(method="wilson")
    assert (found.low, found.high) == (pytest.approx(wilson.low, abs=1e-4), pytest.approx(wilson.high, abs=1e-4))


def test_interval_of_a_share_without_pairs_covers() -> None:
    draws = np.random.default_rng(5)
    truth = float(stats.norm.cdf(0.5 / math.sqrt(2)))
    hits = []
    for _ in range(400):
        found = unpaired_improvement(draws.normal(0.5, 1, 8), draws.normal(0, 1, 6))
        hits.append(covered(found.low, truth, found.high))
    assert np.mean(hits) > 0.94


# ---------------------------------------------------------------- what could have been seen


def test_power_of_published_tables() -> None:
    assert power(math.sqrt(10), 38) == pytest.approx(0.8689528, abs=1e-6)  # R: power.t.test(n = 20, delta = 1)
    assert power(0.0, 7) == pytest.approx(0.05)
    for effect, pairs in ((0.2, 199), (0.5, 34), (0.8, 15)):  # G*Power: pairs for a power of .8
        assert power(effect * math.sqrt(pairs), pairs - 1) >= 0.8 > power(effect * math.sqrt(pairs - 1), pairs - 2)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_what_is_detectable_is_found_in_80_of_100_studies(n: int) -> None:
    values = np.random.default_rng(n).normal(0, 0.01, n)
    found = detectable(paired_difference(values))
    spread = float(np.std(values, ddof=1))
    studies = np.random.default_rng(6).normal(found.estimate, spread, size=(20_000, n))
    assert np.mean(stats.ttest_1samp(studies, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.012)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.estimate < found.high


def test_what_is_detectable_is_uncertain_as_the_spread_is() -> None:
    draws = np.random.default_rng(7)
    truth = detectable(paired_difference(np.array([-1, 1]) * math.sqrt(0.5))).estimate
    found = [detectable(paired_difference(draws.normal(0.3, 1, 2))) for _ in range(1_500)]
    assert 0.935 < np.mean([covered(item.low, truth, item.high) for item in found]) < 0.965


def test_more_seeds_detect_less() -> None:
    sizes = [detectable(paired_difference(np.resize([-0.01, 0.01], n))).estimate for n in (4, 8, 16, 64)]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_detectable_between_unpaired_arms() -> None:
    draws = np.random.default_rng(8)
    first, second = draws.normal(0, 1, 10), draws.normal(0, 1, 10)
    difference = welch_difference(first, second)
    assert difference.error is not None
    assert difference.df is not None
    found = detectable(difference)
    assert power(found.estimate / difference.error, difference.df) == pytest.approx(0.8, abs=1e-6)
    assert found.n == 20


# ---------------------------------------------------------------- interquartile means


def iqm(scores: ArrayLike, seed: int = 0) -> Statistic:
    """That of one arm: its difference to nothing."""
    return iqm_difference(scores, np.zeros_like(np.asarray(scores, np.float64)), paired=True, seed=seed)


def test_the_interquartile_mean_is_that_of_the_middle_half() -> None:
    assert iqm([[1, 2], [3, 4], [5, 6], [7, 100]]).estimate == pytest.approx((3 + 4 + 5 + 6) / 4)
    scores = np.random.default_rng(9).normal(size=(7, 3))
    assert iqm(scores).estimate == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))
    assert iqm(scores).n == 7


def test_the_bootstrap_is_seeded_and_stratified() -> None:
    scores = np.column_stack([np.linspace(0, 0.1, 12), np.linspace(0.9, 1, 12)])
    noisy = scores + np.random.default_rng(12).normal(0, 0.01, scores.shape)
    assert iqm(noisy) == iqm(noisy)
    assert iqm(noisy, seed=1).low != iqm(noisy).low
    apart = iqm(scores)
    assert apart.low is not None
    assert apart.high is not None
    # Tasks are never mixed: drawn over both at once the interval would span most of 0 to 1.
    assert apart.high - apart.low < 0.1


@pytest.mark.parametrize("together", [0.0, 0.7])
def test_the_bootstrap_covers_with_twenty_runs_whose_tasks_may_correlate(together: float) -> None:
    draws = np.random.default_rng(10)
    hits = []
    for _ in range(250):
        shared, own = draws.normal(size=(20, 1)), draws.normal(size=(20, 3))
        noise = 0.05 * (math.sqrt(together) * shared + math.sqrt(1 - together) * own)
        found = iqm(np.array([0.5, 0.6, 0.7]) + noise)
        hits.append(covered(found.low, 0.6, found.high))
    assert 0.89 < np.mean(hits) < 0.99


def test_pairs_are_drawn_together() -> None:
    draws = np.random.default_rng(11)
    second = draws.normal(0.5, 0.2, size=(12, 3))
    first = second + 0.01
    pairs, apart = (iqm_difference(first, second, paired=paired) for paired in (True, False))
    assert (pairs.estimate, pairs.n, apart.n) == (pytest.approx(0.01), 12, 24)
    assert (pairs.low, pairs.high) == (pytest.approx(0.01), pytest.approx(0.01))
    assert covered(apart.low, 0.0, apart.high)


def test_runs_that_lack_a_task_and_few_runs() -> None:
    first, second = [[0.5, 0.6], [0.6, 0.7], [0.7, math.nan]], [[0.4, 0.6], [0.5, 0.6], [0.6, 0.6]]
    found = iqm_difference(first, second, paired=True)
    assert (found.n, found.estimate) == (2, pytest.approx(0.6 - 0.55))
    assert any("fewer than 10 runs" in warning for warning in found.warnings)
    one = iqm_difference(first[:1], second[:1], paired=True)
    assert (one.low, one.estimate, one.warnings) == (None, pytest.approx(0.05), ("1 run: no interval",))
    assert math.isnan(iqm(np.empty((0, 2))).estimate)


@pytest.mark.parametrize("scores", [[[0.5, 0.6]], [[0.5], [0.6]]])
def test_shapes_of_one_run_and_one_task(scores: Sequence[Sequence[float]]) -> None:
    assert iqm(scores).estimate == pytest.approx(0.55)
