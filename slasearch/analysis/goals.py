"""What the controls of a stored study were tuned by, and which of its winners stand, read from its frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slasearch.analysis.frames import StudyFrames
from slasearch.records import DIRECTIONS
from slasearch.search.winners import FINALIST, Goal, chosen, goals

__all__ = ["confirmed_winners", "goals_of"]


@dataclass(frozen=True)
class _Contender:
    """A complete search trial, for `chosen`."""

    id: int
    params: str
    values: Mapping[Any, float]

    def objective(self, name: str) -> float | None:
        return self.values[name]


def goals_of(frames: StudyFrames) -> dict[int | None, Goal]:
    """What decided among the tuning trials of controls, by the id of their winner; None: those beside all winners.

    Where the search has gone on and found better, an earlier winner's goal is that of the time when its controls were
    tuned. Without robustness among the objectives it is empty: the score decides everywhere.
    """
    config = frames.config
    confirm, objectives = config.phases.confirm, config.objectives
    if confirm is None or all(objective.name != "robustness" for objective in objectives):
        return {}
    contenders, again = _tried(frames)

    def goals_before(end: float) -> dict[int | None, Goal]:
        then, then_again = ([trial for trial in trials if trial.id < end] for trials in (contenders, again))
        return goals(chosen(objectives, then, confirm.top, config.constraints, confirm.finalists, then_again))

    found = goals_before(math.inf)
    tuned = frames.phase_trials("tune").dropna(subset=["pair_of"])
    tuned = tuned[tuned["role"] != FINALIST]
    for pair_of in (int(value) for value in tuned["pair_of"].unique() if value not in found):
        last = tuned.loc[tuned["pair_of"] == pair_of, "trial_id"].max()
        found[pair_of] = goals_before(last).get(pair_of, "score")
    return found


def confirmed_winners(frames: StudyFrames) -> list[int]:
    """Ids of the search trials with complete confirmed runs: present winners, then those that the search has overtaken.

    A study that has gone on may have found better: what was confirmed before is no answer any more, only evidence.
    """
    confirmed = frames.phase_trials("confirm", "complete")
    pairs = confirmed.loc[confirmed["role"] == "winner", "pair_of"].dropna()
    ids = [int(pair_of) for pair_of in pairs.unique()]
    confirm = frames.config.phases.confirm
    if confirm is None or len(ids) < 2:
        return ids
    contenders, again = _tried(frames)
    constraints, configurations = frames.config.constraints, frames.configurations
    best = chosen(frames.config.objectives, contenders, confirm.top, constraints, confirm.finalists, again)
    present = {configurations[winner.trial.id] for winner in best}
    return sorted(ids, key=lambda winner: configurations[winner] not in present)


def _tried(frames: StudyFrames) -> tuple[list[_Contender], list[_Contender]]:
    """The complete trials of the search, and those in which its finalists were tried again."""
    tune = frames.phase_trials("tune", "complete")
    search, again = frames.search_trials("complete"), tune[tune["role"] == FINALIST]
    return list(_contenders(frames, search)), list(_contenders(frames, again))


def _contenders(frames: StudyFrames, complete: pd.DataFrame) -> Iterator[_Contender]:
    params = frames.params.set_index("trial_id").loc[complete["trial_id"]].itertuples(index=False, name=None)
    values = complete[[*DIRECTIONS, "latency"]].to_dict("records")
    for trial_id, searched, measured in zip(complete["trial_id"], params, values, strict=True):
        yield _Contender(int(trial_id), str(searched), measured)
