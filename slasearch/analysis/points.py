"""The points of a design: the mean of each over its seed repeats, and what seeds leave in it.

    y_ij = μ_i + β_j + ε_ij        for the point i and the seed pair j

A seed pair adds the same to every point (a block); by least squares, so that a point which lacks a repeat is not
shifted by it. What is left, ε, has one variance s², of n − p − (r − 1) degrees of freedom for n trials of p points
under r seed pairs. While a study runs repeats are uneven, and then some means are surer than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.coordinates import Coordinates

__all__ = ["DesignPoints", "point_noise", "points_of"]

Floats = NDArray[np.float64]

_STILL = 1e-9
"""Share of the response's range below which what is left of trials is rounding: seeds do not change it."""
_FEWEST_FREEDOM = 8
"""Degrees of freedom from which on s² is taken for known: its 95 % interval then is from .46 to 3.7 times it."""


@dataclass(frozen=True)
class DesignPoints:
    """The p points of a design that have a result, in the order of their numbers.

    Args:
        unit: `p x k`, each coordinate in [0, 1].
        means: `p`, over seed repeats.
        blocks: `p`, the block that each stands in; of most designs each its own.
        counts: `p`, trials of each.
        variance: s², of one trial, on average over the points; NaN without freedom.
        freedom: Its degrees of freedom, 0 where no point is repeated.
        squares: `p`, the sum of ε² at each point; all together `freedom`·s².
        trials: `p x r`, the value of each point under each seed pair, NaN where it has none.
        shares: `p x r`, the share of each point's trials that each seed pair has.
        cover: `r x r`, the covariance of what seed pairs add, in units of s².
    """

    unit: Floats
    means: Floats
    blocks: NDArray[np.int64]
    counts: NDArray[np.int64]
    variance: float
    freedom: int
    squares: Floats
    trials: Floats
    shares: Floats
    cover: Floats

    def gap_variance(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> Floats:
        """The variance of differences of means between points, in units of s²: arrays of places of one shape."""
        apart = self.shares[one] - self.shares[other]
        shifts = np.einsum("...j,jk,...k->...", apart, self.cover, apart)
        return np.asarray(1 / self.counts[one] + 1 / self.counts[other] + shifts)


def points_of(coordinates: Coordinates) -> DesignPoints:
    """The points of the complete trials of a design."""
    values = coordinates.values
    numbers, first, point = np.unique(coordinates.points, return_index=True, return_inverse=True)
    _, pair = np.unique(coordinates.repeats, return_inverse=True)
    table = np.zeros((len(numbers), pair.max() + 1))
    np.add.at(table, (point, pair), 1.0)
    counts = table.sum(axis=1)
    shares, sums = table / counts[:, None], np.bincount(point, values)
    within = np.diag(table.sum(axis=0)) - table.T @ shares
    cover = np.linalg.pinv(within, _STILL, hermitian=True)
    shifts = cover @ (np.bincount(pair, values) - shares.T @ sums)
    means = sums / counts - shares @ shifts
    rest = values - means[point] - shifts[pair]
    if np.abs(rest).max() <= _STILL * np.ptp(values):
        rest = np.zeros_like(rest)
    trials = np.full(table.shape, np.nan)
    trials[point, pair] = values
    known = np.linalg.eigvalsh(within) > _STILL * len(values)  # of r seed pairs r − 1, where points connect them
    freedom = len(values) - len(numbers) - int(known.sum())
    return DesignPoints(
        unit=coordinates.unit[first],
        means=means,
        blocks=numbers // coordinates.block,
        counts=counts.astype(np.int64),
        variance=float(rest @ rest / freedom) if freedom else float("nan"),
        freedom=freedom,
        squares=np.bincount(point, rest**2).astype(np.float64),
        trials=trials,
        shares=shares,
        cover=cover,
    )


def point_noise(points: DesignPoints) -> Floats | None:
    """The variance that seeds leave in the mean at each point, `p`; None with too few repeats to know it.

    Each is unbiased but has hardly any degree of freedom of its own: only averages over many points are of use.
    """
    if points.freedom < _FEWEST_FREEDOM:
        return None
    return np.asarray(points.squares * (len(points.counts) / points.freedom) / points.counts)
