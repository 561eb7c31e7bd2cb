"""Whether trials lack a result because of a field: then what is left of the trials is no fair sample of the space.

For each field, the values at settings that lack a result are compared with those at the others: numbers by the exact
two-sample Kolmogorov-Smirnov test, which sees any difference of distributions, each choice by Fisher's exact test. The
p-values of a field's choices are multiplied by their number (Bonferroni), those of all fields adjusted by Holm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.intervals import holm

__all__ = ["Missing", "missing_results", "missing_words"]

_LEVEL = 0.05


@dataclass(frozen=True)
class Missing:
    """A field on which it depends whether a result is missing: at `missing` of `settings` settings; `p` after Holm."""

    field: str
    missing: int
    settings: int
    p: float


def missing_results(frames: StudyFrames, trials: pd.DataFrame, response: str) -> tuple[Missing, ...]:
    """The fields with which missing results are associated at a level of .05.

    Args:
        frames: The study.
        trials: Rows of one or several phases. One counts as missing if it failed for good, or is complete without a
            finite `response`. Pruned trials, open ones and attempts that were made again are not looked at.
        response: Name of a column of `trials`.
    """
    ended = trials[trials["state"].isin(("complete", "fail")) & ~trials["trial_id"].isin(frames.trials["retry_of"])]
    lacking = (ended["state"] == "fail") | ~np.isfinite(ended[response].to_numpy(np.float64))
    configurations = frames.configurations.loc[ended["trial_id"]].to_numpy()
    # A setting that cannot be trained fails under each of its seed pairs: it counts once.
    gone = lacking.groupby(configurations).transform("any")[~pd.Series(configurations, index=ended.index).duplicated()]
    params = frames.params.set_index("trial_id").loc[ended.loc[gone.index, "trial_id"]]
    is_gone = gone.to_numpy()
    found = {str(name): _p(values, is_gone) for name, values in params.items()}
    adjusted = zip(found, holm(list(found.values())), strict=True)
    return tuple(
        Missing(name, int(is_gone.sum()), len(is_gone), p) for name, p in adjusted if p is not None and p < _LEVEL
    )


def _p(values: pd.Series, gone: np.ndarray) -> float | None:
    """P that a field's values, one for each setting, are the same whether a result is missing; None without a test."""
    used = values.notna().to_numpy()
    mine, others = values[used & gone], values[used & ~gone]
    if mine.empty or others.empty or values.nunique() < 2:
        return None
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return float(stats.ks_2samp(mine.astype(float), others.astype(float)).pvalue)
    mine, others = mine.astype(str), others.astype(str)
    choices = pd.concat([mine, others]).unique()
    p_values = [
        stats.fisher_exact([[(arm == choice).sum(), (arm != choice).sum()] for arm in (mine, others)]).pvalue
        for choice in choices
    ]
    return min(1.0, len(choices) * float(min(p_values)))


def missing_words(missing: tuple[Missing, ...]) -> tuple[str, ...]:
    """A warning for each of the fields."""
    return tuple(
        f"results are missing at {one.missing} of {one.settings} settings, depending on {one.field} (p {one.p:.2g} "
        "after Holm): the rest is not a random sample, and what it says of this field may be biased"
        for one in missing
    )
