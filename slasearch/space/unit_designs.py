"""Designs of blocks whose geometry an analysis relies on, in the unit cube, drawn by SALib: Saltelli's and Morris'.

The first blocks of a seed are the same however many are drawn, so that a design may grow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["morris_unit", "saltelli_unit"]


def saltelli_unit(k: int, n: int, *, second_order: bool, seed: int) -> NDArray[np.float64]:
    """Saltelli's design for Sobol indices on scrambled Sobol points (Saltelli 2002 and 2010, Owen 1998).

    A block belongs to one pair (a, b) of base points: a; for each field, a with that coordinate of b; with
    `second_order`, for each field, b with that coordinate of a; b.

    Args:
        k: Number of fields.
        n: Number of blocks, a power of two.
        second_order: Whether indices of pairs are wanted.
        seed: Seed of the scrambling, from 0.

    Returns:
        `n·(k+2) x k`, or `n·(2k+2) x k` with `second_order`; coordinates in [0, 1), block after block.
    """
    from SALib.sample import sobol  # type: ignore[import-untyped]

    return np.asarray(
        sobol.sample(_problem(k), n, calc_second_order=second_order, seed=_salib_seed(seed)), dtype=np.float64
    )


def morris_unit(k: int, n: int, *, levels: int, seed: int) -> NDArray[np.float64]:
    """Random trajectories for elementary effects (Morris 1991): each field moves once, by levels / (2·(levels - 1)).

    Args:
        k: Number of fields.
        n: Number of trajectories.
        levels: Number of equally spaced coordinates from 0 to 1 that a field may have, even.
        seed: From 0.

    Returns:
        `n·(k+1) x k`, coordinates in [0, 1], trajectory after trajectory.
    """
    from SALib.sample import morris

    return np.asarray(morris.sample(_problem(k), n, num_levels=levels, seed=_salib_seed(seed)), dtype=np.float64)


def _problem(k: int) -> dict[str, Any]:
    return {"num_vars": k, "names": [str(number) for number in range(k)], "bounds": [[0.0, 1.0]] * k}


def _salib_seed(seed: int) -> int:
    """SALib takes a seed of 0 for none."""
    return seed + 1
