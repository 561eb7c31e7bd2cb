"""What became of the trials: none is dropped silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from slasearch.analysis.frames import StudyFrames
from slasearch.search.job import SEARCH_PHASES

__all__ = ["Counts", "Failure", "count_trials", "failures"]


@dataclass(frozen=True)
class Counts:
    """Trials by their last state; `repeated` are lost attempts that a later attempt took over (in no other count)."""

    complete: int
    pruned: int
    failed: int
    open: int
    repeated: int

    @property
    def total(self) -> int:
        """Trials, each counted once however many attempts it took."""
        return self.complete + self.pruned + self.failed + self.open

    def text(self) -> str:
        """`21 complete, 4 pruned, 1 failed`, and what else there is, for footnotes."""
        parts = [f"{self.complete} complete", f"{self.pruned} pruned", f"{self.failed} failed"]
        if self.open:
            parts.append(f"{self.open} not finished")
        if self.repeated:
            parts.append(f"{self.repeated} lost and repeated")
        return ", ".join(parts)


@dataclass(frozen=True)
class Failure:
    """Trials that failed for one reason."""

    reason: str
    numbers: tuple[str, ...]
    repeated: int


def count_trials(frames: StudyFrames, *phases: str) -> Counts:
    """Counts over the given phases, or over all."""
    trials = frames.trials
    if phases:
        trials = trials[trials["phase"].isin(phases)]
    taken_over = trials["trial_id"].isin(frames.trials["retry_of"].dropna())
    states = trials.loc[~taken_over, "state"].value_counts()
    complete, pruned, failed = (int(states.get(state, 0)) for state in ("complete", "pruned", "fail"))
    return Counts(complete, pruned, failed, int(states.sum()) - complete - pruned - failed, int(taken_over.sum()))


def failures(frames: StudyFrames) -> tuple[Failure, ...]:
    """Failed attempts by reason, the most frequent first; `numbers` name them as `12` (search) or `c3` (the others)."""
    failed = frames.trials[frames.trials["state"] == "fail"]
    taken_over = failed["trial_id"].isin(frames.trials["retry_of"].dropna())
    reasons = failed["reason"].fillna("no reason was stored").str.split("\n").str[0]
    found = [
        Failure(str(reason), tuple(_labels(rows)), int(taken_over[rows.index].sum()))
        for reason, rows in failed.groupby(reasons, sort=False)
    ]
    return tuple(sorted(found, key=lambda failure: -len(failure.numbers)))


def _labels(trials: pd.DataFrame) -> Iterator[str]:
    for phase, number in zip(trials["phase"], trials["number"], strict=True):
        yield ("" if phase in SEARCH_PHASES else "c") + ("?" if pd.isna(number) else f"{number:.0f}")
