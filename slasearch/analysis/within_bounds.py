"""What a study's constraints leave to be chosen among."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slasearch.analysis.bounds import within
from slasearch.analysis.frames import StudyFrames
from slasearch.config.constraints import ConstraintConfig

__all__ = ["KeptOut", "kept_out"]


@dataclass(frozen=True)
class KeptOut:
    """How many of the search's `complete` trials keep all constraints, and how many break each (some several)."""

    complete: int
    within: int
    broken: tuple[tuple[ConstraintConfig, int], ...]


def kept_out(frames: StudyFrames) -> KeptOut | None:
    """What the constraints leave to be chosen among; None without any constraint."""
    bounds, complete = frames.config.constraints, frames.search_trials("complete")
    if not bounds:
        return None
    kept = [within(bound, complete) for bound in bounds]
    broken = tuple((bound, int((~keeps).sum())) for bound, keeps in zip(bounds, kept, strict=True))
    return KeptOut(len(complete), int(np.all(kept, axis=0).sum()), broken)
