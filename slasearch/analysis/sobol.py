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

__all__ = ["Index", "PairIndex", "SobolIndices", "direct_indices"]

_RESAMPLES = 500


@dataclass(frozen=True)
class Index:
    """A field's share of the response's variance, and the ends of its 95 % bootstrap interval."""

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
    came from seeds and was taken off, None where too few points have several seed pairs: every total then holds it.
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
    noise: float | None = 0.0


def direct_indices(
    values: NDArray[np.float64], names: Sequence[str], *, second_order: bool, seed: int, noise: float = 0.0
) -> tuple[tuple[Index, ...], tuple[Index, ...], tuple[PairIndex, ...]]:
    """Indices from the values of a response on Saltelli's design (estimators: Saltelli 2010, of pairs: Saltelli 2002).

    Args:
        values: `n·(k+2)`, or `n·(2k+2)` with `second_order`, block after block as `saltelli_unit` gives the points.
        names: The k fields.
        second_order: Whether the design has what indices of pairs need.
        seed: Seed of the bootstrap over blocks, from 0.
        noise: Share of the values' variance that has nothing to do with the fields, independent from point to point. It
            is in the variance and in every ST, as in what all fields do together, and is taken off both.

    Returns:
        First order, total order, and pairs (none without `second_order`), each with a 95 % interval: the estimate ±
        1.96 bootstrap standard errors. Estimates and ends may lie a little outside 0 to 1. The bootstrap takes blocks
        for independent; as they are spread evenly, its intervals are mostly wide.

    Raises:
        ReportError: All values are the same.
    """
    from SALib.analyze import sobol  # type: ignore[import-untyped]

    refuse_constant("Sobol indices", values)
    found = sobol.analyze(
        {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)},
        np.asarray(values, dtype=np.float64),
        calc_second_order=second_order,
        num_resamples=_RESAMPLES,
        seed=seed + 1,  # SALib takes a seed of 0 for none
    )
    rest = 1 - noise
    first, total = (
        tuple(
            Index(name, *(float((estimate - off + end) / rest) for end in (0.0, -half, half)))
            for name, estimate, half in zip(names, found[order], found[f"{order}_conf"], strict=True)
        )
        for order, off in (("S1", 0.0), ("ST", noise))
    )
    if not second_order:
        return first, total, ()
    pairs = [
        ((names[i], names[j]), float(found["S2"][i, j]) / rest, float(found["S2_conf"][i, j]) / rest)
        for i, j in itertools.combinations(range(len(names)), 2)
    ]
    return first, total, tuple(PairIndex(both, share, share - half, share + half) for both, share, half in pairs)
