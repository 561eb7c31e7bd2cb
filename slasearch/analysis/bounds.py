"""Which complete trials of the search keep the study's constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slasearch.config.constraints import ConstraintConfig

if TYPE_CHECKING:
    import pandas as pd

    from slasearch.analysis.frames import StudyFrames

__all__ = ["KeptOut", "kept_out", "within", "within_all"]


@dataclass(frozen=True)
class KeptOut:
    """How many of the search's `complete` trials keep all constraints, and how many break each (some several)."""

    complete: int
    within: int
    broken: tuple[tuple[ConstraintConfig, int], ...]


def within(bound: ConstraintConfig, trials: pd.DataFrame) -> NDArray[np.bool_]:
    """`n`: which trials keep a bound; one without a value does not."""
    values = trials[bound.name].to_numpy(np.float64).tolist()
    return np.array([bound.excess(value) <= 0 for value in values], dtype=np.bool_)


def within_all(bounds: Sequence[ConstraintConfig], trials: pd.DataFrame) -> NDArray[np.bool_]:
    """`n`: which trials, or means of settings, keep every bound."""
    return np.all([np.ones(len(trials), dtype=np.bool_), *(within(bound, trials) for bound in bounds)], axis=0)


def kept_out(frames: StudyFrames) -> KeptOut | None:
    """What the constraints leave to be chosen among; None without any constraint."""
    bounds, complete = frames.config.constraints, frames.search_trials("complete")
    if not bounds:
        return None
    kept = [within(bound, complete) for bound in bounds]
    broken = tuple((bound, int((~keeps).sum())) for bound, keeps in zip(bounds, kept, strict=True))
    return KeptOut(len(complete), int(np.all(kept, axis=0).sum()), broken)
