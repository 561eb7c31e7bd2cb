"""Which trials, or means of settings, keep a study's constraints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slasearch.config.constraints import ConstraintConfig

__all__ = ["within", "within_all"]


def within(bound: ConstraintConfig, trials: pd.DataFrame) -> NDArray[np.bool_]:
    """`n`: which trials keep a bound; one without a value does not."""
    values = trials[bound.name].to_numpy(np.float64).tolist()
    return np.array([bound.excess(value) <= 0 for value in values], dtype=np.bool_)


def within_all(bounds: Sequence[ConstraintConfig], trials: pd.DataFrame) -> NDArray[np.bool_]:
    """`n`: which trials, or means of settings, keep every bound."""
    kept = np.ones(len(trials), dtype=np.bool_)
    for bound in bounds:
        kept &= within(bound, trials)
    return kept
