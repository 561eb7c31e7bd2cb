"""How large a difference is beside its spread, how often it is a gain, and how small a one would have been seen.

    d_z = J(ν) · d̄ / s            J(ν) = Γ(ν/2) / (√(ν/2) · Γ((ν − 1)/2))     (Hedges 1981; ν = n − 1)
    P(gain) = share of gains + half the share of ties                           (Agarwal et al. 2021, arXiv 2108.13264)
    detectable: δ with  P(|T_ν(δ / error)| > t(.975, ν)) = .8                   (T_ν(c): noncentral t)

Intervals of d come from the noncentral t-distribution (exact for normal differences), of a share from its score test
(Wilson 1927), of what is detectable from the χ²-interval of the spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from slasearch.analysis.intervals import NORMAL
from slasearch.analysis.paired import TIE, MeanDifference, Statistic

__all__ = ["POWER", "detectable", "improvement", "paired_effect", "power", "unpaired_effect", "unpaired_improvement"]

POWER = 0.8
"""How often a true difference of the detectable size would be told from zero, at a two-sided .05."""

Floats = NDArray[np.float64]


def paired_effect(differences: Iterable[float]) -> Statistic:
    """The standardised mean difference d_z of pairs, in standard deviations of the differences.

    Args:
        differences: One for each pair. What is not finite is left out. Two pairs, or equal ones, have no d_z.
    """
    values = _finite(differences)
    method = "d_z: mean ÷ standard deviation of the differences, small-sample correction; noncentral t"
    return _effect(values.mean() if len(values) else math.nan, _spread(values), len(values) - 1, len(values), method)


def unpaired_effect(first: Iterable[float], second: Iterable[float]) -> Statistic:
    """Hedges' g of two arms without pairs: the difference of means in pooled standard deviations, corrected.

    Args:
        first: Runs of one arm. What is not finite is left out.
        second: Runs of the other. `n` of the result counts both.
    """
    a, b = _finite(first), _finite(second)
    df = len(a) + len(b) - 2
    method = "Hedges' g: difference ÷ pooled standard deviation, small-sample correction; noncentral t"
    if min(len(a), len(b)) < 2:
        return _effect(math.nan, 0.0, df, len(a) + len(b), method)
    pooled = math.sqrt(((len(a) - 1) * _spread(a) ** 2 + (len(b) - 1) * _spread(b) ** 2) / df)
    weight = len(a) * len(b) / (len(a) + len(b))
    return _effect(a.mean() - b.mean(), pooled, df, len(a) + len(b), method, weight)


def _effect(mean: float, spread: float, df: int, n: int, method: str, weight: float | None = None) -> Statistic:
    """`weight` w makes t = d · √w; None takes n."""
    if df < 2 or spread == 0:
        why = "too few runs" if df < 2 else "no spread"
        return Statistic(
            estimate=math.nan, low=None, high=None, n=n, method=method, warnings=(f"{why}: no effect size",)
        )
    scale = math.sqrt(n if weight is None else weight)
    correction = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
    ends = [_noncentrality(df, mean / spread * scale, probability) for probability in (0.975, 0.025)]
    low, high = (None if end is None else end / scale for end in ends)
    said = () if low is not None and high is not None else ("too far from 0 for an interval",)
    return Statistic(estimate=float(correction * mean / spread), low=low, high=high, n=n, method=method, warnings=said)


def improvement(differences: Iterable[float]) -> Statistic:
    """The probability that the first of a pair is better, ties counted half.

    Args:
        differences: One for each pair. What is not finite is left out.
    """
    values = np.round(_finite(differences), TIE)
    share = float(np.mean((values > 0) + 0.5 * (values == 0))) if len(values) else math.nan
    method = "share of pairs in which the first is better, ties half; Wilson's interval"
    return _share(share, len(values), len(values), method)


def unpaired_improvement(first: Iterable[float], second: Iterable[float]) -> Statistic:
    """The probability that a run of the first arm is better than one of the second, over all pairs of runs.

    The variance of this share is at most p(1 − p) / min(n_a, n_b) (Birnbaum and Klose 1957), which the interval takes.

    Args:
        first: Runs of one arm. What is not finite is left out.
        second: Runs of the other. `n` of the result counts both.
    """
    a, b = (np.round(_finite(arm), TIE) for arm in (first, second))
    wins, ties = a[:, None] > b[None, :], a[:, None] == b[None, :]
    share = float(np.mean(wins + 0.5 * ties)) if wins.size else math.nan
    method = "share of all pairs of runs in which the first is better, ties half; Wilson's interval for the smaller arm"
    return _share(share, min(len(a), len(b)), len(a) + len(b), method)


def _share(share: float, size: int, n: int, method: str) -> Statistic:
    if not size:
        return Statistic(estimate=share, low=None, high=None, n=n, method=method, warnings=("no pairs",))
    square = NORMAL**2 / size
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return Statistic(estimate=share, low=max(0.0, middle - half), high=min(1.0, middle + half), n=n, method=method)


def detectable(difference: MeanDifference) -> Statistic:
    """The smallest true difference that these seeds would have told from zero in 80 % of studies like this one.

    It follows from the spread that was seen, not from the difference that was seen. In the unit of the scores, above 0.
    """
    method = f"{POWER * 100:.0f} % power at a two-sided .05 before Holm, noncentral t; χ²-interval of the spread"
    n, error, df = difference.n, difference.error, difference.df
    if error is None or df is None:
        return Statistic(estimate=math.nan, low=None, high=None, n=n, method=method, warnings=difference.warnings)
    needed = _root(lambda c: power(c, df) - POWER, 0.0, 1.0)
    low, high = (math.sqrt(df / float(stats.chi2.ppf(level, df))) for level in (0.975, 0.025))
    estimate = math.nan if needed is None else needed * error
    return Statistic(estimate=estimate, low=estimate * low, high=estimate * high, n=n, method=method)


def power(noncentrality: float, df: float) -> float:
    """How often a two-sided t-test at .05 finds a difference that is `noncentrality` standard errors.

    A squared noncentral t is a noncentral F.
    """
    edge = float(stats.t.ppf(0.975, df))
    return 1 - float(special.ncfdtr(1, df, noncentrality**2, edge**2))


def _noncentrality(df: float, t: float, probability: float) -> float | None:
    """The noncentrality c under which a noncentral t lies below `t` with that probability."""
    step = 1.0 if probability < 0.5 else -1.0
    return _root(lambda c: float(special.nctdtr(df, c, t)) - probability, t, step)


def _root(function: Callable[[float], float], start: float, step: float) -> float | None:
    """The zero of a monotone function on that side of `start` to which `step` leads; None where none is found.

    Steps grow slowly: far beyond the zero scipy's noncentral t is NaN.
    """
    at, value = start, function(start)
    for _ in range(100):
        following = function(at + step)
        if not math.isfinite(following):
            return None
        if value * following <= 0:
            return float(optimize.brentq(function, min(at, at + step), max(at, at + step), xtol=1e-10))
        at, value, step = at + step, following, 1.25 * step
    return None


def _finite(values: Iterable[float]) -> Floats:
    return np.array([value for value in values if math.isfinite(value)], dtype=np.float64)


def _spread(values: Floats) -> float:
    """Standard deviation; 0 of values that are equal but for rounding."""
    if len(values) < 2 or math.isclose(values.min(), values.max(), rel_tol=1e-9, abs_tol=10.0**-TIE):
        return 0.0
    return float(values.std(ddof=1))
