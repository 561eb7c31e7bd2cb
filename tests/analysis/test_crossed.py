"""Intervals over seed pairs and examples: they cover the truth, and no part of the chance is counted twice."""

import math

import numpy as np
import pytest
from scipy import stats

from slasearch.analysis import crossed
from slasearch.analysis.crossed import Source, crossed_difference


def drawn(random: np.random.Generator, pairs: int, examples: int, seeds: float, texts: float, rest: float) -> Source:
    """Pairs and examples with effects of these standard deviations, of mean 0."""
    x = (
        random.normal(0, seeds, (pairs, 1))
        + random.normal(0, texts, (1, examples))
        + random.normal(0, rest, (pairs, examples))
    )
    return Source(x.mean(1), (x,))


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossed, "DRAWS", 1000)


@pytest.mark.parametrize(
    ("seeds", "texts", "rest"),
    [(0.03, 0.0, 0.3), (0.0, 0.3, 0.3), (0.02, 0.2, 0.4)],
    ids=["seeds", "texts", "both"],
)
@pytest.mark.usefixtures("few_draws")
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds: float, texts: float, rest: float) -> None:
    random, runs = np.random.default_rng(4), 400
    covered = 0
    for _ in range(runs):
        found = crossed_difference([drawn(random, 8, 120, seeds, texts, rest)])
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert 0.925 <= covered / runs <= 0.975


@pytest.mark.parametrize(
    ("sources", "pairs", "seeds", "texts"),
    [(1, 2, 0.0, 0.3), (1, 3, 0.0, 0.3), (1, 3, 0.02, 0.2), (3, 6, 0.02, 0.2), (5, 3, 0.05, 0.0), (5, 2, 0.02, 0.2),
     (4, 10, 0.02, 0.2)],
)  # fmt: skip
@pytest.mark.usefixtures("few_draws")
def test_few_pairs_and_several_sources_are_covered_as_often(
    sources: int, pairs: int, seeds: float, texts: float
) -> None:
    random, covered, runs = np.random.default_rng(5), 0, 300
    for _ in range(runs):
        found = crossed_difference([drawn(random, pairs, 80, seeds, texts, 0.4) for _ in range(sources)])
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert 0.89 <= covered / runs <= 0.985


def test_chance_of_single_runs_is_counted_once() -> None:
    """Where examples are alike for the seeds in nothing, the error is that of the seeds alone."""
    random, ratios = np.random.default_rng(6), []
    for _ in range(30):
        source = drawn(random, 10, 500, 0.0, 0.0, 0.4)
        found = crossed_difference([source])
        assert found.error is not None
        ratios.append(found.error / float(stats.sem(source.pairs)))
    assert np.median(ratios) == pytest.approx(1, abs=0.05)
    assert max(ratios) < 1.35


def test_examples_that_decide_widen_the_interval() -> None:
    source = drawn(np.random.default_rng(7), 10, 200, 0.0, 0.4, 0.05)
    found = crossed_difference([source])
    assert found.error is not None
    assert found.error == pytest.approx(0.4 / math.sqrt(200), rel=0.15)
    assert found.error > 5 * float(stats.sem(source.pairs))


def test_the_mean_is_over_sources_and_each_of_them_counts_alike() -> None:
    one, two = (drawn(np.random.default_rng(seed), pairs, 50, 0.1, 0.1, 0.1) for seed, pairs in ((1, 4), (2, 12)))
    found = crossed_difference([one, two])
    assert found.estimate == pytest.approx((one.pairs.mean() + two.pairs.mean()) / 2)
    assert found.n == 16
    assert found.df is not None
    assert 3 < found.df < 3 + 11 + 2 * 49
    assert "each of 2 studies by itself" in found.method
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.estimate < found.high


def test_p_and_interval_agree_and_follow_the_seed() -> None:
    source = drawn(np.random.default_rng(3), 10, 100, 0.05, 0.1, 0.2)
    found = crossed_difference([source])
    assert crossed_difference([source]) == found
    assert crossed_difference([source], seed=1) != found
    assert found.low is not None
    assert found.p is not None
    assert found.error is not None
    moved = Source(source.pairs + 2 * found.error * 2.262 - found.estimate, source.examples)
    far = crossed_difference([moved])
    assert far.low is not None
    assert far.p is not None
    assert far.low > 0
    assert far.p < 0.01


def test_two_pairs_say_little() -> None:
    source = drawn(np.random.default_rng(8), 2, 300, 0.0, 0.0, 0.4)
    found = crossed_difference([Source(source.pairs + 0.05, source.examples)])
    assert found.low is not None
    assert found.p is not None
    assert (found.low > 0) == (found.p < 0.05)
    assert found.error is not None
    assert found.estimate - found.low == pytest.approx(float(stats.t.ppf(0.975, found.df)) * found.error)
    assert found.df == pytest.approx(1, abs=0.2)


def test_one_pair_or_no_spread_has_no_interval() -> None:
    one = crossed_difference([Source(np.array([0.01]), (np.ones((1, 9)),))])
    assert (one.low, one.p, one.estimate) == (None, None, 0.01)
    assert one.warnings == ("1 pair: no interval",)
    equal = crossed_difference([Source(np.full(4, 0.02), (np.zeros((4, 9)),))])
    assert equal.warnings == ("4 pairs without any spread: no interval",)


def test_pairs_that_differ_by_rounding_alone_have_no_spread() -> None:
    pairs = np.array([327 / 400 - 324 / 400, 333 / 400 - 330 / 400])
    assert pairs[0] != pairs[1]
    found = crossed_difference([Source(pairs, (np.zeros((2, 400)),))])
    assert (found.low, found.p) == (None, None)
