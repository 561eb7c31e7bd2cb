"""Gaussian processes on plain arrays: fitted, cross-validated, and averaged over regions.

    y = f(x) + ε,    f ~ GP(mean of y, a · k(x, x')),    ε ~ N(0, σ²)

k is the ANOVA kernel. What it leaves open is found by the marginal likelihood (Rasmussen & Williams 2006, ch. 5).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel

from slasearch.analysis.anova_kernel import AnovaKernel

__all__ = ["FOLDS", "Process", "cross_validated", "fit_process"]

Floats = NDArray[np.float64]

RESTARTS = 4
"""Further starts of the optimiser: with one alone, 2 of 6 fits to the Ishigami function ended badly."""
FITTED = 150
"""Points from which the kernel is found; the process itself is conditioned on all."""
FOLDS = 8
_ROWS = 1024
_STEPS, _STEPS_NEAR = 80, 12
_JITTER = 1e-8
_SEED = 1


@dataclass(frozen=True)
class Process:
    """A process conditioned on `x`, `n x d`, and `n` values.

    `kernel` is a · k of scikit-learn, `lower` the Cholesky factor of the values' covariance, `weights` its inverse
    times the values, both of values with mean 0 and deviation 1. `noise` is σ of those. The deviations that it gives
    are `widened` by a factor of at least 1.
    """

    x: Floats
    kernel: Any
    noise: float
    lower: Floats
    weights: Floats
    centre: float
    scale: float
    widened: float = 1.0

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of f, `m` each, at `m x d`."""
        means, deviations = np.empty(len(x)), np.empty(len(x))
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            cross = self.kernel(x[rows], self.x)
            known = solve_triangular(self.lower, cross.T, lower=True)
            variance = self.kernel.diag(x[rows]) - np.einsum("ij,ij->j", known, known)
            means[rows] = cross @ self.weights
            deviations[rows] = np.sqrt(np.maximum(variance, 0.0))
        return self.centre + self.scale * means, self.scale * self.widened * deviations

    def mean(self, x: Floats) -> Floats:
        """The mean of f alone, `m` at `m x d`."""
        parts = [self.kernel(x[start : start + _ROWS], self.x) @ self.weights for start in range(0, len(x), _ROWS)]
        return np.asarray(self.centre + self.scale * np.concatenate(parts))

    def average(self, x: Floats) -> tuple[float, float]:
        """Mean and standard deviation of the average of f over the rows of `m x d`."""
        cross = self.kernel(x, self.x).mean(axis=0)
        known = solve_triangular(self.lower, cross, lower=True)
        variance = max(float(self.kernel(x).mean() - known @ known), 0.0)
        return float(self.centre + self.scale * cross @ self.weights), self.scale * self.widened * math.sqrt(variance)


def fit_process(x: Floats, values: Floats, *, near: Process | None = None) -> Process:
    """The process of largest marginal likelihood.

    Args:
        x: `n x d`.
        values: `n`.
        near: A process of much the same data: the optimiser starts from it, once.
    """
    centre, scale = float(values.mean()), float(values.std()) or 1.0
    normal = (values - centre) / scale
    start = _start(x.shape[1]) if near is None else near.kernel + WhiteKernel(near.noise**2, (1e-7, 2.0))
    regressor = GaussianProcessRegressor(
        start,
        alpha=_JITTER,
        optimizer=_climb if near is None else _climb_near,
        n_restarts_optimizer=RESTARTS if near is None else 0,
        random_state=_SEED,
    )
    rows = np.sort(np.random.default_rng(_SEED).permutation(len(x))[:FITTED])
    with warnings.catch_warnings():
        # A column that does nothing has its effect at the lower bound, as it should.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regressor.fit(x[rows], normal[rows])
    kernel, noise = regressor.kernel_.k1, regressor.kernel_.k2.noise_level
    lower = cholesky(kernel(x) + (noise + _JITTER) * np.eye(len(x)), lower=True)
    return Process(x, kernel, math.sqrt(noise), lower, cho_solve((lower, True), normal), centre, scale)


def _start(columns: int) -> Any:
    kernel = AnovaKernel(np.full(columns, 0.5), np.full(columns, 0.5))
    return ConstantKernel(0.3, (1e-3, 1e2)) * kernel + WhiteKernel(1e-2, (1e-7, 2.0))


def _climb(loss: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: Floats) -> tuple[Floats, float]:
    return _minimise(loss, start, bounds, _STEPS)


def _climb_near(loss: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: Floats) -> tuple[Floats, float]:
    return _minimise(loss, start, bounds, _STEPS_NEAR)


def _minimise(
    loss: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: Floats, steps: int
) -> tuple[Floats, float]:
    found = minimize(loss, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": steps})
    return found.x, float(found.fun)


def cross_validated(x: Floats, values: Floats, process: Process) -> tuple[Process, float, tuple[Process, ...]]:
    """What the process is worth at points that it has not seen: for each of 8 folds it is fitted again without them.

    Returns:
        The process with its deviations widened by the root mean square of the held-out errors over the deviations
        that were promised for them, where that is above 1; R² over all held-out points; the processes without a fold.
    """
    means, deviations, partial = np.empty(len(x)), np.empty(len(x)), []
    for fold in np.array_split(np.random.default_rng(_SEED).permutation(len(x)), FOLDS):
        rest = np.setdiff1d(np.arange(len(x)), fold)
        partial.append(fit_process(x[rest], values[rest], near=process))
        means[fold], sure = partial[-1].predict(x[fold])
        deviations[fold] = np.sqrt(sure**2 + (partial[-1].scale * partial[-1].noise) ** 2)
    errors = values - means
    r2 = 1 - float(errors @ errors) / float(np.sum((values - values.mean()) ** 2))
    widened = max(1.0, math.sqrt(float(np.mean((errors / deviations) ** 2))))
    return replace(process, widened=widened), r2, tuple(partial)
