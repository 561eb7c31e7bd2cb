"""Designs of blocks whose geometry an analysis relies on, in the unit cube: Saltelli's, and Morris' as SALib draws it.

The first blocks of a seed are the same however many are drawn, so that a design may grow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["morris_unit", "saltelli_unit"]


def saltelli_unit(k: int, n: int, *, second_order: bool, seed: int) -> NDArray[np.float64]:
    """Saltelli's design for Sobol indices on scrambled Sobol points (Saltelli 2002 and 2010, Owen 1998).

    A block belongs to one pair (a, b) of base points: a; for each field, a with that coordinate of b; with
    `second_order`, for each field, b with that coordinate of a; b.

    Which column of the Sobol points a coordinate of a or b gets is drawn by the seed (the column shift of Sun, Croke,
    Roberts and Jakeman 2021, doi 10.1016/j.ress.2021.107499). At any n, some three columns fill their cube unevenly,
    and scrambling leaves it so (Owen's gain is above 1). In fixed order these columns are the same fields' at every
    seed: their indices err by twice what a bootstrap over blocks sees, and more seeds do not mend it.

    Args:
        k: Number of fields.
        n: Number of blocks, a power of two.
        second_order: Whether indices of pairs are wanted.
        seed: Seed of the scrambling and of the order of columns, from 0.

    Returns:
        `n·(k+2) x k`, or `n·(2k+2) x k` with `second_order`; coordinates in [0, 1), block after block.
    """
    from scipy.stats import qmc

    generator = np.random.default_rng(seed)
    columns = generator.permutation(2 * k)
    a, b = np.split(qmc.Sobol(2 * k, rng=generator).random(n)[:, columns], 2, axis=1)
    blocks = np.repeat(a[:, None], 2 * k + 2 if second_order else k + 2, axis=1)
    fields = np.arange(k)
    blocks[:, 1 + fields, fields] = b
    if second_order:
        blocks[:, 1 + k :] = b[:, None]
        blocks[:, 1 + k + fields, fields] = a
    blocks[:, -1] = b
    return np.asarray(blocks.reshape(-1, k), dtype=np.float64)


def morris_unit(
    k: int, n: int, *, levels: int, seed: int, choices: Mapping[int, int] | None = None
) -> NDArray[np.float64]:
    """Random trajectories for elementary effects (Morris 1991): each field moves once, by levels / (2·(levels - 1)).

    A list of choices has no order that a step could go along: it moves from one to any other, each pair equally often
    (ours; by equal steps some would never be run, and some never compared).

    Args:
        k: Number of fields.
        n: Number of trajectories.
        levels: Number of equally spaced coordinates from 0 to 1 that a field may have, even.
        seed: From 0.
        choices: How many choices a field has that is a list of three or more, by its number.

    Returns:
        `n·(k+1) x k`, coordinates in [0, 1], trajectory after trajectory.
    """
    from SALib.sample import morris  # type: ignore[import-untyped]

    problem = {"num_vars": k, "names": [str(number) for number in range(k)], "bounds": [[0.0, 1.0]] * k}
    # SALib takes a seed of 0 for none.
    rows = np.asarray(morris.sample(problem, n, num_levels=levels, seed=seed + 1), dtype=np.float64)
    for field, count in (choices or {}).items():
        column = rows[:, field].reshape(n, k + 1)
        before, after = _pairs(count, n, np.random.default_rng([seed, field])).T[..., None]
        rows[:, field] = (np.where(np.isclose(column, column[:, :1]), before, after).ravel() + 0.5) / count
    return rows


def _pairs(count: int, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`n x 2` different numbers below `count`: round after round all pairs, in an order and a direction by chance."""
    pairs = np.array(list(combinations(range(count), 2)))
    rounds = [generator.permuted(generator.permutation(pairs), axis=1) for _ in range(math.ceil(n / len(pairs)))]
    return np.concatenate(rounds)[:n]
