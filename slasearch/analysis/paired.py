"""What differences of a few seed pairs allow one to say: means with t-intervals, signed ranks, a margin.

    paired t        d̄ ± t(.975, n − 1) · s / √n                                          (seed pairs)
    Welch's t       ā − b̄ ± t(.975, ν) · √(s_a²/n_a + s_b²/n_b)                          (other seeds)
                    ν = (s_a²/n_a + s_b²/n_b)² / ((s_a²/n_a)²/(n_a − 1) + (s_b²/n_b)²/(n_b − 1))
    signed ranks    W⁺ = Σ rank |d| over d > 0, against all 2ⁿ choices of signs           (Wilcoxon 1945)
    non-inferior    lower end of the 95 % t-interval > −margin, a one-sided test at 97.5 %

Everything is in the unit of the scores, higher is better. What has no spread has no interval (see `intervals`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slasearch.analysis.intervals import Estimate, p_of_zero, standard_error, t_interval
from slasearch.errors import ReportError

__all__ = [
    "FEWEST_PAIRS",
    "MeanDifference",
    "NonInferiority",
    "Statistic",
    "non_inferiority",
    "paired_difference",
    "signed_rank",
    "welch_difference",
]

FEWEST_PAIRS = 6
"""Pairs that differ, from which a signed-rank test can reach .05 at all: the smallest p of 6 is 2/2⁶ = .031."""

TIE = 12
"""Decimals that are compared where differences are ranked: 0.75 − 0.7 and 0.7 − 0.65 are tied."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One number from `n` pairs, runs or values, and the ends of its 95 % interval, None without one.

    `p` is two-sided, that nothing differs, where the method tests that.
    """

    estimate: float
    low: float | None
    high: float | None
    n: int
    method: str
    p: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MeanDifference(Statistic):
    """A mean difference with its standard error and the degrees of freedom of its t-interval; None without one."""

    error: float | None
    df: float | None
    paired: bool

    @property
    def interval(self) -> Estimate:
        """Mean and ends as every table shows them."""
        return Estimate(self.estimate, self.low, self.high, self.n)


@dataclass(frozen=True, kw_only=True)
class NonInferiority(Statistic):
    """Whether the first is worse than the second by less than `margin`; `holds` is None where nothing can be said.

    `p` is one-sided: that it is worse by the margin or more.
    """

    margin: float
    holds: bool | None


def paired_difference(differences: Iterable[float]) -> MeanDifference:
    """The mean of differences within pairs, with its t-interval.

    Args:
        differences: One for each pair of seeds, first minus second. What is not finite is left out.
    """
    found = t_interval(differences)
    error = standard_error(found)
    return MeanDifference(
        estimate=found.mean,
        low=found.low,
        high=found.high,
        n=found.n,
        method="paired by seeds, 95 % t-interval of the differences",
        p=p_of_zero(found),
        warnings=() if error is not None else (_no_spread(found.n, "pair"),),
        error=error,
        df=None if error is None else found.n - 1.0,
        paired=True,
    )


def welch_difference(first: Iterable[float], second: Iterable[float]) -> MeanDifference:
    """The difference of two means of runs that share no seeds, with Welch's t-interval (Welch 1947).

    Args:
        first: Runs of one arm. What is not finite is left out.
        second: Runs of the other. `n` of the result counts both.
    """
    a, b = t_interval(first), t_interval(second)
    mean, n = a.mean - b.mean, a.n + b.n
    errors = [standard_error(arm) for arm in (a, b)]
    squares = [error**2 for error in errors if error is not None]
    method = "not paired, as seeds differ: Welch's 95 % t-interval"
    if len(squares) < 2:
        said = (_no_spread(min(a.n, b.n), "run"),)
        return MeanDifference(
            estimate=mean, low=None, high=None, n=n, method=method, warnings=said, error=None, df=None, paired=False
        )
    error = math.sqrt(sum(squares))
    df = sum(squares) ** 2 / (squares[0] ** 2 / (a.n - 1) + squares[1] ** 2 / (b.n - 1))
    half = float(stats.t.ppf(0.975, df)) * error
    return MeanDifference(
        estimate=mean,
        low=mean - half,
        high=mean + half,
        n=n,
        method=method,
        p=float(2 * stats.t.sf(abs(mean) / error, df)),
        error=error,
        df=df,
        paired=False,
    )


def _no_spread(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}" + (": no interval" if n < 2 else " without any spread: no interval")


def non_inferiority(difference: MeanDifference, margin: float) -> NonInferiority:
    """Whether first minus second lies above −margin: t ≥ (d̄ + margin) / error, one-sided at 97.5 %.

    Args:
        difference: First minus second.
        margin: The loss that would not matter, above 0, in the unit of the scores; chosen before looking.

    Raises:
        ReportError: The margin is none.
    """
    if not (math.isfinite(margin) and margin > 0):
        raise ReportError(
            f"Non-inferiority: expected a margin above 0, got {margin:g}. "
            "Give the loss of score that would not matter, such as 0.005."
        )
    p, holds = None, None
    if difference.error is not None and difference.low is not None:
        p = float(stats.t.sf((difference.estimate + margin) / difference.error, difference.df))
        holds = difference.low > -margin
    return NonInferiority(
        estimate=difference.estimate,
        low=difference.low,
        high=difference.high,
        n=difference.n,
        method=f"lower end of the 95 % interval above −{margin:g} (one-sided t at 97.5 %, each comparison by itself)",
        p=p,
        warnings=difference.warnings,
        margin=margin,
        holds=holds,
    )


def signed_rank(differences: Iterable[float]) -> Statistic:
    """Wilcoxon's signed-rank test, exact for ties too; the estimate is the median of all means of two differences.

    Pairs without a difference say nothing about its sign and are left out of the test. The estimate (Hodges and Lehmann
    1963) and its interval, which covers 95 % or more where differences are symmetric, take all pairs.

    Args:
        differences: One for each pair, first minus second. What is not finite is left out.

    Raises:
        ReportError: Fewer than six pairs differ, so that no result could be below .05.
    """
    finite = np.array([value for value in differences if math.isfinite(value)], dtype=np.float64)
    tied = np.round(finite, TIE)
    moved = tied[tied != 0]
    if len(moved) < FEWEST_PAIRS:
        smallest = f"{2.0 ** (1 - len(moved)):.3g}" if len(moved) else "1"
        raise ReportError(
            f"Signed-rank test: expected at least {FEWEST_PAIRS} pairs that differ (the smallest p at 6 is .031), "
            f"got {len(moved)} (smallest p {smallest}). Raise `phases.confirm.seeds` and run the study again."
        )
    ranks = np.rint(2 * stats.rankdata(np.abs(moved))).astype(np.int64)
    null = _null_distribution(ranks)
    positive = int(ranks[moved > 0].sum())
    p = min(1.0, 2 * min(float(null[: positive + 1].sum()), float(null[positive:].sum())))
    left_out = len(finite) - len(moved)
    low, high = _walsh_ends(finite)
    return Statistic(
        estimate=float(np.median(_walsh(finite))),
        low=low,
        high=high,
        n=len(finite),
        method="Wilcoxon's signed ranks, exact; Hodges-Lehmann estimate",
        p=p,
        warnings=(f"{left_out} of {len(finite)} pairs are equal and say nothing",) if left_out else (),
    )


def _null_distribution(ranks: NDArray[np.int64]) -> Floats:
    """Probability of each sum, 0 to Σ ranks, when every rank is in it or not with even odds."""
    found = np.zeros(int(ranks.sum()) + 1)
    found[0] = 1.0
    for rank in ranks:
        without = found / 2
        found = without.copy()
        found[rank:] += without[:-rank]
    return found


def _walsh(values: Floats) -> Floats:
    """Means of all pairs of values and of each with itself, n(n + 1)/2, sorted."""
    rows, columns = np.triu_indices(len(values))
    return np.sort((values[rows] + values[columns]) / 2)


def _walsh_ends(values: Floats) -> tuple[float, float]:
    """The means of two that lie as far from either end as the test at .05 allows."""
    below = np.cumsum(_null_distribution(np.arange(1, len(values) + 1)))
    outside = int(np.searchsorted(below, 0.025, side="right"))
    averages = _walsh(values)
    return float(averages[outside - 1]), float(averages[len(averages) - outside])
