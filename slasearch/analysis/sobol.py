"""First and total order Sobol indices: which fields matter to a response, alone and with their interactions.

    S1_i = V(E(y | x_i)) / V(y)
    ST_i = E(V(y | all but x_i)) / V(y)
    S2_ij = V(E(y | x_i, x_j)) / V(y) - S1_i - S1_j

over independent fields, each uniform in the space in which it is sampled (Sobol 2001). What a study's own design allows
is decided in `variance`; here is what an index is, and how it comes from values on Saltelli's design.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.coordinates import DesignResponse, refuse_constant
from slasearch.analysis.intervals import GROUPS, jackknife_half

__all__ = ["Index", "PairIndex", "SobolIndices", "direct_indices"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Index:
    """A field's share of the response's variance, and the ends of its 95 % interval."""

    field: str
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PairIndex:
    """The share of variance that two fields have together beyond what each has alone."""

    fields: tuple[str, str]
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class SobolIndices:
    """Indices of all fields for one response, in the order of the study file.

    `first` (S1) is what a field does alone, `total` (ST) what it does in all its interactions too, `second` (S2) of
    pairs, empty where the design cannot tell. `n` trials; `r2` is the cross-validated R² of the surrogate on which they
    were computed, None where they come from the trials themselves. `noise` is the share of the trials' variance that
    came from seeds and was subtracted; a surrogate separates it by itself, and has 0.
    """

    response: DesignResponse
    first: tuple[Index, ...]
    total: tuple[Index, ...]
    second: tuple[PairIndex, ...]
    n: int
    source: Literal["direct", "surrogate"]
    r2: float | None
    method: str
    warnings: tuple[str, ...] = ()
    noise: float = 0.0


def direct_indices(
    values: Floats, noise: Floats, names: Sequence[str], *, second_order: bool
) -> tuple[tuple[Index, ...], tuple[Index, ...], tuple[PairIndex, ...]]:
    """Indices from the values of a response on Saltelli's design (estimators: Saltelli 2010, of pairs: Saltelli 2002).

    Args:
        values: `n·(k+2)`, or `n·(2k+2)` with `second_order`, block after block as `saltelli_unit` gives the points.
        noise: As many, an unbiased estimate of the variance that seeds add to each value, independently from point to
            point. It is part of the variance that every index is divided by, and of every ST: its mean is subtracted
            from both.
        names: The k fields.
        second_order: Whether the design has what indices of pairs need.

    Returns:
        First order, total order, and pairs (none without `second_order`), each with its 95 % interval, a jackknife over
        8 groups of blocks. Estimates and ends may lie a little outside 0 to 1. The blocks are spread evenly, so of a
        smooth response without noise the intervals are wider than they need to be.

    Raises:
        ReportError: All values are the same.
    """
    refuse_constant("Sobol indices", values)
    size = 2 * len(names) + 2 if second_order else len(names) + 2
    table, noises = values.reshape(-1, size), noise.reshape(-1, size)
    estimates = _estimates(table, noises, len(names))
    group = np.arange(len(table)) % GROUPS
    halves = jackknife_half(
        np.array([_estimates(table[group != left], noises[group != left], len(names)) for left in range(GROUPS)])
    )
    found = np.stack([estimates, estimates - halves, estimates + halves], axis=1).tolist()
    pairs = itertools.combinations(names, 2) if second_order else ()
    first, total, second = found[: len(names)], found[len(names) : 2 * len(names)], found[2 * len(names) :]
    return (
        tuple(Index(name, *ends) for name, ends in zip(names, first, strict=True)),
        tuple(Index(name, *ends) for name, ends in zip(names, total, strict=True)),
        tuple(PairIndex(pair, *ends) for pair, ends in zip(pairs, second, strict=True)),
    )


def _estimates(table: Floats, noises: Floats, fields: int) -> Floats:
    """`2k` or `2k + k(k-1)/2` indices (S1, ST, S2) from `n x (k+2)` or `n x (2k+2)` values and their noise."""
    from SALib.analyze.sobol import first_order, second_order, total_order  # type: ignore[import-untyped]

    table = table - table.mean()
    a, mixed, back, b = table[:, 0], table[:, 1 : fields + 1].T, table[:, fields + 1 : -1].T, table[:, -1]
    share = float(noises.mean()) / float(np.var([a, b]))
    found = [
        *(first_order(a, one, b) for one in mixed),
        *(total_order(a, one, b) - share for one in mixed),
        *(second_order(a, mixed[i], mixed[j], back[i], b) for i, j in itertools.combinations(range(len(back)), 2)),
    ]
    return np.array(found) / (1 - share)
