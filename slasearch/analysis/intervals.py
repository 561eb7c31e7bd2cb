"""Means with Student t-intervals: what every curve, table and comparison of slasearch reports.

    mean ± t(1 − α/2, n − 1) · s / √n

Below 20 values this interval covers as it says, where ±1.96·SE and the percentile bootstrap fall short
(at n = 5: .95 against .88 and .84). With one value, or with values that are all equal as
coarse scores of two seeds can be, nothing is known of the spread: there is no interval, and none is invented.

Sizes are positive and differ by factors, so theirs is taken of the logarithm: a geometric mean with an interval that
never reaches zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "CONFIDENCE",
    "GROUPS",
    "NORMAL",
    "Estimate",
    "holm",
    "jackknife_half",
    "log_interval",
    "p_of_zero",
    "standard_error",
    "t_interval",
]

CONFIDENCE = 0.95
NORMAL = 1.96
"""Standard errors on either side of an average over many independent parts, such as a score over examples, for 95 %."""
GROUPS = 8
"""Groups of points that a delete-a-group jackknife leaves out in turn."""


@dataclass(frozen=True)
class Estimate:
    """A mean of `n` values, and the ends of its interval, None without one. The unit is that of the values.

    With `geometric` it is the geometric mean, and the interval is as wide on either side as a factor.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    confidence: float = CONFIDENCE
    geometric: bool = False

    @property
    def half_width(self) -> float | None:
        """From the mean to the upper end of the interval, None without one."""
        return None if self.high is None else self.high - self.mean

    def text(self, digits: int = 3, *, signed: bool = False) -> str:
        """`0.842 ± 0.011`, of sizes `28,039 (10,713 to 73,386)`.

        Without an interval only the mean; an en dash for a mean that does not exist.
        """
        if math.isnan(self.mean):
            return "–"
        if self.geometric:
            ends = "" if self.low is None else f" ({self.low:,.0f} to {self.high:,.0f})"
            return f"{self.mean:,.0f}{ends}"
        mean = format(self.mean, f"{'+' if signed else ''}.{digits}f").replace("-", "−")
        return mean if self.half_width is None else f"{mean} ± {self.half_width:.{digits}f}"


def t_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of the finite values with its two-sided t-interval.

    Args:
        values: Independent repetitions, such as one number for each seed. NaN and infinities are left out.
        confidence: Nominal coverage, between 0 and 1.
    """
    finite = [float(value) for value in values if math.isfinite(value)]
    n = len(finite)
    if n == 0:
        return Estimate(math.nan, None, None, 0, confidence)
    mean = math.fsum(finite) / n
    if math.isclose(min(finite), max(finite), rel_tol=1e-9, abs_tol=1e-12):
        return Estimate(mean, None, None, n, confidence)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (n - 1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * deviation / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n, confidence)


def log_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> Estimate:
    """The geometric mean of sizes, with the two-sided t-interval of their logarithms taken back.

    Args:
        values: Independent repetitions, 0 or above. NaN and infinities are left out. A value of 0 has no logarithm: the
            geometric mean is then 0, and there is no interval.
        confidence: Nominal coverage, between 0 and 1.
    """
    finite = [float(value) for value in values if math.isfinite(value)]
    if min(finite, default=1.0) <= 0:
        return Estimate(0.0, None, None, len(finite), confidence, geometric=True)
    logs = t_interval((math.log(value) for value in finite), confidence)
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Estimate(math.exp(logs.mean), low, high, logs.n, confidence, geometric=True)


def standard_error(estimate: Estimate) -> float | None:
    """Standard error of the mean within a t-interval, in the unit of the mean; None without an interval."""
    if estimate.half_width is None:
        return None
    return estimate.half_width / float(stats.t.ppf((1 + estimate.confidence) / 2, estimate.n - 1))


def p_of_zero(estimate: Estimate) -> float | None:
    """Two-sided p that the mean is 0, from a t-interval around it; None without an interval."""
    error = standard_error(estimate)
    if error is None:
        return None
    return float(2 * stats.t.sf(abs(estimate.mean) / error, estimate.n - 1))


def jackknife_half(without: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half widths of the 95 % t-intervals of a delete-a-group jackknife (Kott 2001).

        t(.975, g − 1) · √((g − 1)/g · Σ_j (θ_j − θ̄)²)

    Args:
        without: `g x i`, each row the i estimates without one of g groups.
    """
    groups = len(without)
    return np.asarray(float(stats.t.ppf(0.975, groups - 1)) * math.sqrt(groups - 1) * without.std(axis=0))


def holm(p_values: list[float | None]) -> list[float | None]:
    """Holm's step-down adjustment for several comparisons; None stays None and is not counted."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(known):
        running = max(running, min(1.0, p * (len(known) - rank)))
        adjusted[index] = running
    return adjusted
