"""The interquartile mean over tasks and runs (Agarwal et al. 2021, arXiv 2108.13264): the mean of the middle half.

It is taken over all runs and tasks at once, after a quarter of the values (rounded down) is cut off at either end. Its
interval is a percentile bootstrap with tasks as strata: runs are drawn again with replacement, every task keeps its
number of runs, and the interval speaks for these tasks. Unlike Agarwal et al. a run is drawn with all its tasks, since
tasks that train together share more than chance: drawn apart, a nominal .95 covers .82 at 20 runs whose tasks correlate
by .5, drawn together .93 (.90 at 10 runs, .84 at 5, .77 at 3). With pairs the same draw is made for both arms.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from slasearch.analysis.paired import Statistic

__all__ = ["FEW_RUNS", "RESAMPLES", "iqm_difference"]

RESAMPLES = 5_000
"""Bootstrap draws."""

FEW_RUNS = 10
"""Runs below which the percentile bootstrap is known to cover less than it says."""

CUT = 0.25

Floats = NDArray[np.float64]


def iqm_difference(first: ArrayLike, second: ArrayLike, *, paired: bool, seed: int = 0) -> Statistic:
    """The interquartile mean of the first arm minus that of the second.

    Args:
        first: `n_a x m`, runs by tasks.
        second: `n_b x m`, the same tasks; with pairs in the same order of runs, and a pair that lacks a task is left
            out.
        paired: Whether rows are pairs of seeds: both arms are then drawn together.
        seed: Of the bootstrap.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if paired:
        together = _whole(np.hstack([a, b]))
        a, b = together[:, : a.shape[1]], together[:, a.shape[1] :]
    else:
        a, b = _whole(a), _whole(b)
    n, fewest = len(a) if paired else len(a) + len(b), min(len(a), len(b))
    if not a.size or not b.size:
        return _statistic(math.nan, None, n, fewest)
    draws = None
    if fewest > 1:
        generator = np.random.default_rng(seed)
        drawn = _indices(generator, a)
        draws = _resampled(a, drawn) - _resampled(b, drawn if paired else _indices(generator, b))
    return _statistic(_middle(a) - _middle(b), draws, n, fewest)


def _statistic(estimate: float, draws: Floats | None, n: int, runs: int) -> Statistic:
    """`runs` are those of the arm that has fewer."""
    method = (
        f"difference of interquartile means; percentile bootstrap over runs, every task in each draw, {RESAMPLES} draws"
    )
    if draws is None:
        said = f"{runs} run{'' if runs == 1 else 's'}: no interval"
        return Statistic(estimate=estimate, low=None, high=None, n=n, method=method, warnings=(said,))
    low, high = (float(end) for end in np.quantile(draws, (0.025, 0.975)))
    few = f"fewer than {FEW_RUNS} runs: the bootstrap's interval covers less than 95 %"
    warnings = (few,) if runs < FEW_RUNS else ()
    return Statistic(estimate=estimate, low=low, high=high, n=n, method=method, warnings=warnings)


def _whole(scores: ArrayLike) -> Floats:
    found = np.asarray(scores, dtype=np.float64)
    rows: Floats = found[np.isfinite(found).all(axis=1)]
    return rows


def _middle(runs: Floats) -> float:
    return float(stats.trim_mean(runs.ravel(), CUT))


def _indices(generator: np.random.Generator, runs: Floats) -> NDArray[np.int64]:
    """`RESAMPLES x n`: which run stands in each place."""
    return generator.integers(0, len(runs), size=(RESAMPLES, len(runs)))


def _resampled(runs: Floats, indices: NDArray[np.int64]) -> Floats:
    """The interquartile mean of every draw, of length `RESAMPLES`."""
    means: Floats = np.asarray(stats.trim_mean(runs[indices].reshape(RESAMPLES, -1), CUT, axis=1), dtype=np.float64)
    return means
