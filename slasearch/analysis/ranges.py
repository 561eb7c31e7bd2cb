"""What a curve says about the levels to choose: where the score is as good as its best, and from where on it falls.

Both compare levels pair by pair over what they share (a seed pair, or a trial measured at several levels), with paired
t-tests adjusted by Holm: over the levels beside the lowest for a fall, over all pairs of levels for the best, since
which level is the best is read off the same scores. Levels that are not told apart may still differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from slasearch.analysis.curves import Curve, Level
from slasearch.analysis.frames import MEAN
from slasearch.analysis.intervals import Estimate, holm, p_of_zero, t_interval

__all__ = ["BestRange", "Fall", "best_range", "fall"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class BestRange:
    """The best level and those that are not told apart from it, in order, from `n` pairs; of numbers its neighbours.

    `means` are those of all levels over these pairs. `rest_worse`: whether every other level is told apart from the
    best, and not only the next ones.
    """

    best: Level
    means: Mapping[Level, Estimate]
    alike: tuple[Level, ...]
    n: int
    rest_worse: bool

    @property
    def low(self) -> Level:
        """The first of them."""
        return self.alike[0]

    @property
    def high(self) -> Level:
        """The last of them."""
        return self.alike[-1]


@dataclass(frozen=True)
class Fall:
    """The level from which on every mean is told to be below that of the lowest level; None: from none up to `last`.

    `change` is the mean difference there (at the last level, where there is none), over `n` pairs.
    """

    start: float | None
    last: float
    change: float
    n: int


def best_range(curve: Curve, blocks: Mapping[int, int] | None = None) -> BestRange | None:
    """The range of levels that are as good as the best by the mean over tasks.

    Args:
        curve: Higher is better.
        blocks: For each trial what it shares with trials of other levels, such as its seed repeat; None: its own id.

    Returns:
        None where there are no intervals: one seed pair tells nothing apart.
    """
    table = _paired(curve, blocks)
    if table is None:
        return None
    order: list[Level] = list(table.columns)
    low = high = int(np.argmax(table.mean()))
    best = order[low]
    means = {level: t_interval(table[level]) for level in order}
    known = _beside(table, best)
    if all(p is None for p in known.values()):
        return None
    as_good = [level for level in order if level == best or _alike(known[level])]
    if curve.scale == "category":
        return BestRange(best, means, tuple(as_good), len(table), True)
    while low > 0 and order[low - 1] in as_good:
        low -= 1
    while high + 1 < len(order) and order[high + 1] in as_good:
        high += 1
    return BestRange(best, means, tuple(order[low : high + 1]), len(table), len(as_good) == high + 1 - low)


def fall(curve: Curve, blocks: Mapping[int, int] | None = None) -> Fall | None:
    """From which level on the mean over tasks is below that of the lowest level, there and at every higher one.

    Args:
        curve: Of a numeric factor; higher is better.
        blocks: As for `best_range`.

    Returns:
        None for categories, and where there are no intervals.
    """
    table = None if curve.scale == "category" else _paired(curve, blocks)
    if table is None or table.shape[1] < 2:
        return None
    base, *others = (float(level) for level in table.columns)
    known = _p_values(table, base, others)
    if all(p is None for p in known.values()):
        return None
    changes = (table[others].sub(table[base], axis=0)).mean()
    start = None
    for level in reversed(others):
        if changes[level] >= 0 or _alike(known[level]):
            break
        start = level
    shown = others[-1] if start is None else start
    return Fall(start, others[-1], float(changes[shown]), len(table))


def _paired(curve: Curve, blocks: Mapping[int, int] | None) -> pd.DataFrame | None:
    """The mean over tasks with a row for each block that has every level, a column for each level in order."""
    rows = [
        (curve.levels.index(point.level), trial if blocks is None else blocks[trial], value)
        for point in curve.named(MEAN).points
        for trial, value in zip(point.trial_ids, point.values, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["level", "block", "value"])
    wide = table.pivot_table(index="block", columns="level", values="value", aggfunc="mean").dropna()
    wide = wide.set_axis([curve.levels[int(place)] for place in wide.columns], axis="columns")
    return wide if len(wide) and wide.shape[1] else None


def _p_values(table: pd.DataFrame, base: float, others: list[float]) -> dict[float, float | None]:
    return dict(zip(others, holm([_p(table, level, base) for level in others]), strict=True))


def _beside(table: pd.DataFrame, best: Level) -> dict[Level, float | None]:
    """The p of every other level beside the best, adjusted over all pairs of levels."""
    pairs = list(combinations(table.columns, 2))
    adjusted = zip(pairs, holm([_p(table, *pair) for pair in pairs]), strict=True)
    return {one if other == best else other: p for (one, other), p in adjusted if best in (one, other)}


def _p(table: pd.DataFrame, one: Level, other: Level) -> float | None:
    return p_of_zero(t_interval(table[one] - table[other]))


def _alike(p: float | None) -> bool:
    return p is None or p >= _SIGNIFICANT
