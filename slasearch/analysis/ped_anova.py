"""PED-ANOVA over arrays (Watanabe et al. 2023, arXiv 2304.10255; of conditional fields arXiv 2601.20800).

    D = (γ α)² / β · Σ_x q(x) (p(x) / q(x) − 1)²

p is the density of a field's values among the best trials and q among all, by Optuna's Parzen estimator on a grid of
the space in which the field was sampled; γ is the share of the best trials, and α and β are the shares of best and of
all trials in which the field is active. Optuna's evaluator gives the same numbers, but from trial objects, every time
anew: for the hundreds of shuffles that tell what chance alone would give, a field's grid is made once here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance._ped_anova.scott_parzen_estimator import ScottParzenEstimator

__all__ = ["GridField", "best_trials", "divergence", "grid_field"]

_STEPS = 50
_PRIOR = 1.0


@dataclass(frozen=True)
class GridField:
    """One field on its grid: `cells` has the cell of each trial, -1 where the field is not active."""

    cells: NDArray[np.int64]
    size: int
    distribution: BaseDistribution

    def density(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The density over the cells of those of the chosen trials in which the field is active."""
        counts = np.bincount(self.cells[chosen & (self.cells >= 0)], minlength=self.size)
        seen = np.flatnonzero(counts)
        estimator = ScottParzenEstimator(seen, self.distribution, counts[seen], _PRIOR)
        return np.asarray(estimator.pdf(np.arange(self.size)), dtype=np.float64) + 1e-12


def grid_field(values: pd.Series[Any], distribution: BaseDistribution) -> GridField:
    """A field's stored values (missing where it is not active) on the grid of its distribution."""
    active = values.notna().to_numpy()
    cells = np.full(len(values), -1)
    if isinstance(distribution, CategoricalDistribution):
        places = {choice: index for index, choice in enumerate(distribution.choices)}
        cells[active] = [places[value] for value in values[active]]
        return GridField(cells, len(distribution.choices), distribution)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale = np.log if distribution.log else np.asarray
    low, high = (float(scale(end)) for end in (distribution.low, distribution.high))
    size = _size(distribution)
    step = (high - low) / (size - 1)
    found = np.ceil((scale(values[active].to_numpy(dtype=np.float64)) - low) / step - 0.5).astype(np.int64)
    cells[active] = np.clip(found, 0, size - 1)
    return GridField(cells, size, IntDistribution(0, size - 1))


def _size(distribution: FloatDistribution | IntDistribution) -> int:
    if isinstance(distribution, IntDistribution) and distribution.log:
        return min(math.ceil(math.log(distribution.high - distribution.low + 1) / math.log(2)) + 1, _STEPS)
    if distribution.step is not None:
        return min(round((distribution.high - distribution.low) / distribution.step) + 1, _STEPS)
    return _STEPS


def best_trials(losses: NDArray[np.float64], quantile: float) -> NDArray[np.bool_]:
    """Which trials are among the best share of them; with equal losses at its end more."""
    last = math.ceil(quantile * losses.size) - 1
    best: NDArray[np.bool_] = losses <= np.partition(losses, last)[last]
    return best


def divergence(field: GridField, everywhere: NDArray[np.float64], best: NDArray[np.bool_]) -> float:
    """How much the field's values among the best differ from those of all trials.

    Args:
        field: The field.
        everywhere: Its density over all trials.
        best: Which trials are among the best.
    """
    active = field.cells >= 0
    if active.sum() < 2 or not (active & best).any():
        return 0.0
    pearson = float(everywhere @ (field.density(best) / everywhere - 1) ** 2)
    among_best, among_all = (active & best).sum() / best.sum(), active.mean()
    return float((best.mean() * among_best) ** 2 / among_all) * pearson
