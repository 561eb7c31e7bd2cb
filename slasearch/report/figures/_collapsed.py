"""Trials that collapsed: so far below all others that an axis that held them would show nothing else."""

from __future__ import annotations

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray

__all__ = ["ARROW", "collapsed_note", "score_floor"]

ARROW = Path([(-0.1, 1), (0.1, 1), (0.1, -0.1), (0.5, -0.1), (0, -1), (-0.5, -0.1), (-0.1, -0.1), (-0.1, 1)])
"""The printed mark of a trial below the axis; plotly's is `arrow-down`."""

_FEWEST = 10
"""Trials from which quartiles say what is far from the others."""

_FENCE = 3.0
"""Quartile ranges below the lower quartile from which a score is far out (Tukey 1977, outer fence)."""


def score_floor(scores: NDArray[np.float64]) -> float:
    """The lowest score that an axis has to hold; scores below it (NaN: missing) are to be drawn as arrows at its end.

    That is the lowest of all, unless those beyond the fence, a learning rate too high for instance, would take more
    than half of the axis.
    """
    known = np.sort(scores[np.isfinite(scores)])
    if len(known) < _FEWEST:
        return -np.inf
    lower, upper = np.quantile(known, [0.25, 0.75])
    near = known[known >= lower - _FENCE * (upper - lower)]
    wasted = near[0] - known[0] > near[-1] - near[0] > 0
    return float(near[0] if wasted else known[0])


def collapsed_note(scores: NDArray[np.float64], floor: float) -> str:
    """What a footnote says of scores below the axis; nothing where there are none."""
    below = scores[scores < floor]
    if not len(below):
        return ""
    if len(below) == 1:
        return f"arrow: a trial below the axis, score {below[0]:.3f}"
    return f"arrows: {len(below)} trials below the axis, the lowest score {below.min():.3f}"
