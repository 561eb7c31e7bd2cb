"""Gaussian processes on plain arrays: fitted, cross-validated, and conditioned.

    y = f(x) + ε,    f ~ GP(mean of y, k(x, x')),    ε ~ N(0, σ²)

k is the ANOVA kernel. What it leaves open is found by the marginal likelihood and its slope

    log p(y) = -½ y'K⁻¹y - ½ log |K| - n/2 log 2π,    ∂/∂θ = ½ tr((αα' - K⁻¹) ∂K/∂θ),    α = K⁻¹y

(Rasmussen & Williams 2006, eq. 5.8 and 5.9). scikit-learn takes the slope from all `n x n` derivatives at once; here it
is summed pair by pair of points, in a sixth of the time: a design of twenty fields has some fifty parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, lapack, solve_triangular
from scipy.optimize import minimize

from slasearch.analysis.anova_kernel import AnovaKernel
from slasearch.analysis.intervals import GROUPS

__all__ = ["Process", "cross_validated", "fit_process", "negative_log_likelihood"]

Floats = NDArray[np.float64]

RESTARTS = 4
"""Further starts of the optimiser: with one alone, 2 of 6 fits to the Ishigami function ended badly."""
FITTED = 150
"""Points from which the kernel is found; the process itself is conditioned on all."""
_ROWS = 1024
_STEPS, _STEPS_NEAR = 80, 12
_JITTER = 1e-8
_SEED = 1
_SIZE, _EFFECT, _LENGTH, _NOISE = (1e-3, 1e2), (1e-4, 1e2), (0.05, 50.0), (1e-7, 2.0)
"""Ranges in which a, b, ℓ and σ² are sought, of values with deviation 1."""
_START = (0.3, 0.5, 0.5, 1e-2)


@dataclass(frozen=True)
class Process:
    """A process conditioned on `x`, `n x d`, and `n` values.

    `lower` is the Cholesky factor of the values' covariance, `weights` its inverse times the values, both of values
    with mean 0 and deviation 1. `noise` is σ of those. The deviations that it gives are `widened` by a factor of at
    least 1.
    """

    x: Floats
    kernel: AnovaKernel
    noise: float
    lower: Floats
    weights: Floats
    centre: float
    scale: float
    widened: float = 1.0

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of f, `m` each, at `m x d`."""
        parts = [
            self.conditioned(self.kernel(x[start : start + _ROWS], self.x), self.kernel.variance)
            for start in range(0, len(x), _ROWS)
        ]
        means, deviations = zip(*parts, strict=True)
        return np.concatenate(means), np.concatenate(deviations)

    def mean(self, x: Floats) -> Floats:
        """The mean of f alone, `m` at `m x d`."""
        parts = [self.kernel(x[start : start + _ROWS], self.x) @ self.weights for start in range(0, len(x), _ROWS)]
        return np.asarray(self.centre + self.scale * np.concatenate(parts))

    def conditioned(self, cross: Floats, variance: Floats | float) -> tuple[Floats, Floats]:
        """Mean and standard deviation, `m` each, of `m` values or averages of f.

        Args:
            cross: `m x n`, their covariances with f at `x` before anything was measured.
            variance: `m`, their own.
        """
        known = solve_triangular(self.lower, cross.T, lower=True)
        left = variance - np.einsum("ij,ij->j", known, known)
        deviations = self.scale * self.widened * np.sqrt(np.maximum(left, 0.0))
        return self.centre + self.scale * (cross @ self.weights), deviations


def fit_process(x: Floats, values: Floats, *, least: float = 0.0, near: Process | None = None) -> Process:
    """The process of largest marginal likelihood.

    Args:
        x: `n x d`.
        values: `n`.
        least: The noise that is known to be in the values, a variance: σ² is not below it.
        near: A process of much the same data: the optimiser starts from it, once.
    """
    centre, scale = float(values.mean()), float(values.std()) or 1.0
    normal = (values - centre) / scale
    rows = np.sort(np.random.default_rng(_SEED).permutation(len(x))[:FITTED])
    logs = _climbed(x[rows], normal[rows], least / scale**2, near)
    kernel, noise = _unpacked(logs, x.shape[1])
    lower = cholesky(kernel(x, x) + (noise + _JITTER) * np.eye(len(x)), lower=True)
    return Process(x, kernel, math.sqrt(noise), lower, cho_solve((lower, True), normal), centre, scale)


