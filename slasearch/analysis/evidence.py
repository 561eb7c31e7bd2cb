"""Everything that may be said of one arm minus another: the difference, its tests, its size, and how it is summed up.

A verdict needs p below .05 after Holm's adjustment over all comparisons that were made together. Non-inferiority is a
question of its own: each comparison answers it by itself, with a margin that was chosen before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from slasearch.analysis.effects import (
    detectable,
    improvement,
    paired_effect,
    unpaired_effect,
    unpaired_improvement,
)
from slasearch.analysis.frames import MEAN
from slasearch.analysis.intervals import holm
from slasearch.analysis.iqm import iqm_difference
from slasearch.analysis.paired import (
    MeanDifference,
    NonInferiority,
    Statistic,
    non_inferiority,
    paired_difference,
    signed_rank,
    welch_difference,
)
from slasearch.errors import ReportError

__all__ = ["MARGIN", "Evidence", "Standing", "adjusted", "contrast", "scores_by", "standing"]

Standing = Literal["better", "worse", "worse, within margin", "non-inferior", "not told apart", "no interval"]

MARGIN = 0.005
"""Loss of score that is taken not to matter where no other margin is given."""


@dataclass(frozen=True)
class Evidence:
    """One arm minus another on one series.

    Args:
        pairs: Every pair's own difference; empty where runs are not paired.
        difference: Mean and t-interval.
        p_holm: p of the difference, adjusted over all comparisons made together; None on single tasks.
        non_inferiority: Whether a loss of the margin or more can be excluded.
        signed_rank: Wilcoxon's test of the pairs, its own p adjusted as `signed_rank_holm`; None where it was refused.
        signed_rank_refused: Why it was refused; empty where it was not.
        effect: The standardised difference.
        improvement: The probability that the first is better.
        detectable: The smallest difference that these seeds would have told from zero.
        iqm: Difference of interquartile means over tasks, on the mean over tasks only.
    """

    pairs: tuple[float, ...]
    difference: MeanDifference
    non_inferiority: NonInferiority
    effect: Statistic
    improvement: Statistic
    detectable: Statistic
    signed_rank: Statistic | None = None
    signed_rank_refused: str = ""
    iqm: Statistic | None = None
    p_holm: float | None = None
    signed_rank_holm: float | None = None

    @property
    def standing(self) -> Standing:
        """How the first arm stands to the second: by p at .05, adjusted where it is, and by the margin."""
        p = self.difference.p if self.p_holm is None else self.p_holm
        return standing(self.difference.estimate, p, self.non_inferiority)


def standing(difference: float, p: float | None, non_inferiority: NonInferiority) -> Standing:
    """What may be said of a difference (first minus second) with this two-sided p, None where it has no interval."""
    if p is None:
        return "no interval"
    if p < 0.05 and difference > 0:
        return "better"
    if non_inferiority.holds:
        return "worse, within margin" if p < 0.05 else "non-inferior"
    return "worse" if p < 0.05 else "not told apart"


def scores_by(scores: pd.DataFrame, keys: Sequence[str], series: Sequence[str]) -> pd.DataFrame:
    """One arm's scores: a row for each run, by its keys, and a column for each series; NaN where there is none.

    Args:
        scores: Columns `series`, `value` and the keys. Several values of one run and series are averaged.
        keys: What tells runs apart, such as their seeds.
        series: Columns of the result.
    """
    means = scores.groupby([*keys, "series"])["value"].mean()
    return means.unstack("series").reindex(columns=list(series)).astype("float64")


def contrast(first: pd.DataFrame, second: pd.DataFrame, *, paired: bool, margin: float) -> dict[str, Evidence]:
    """The evidence on every series.

    Args:
        first: As `scores_by` makes it.
        second: The same of the other arm, with the same columns.
        paired: Whether runs of equal keys are pairs; runs without a partner are then in no pair.
        margin: Of non-inferiority, in the unit of the scores.

    Raises:
        ReportError: The margin is none.
    """
    if paired:
        common = first.index.intersection(second.index).sort_values()
        first, second = first.loc[common], second.loc[common]
    make = _paired if paired else _unpaired
    found = {series: make(first[series], second[series], margin) for series in first.columns}
    tasks = [series for series in first.columns if series != MEAN]
    middle = iqm_difference(first[tasks], second[tasks], paired=paired)
    return {series: replace(one, iqm=middle) if series == MEAN else one for series, one in found.items()}


def _paired(first: pd.Series[float], second: pd.Series[float], margin: float) -> Evidence:
    pairs = tuple(float(value) for value in (first - second).dropna())
    difference = paired_difference(pairs)
    ranks, refused = None, ""
    try:
        ranks = signed_rank(pairs)
    except ReportError as error:
        refused = str(error)
    return Evidence(
        pairs=pairs,
        difference=difference,
        non_inferiority=non_inferiority(difference, margin),
        effect=paired_effect(pairs),
        improvement=improvement(pairs),
        detectable=detectable(difference),
        signed_rank=ranks,
        signed_rank_refused=refused,
    )


def _unpaired(first: pd.Series[float], second: pd.Series[float], margin: float) -> Evidence:
    difference = welch_difference(first, second)
    return Evidence(
        pairs=(),
        difference=difference,
        non_inferiority=non_inferiority(difference, margin),
        effect=unpaired_effect(first, second),
        improvement=unpaired_improvement(first, second),
        detectable=detectable(difference),
        signed_rank_refused="Signed-rank test: expected pairs of seeds, got runs with other seeds.",
    )


def adjusted(found: Sequence[Evidence]) -> list[Evidence]:
    """The same with Holm's adjustment over all of them, of both tests."""
    t_tests = holm([one.difference.p for one in found])
    ranks = holm([one.signed_rank.p if one.signed_rank else None for one in found])
    return [replace(one, p_holm=p, signed_rank_holm=rank) for one, p, rank in zip(found, t_tests, ranks, strict=True)]