def _climbed(x: Floats, values: Floats, least: float, near: Process | None) -> Floats:
    """The parameters of largest marginal likelihood that were found: log a, `d` log b, `d` log ℓ and log σ²."""
    columns = x.shape[1]
    noise = (min(max(_NOISE[0], least), _NOISE[1]), _NOISE[1])
    bounds = np.log([_SIZE, *[_EFFECT] * columns, *[_LENGTH] * columns, noise])
    if near is None:
        usual = np.log(np.repeat(_START, (1, columns, columns, 1)))
        starts = [usual, *np.random.default_rng(_SEED).uniform(bounds[:, 0], bounds[:, 1], (RESTARTS, len(bounds)))]
    else:
        kernel = near.kernel
        starts = [np.log([kernel.size, *kernel.effect, *kernel.length_scale, near.noise**2])]
    first, second = np.tril_indices(len(x))
    squares = np.ascontiguousarray(((x[first] - x[second]) ** 2).T)
    steps = {"maxiter": _STEPS if near is None else _STEPS_NEAR}
    found = [
        minimize(negative_log_likelihood, start, (squares, values), "L-BFGS-B", jac=True, bounds=bounds, options=steps)
        for start in starts
    ]
    return np.asarray(min(found, key=lambda one: float(one.fun)).x)


def _unpacked(logs: Floats, columns: int) -> tuple[AnovaKernel, float]:
    size, effect, length_scale, noise = np.split(np.exp(logs), (1, columns + 1, 2 * columns + 1))
    return AnovaKernel(float(size[0]), effect, length_scale), float(noise[0])


def negative_log_likelihood(logs: Floats, squares: Floats, values: Floats) -> tuple[float, Floats]:
    """-log p(y), and its slope to each of the parameters; infinite where K cannot be told from a singular matrix.

    Args:
        logs: log a, `d` log b, `d` log ℓ and log σ².
        squares: `d x n(n+1)/2`, squared differences in each column, of the pairs in the order of `numpy.tril_indices`.
        values: `n`.
    """
    count, pairs = len(values), np.tril_indices(len(values))
    kernel, noise = _unpacked(logs, len(squares))
    ratios = squares / kernel.length_scale[:, None] ** 2
    parts = kernel.effect[:, None] * np.exp(-0.5 * ratios)
    covariances = kernel.size * np.prod(1 + parts, axis=0)
    matrix = np.zeros((count, count))
    matrix[pairs] = covariances
    matrix[np.diag_indices(count)] += noise + _JITTER
    try:
        lower = cholesky(matrix, lower=True)
    except LinAlgError:
        return math.inf, np.zeros_like(logs)
    weights = cho_solve((lower, True), values)
    inverse, _ = lapack.dpotri(lower, lower=1)
    pull = weights[pairs[0]] * weights[pairs[1]] - inverse[pairs]
    alone = pairs[0] == pairs[1]
    pull[alone] /= 2  # a pair of two points stands for both of its orders
    by_pair, shares = pull * covariances, parts / (1 + parts)
    slope = [by_pair.sum(), *(shares @ by_pair), *((shares * ratios) @ by_pair), noise * pull[alone].sum()]
    loss = values @ weights / 2 + np.log(np.diag(lower)).sum() + count / 2 * math.log(2 * math.pi)
    return float(loss), -np.array(slope)


def cross_validated(
    x: Floats, values: Floats, process: Process, *, blocks: NDArray[np.int64] | None = None, least: float = 0.0
) -> tuple[Process, float, tuple[Process, ...]]:
    """What the process is worth at points that it has not seen: for each of 8 folds it is fitted again without them.

    Args:
        x: `n x d`.
        values: `n`.
        process: Of all of them.
        blocks: `n`, points of one number are left out together, as near twins would tell what is held out; at least 8
            numbers. None: each point by itself.
        least: The noise that is known to be in the values, as for `fit_process`.

    Returns:
        The process with its deviations widened by the root mean square of the held-out errors over the deviations
        that were promised for them, where that is above 1; R² over all held-out points; the processes without a fold.
    """
    means, deviations, partial = np.empty(len(x)), np.empty(len(x)), []
    blocks = np.arange(len(x)) if blocks is None else blocks
    for numbers in np.array_split(np.random.default_rng(_SEED).permutation(np.unique(blocks)), GROUPS):
        fold, rest = (np.flatnonzero(np.isin(blocks, numbers, invert=out)) for out in (False, True))
        partial.append(fit_process(x[rest], values[rest], least=least, near=process))
        means[fold], sure = partial[-1].predict(x[fold])
        deviations[fold] = np.sqrt(sure**2 + (partial[-1].scale * partial[-1].noise) ** 2)
    errors = values - means
    r2 = 1 - float(errors @ errors) / float(np.sum((values - values.mean()) ** 2))
    widened = max(1.0, math.sqrt(float(np.mean((errors / deviations) ** 2))))
    return replace(process, widened=widened), r2, tuple(partial)
