"""What a study has confirmed, as arms: a winner with the controls beside it, each a role with runs under seed pairs."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.goals import confirmed_winners
from slasearch.analysis.intervals import Estimate, t_interval
from slasearch.analysis.measure import Measure, measured_scores
from slasearch.analysis.roles import control_name, role_label
from slasearch.errors import ReportError

__all__ = ["SEEDS", "WHAT", "ArmName", "Group", "full_role", "group_of", "run_seconds"]

WHAT = "Comparison of arms"
SEEDS = ("init_seed", "data_seed")
"""What runs of two arms must share to be a pair."""


@dataclass(frozen=True)
class ArmName:
    """A role of a study; `trial` is the number of the search trial that was confirmed with it."""

    study: str
    role: str
    trial: int

    @property
    def label(self) -> str:
        """`mine: LoRA`, of a winner `mine: Searched structures (trial 15)`."""
        trial = f" (trial {self.trial})" if self.role == "winner" else ""
        return f"{self.study}: {role_label(self.role)}{trial}"


@dataclass(frozen=True)
class Group:
    """A winner of a study with its controls: attempts of `confirm`, and the scores of the measure."""

    label: str
    frames: StudyFrames
    pair_of: int
    runs: pd.DataFrame
    scores: pd.DataFrame

    @property
    def roles(self) -> list[str]:
        """The winner and the controls that have complete runs."""
        return self.frames.confirm_roles(self.runs[self.runs["state"] == "complete"])

    def named(self, role: str) -> ArmName:
        """The arm of a role, which may stand without `control:`. Raises ReportError if it has no complete runs."""
        full = full_role(role)
        if full not in self.roles:
            known = ", ".join(map(control_name, self.roles))
            raise ReportError(
                f"{WHAT}: expected a role with complete runs in {self.label} ({known}), got {control_name(role)}. "
                "Take one of these."
            )
        return ArmName(self.label, full, self.frames.number_of(self.pair_of))

    def complete(self, role: str) -> pd.DataFrame:
        """Complete runs of a role with their seeds: a row for each series of scores."""
        mine = self.runs[(self.runs["role"] == role) & (self.runs["state"] == "complete")]
        return mine.merge(self.scores, on="trial_id")

    def failed(self, role: str) -> int:
        """How many runs of a role failed for good."""
        return self.frames.failed(self.runs[self.runs["role"] == role])


def run_seconds(trials: pd.DataFrame) -> Estimate:
    """Time of one run on its worker in s, from its start to its end: data, training, evaluation."""
    return t_interval(trials["ended_at"] - trials["started_at"])


def full_role(role: str) -> str:
    """`winner`, or a control with `control:` before it."""
    return role if role == "winner" else f"control:{control_name(role)}"


def group_of(label: str, frames: StudyFrames, trial: int | None, measure: Measure) -> Group:
    """The winner that a study has confirmed, or that of a search trial, with its controls.

    Args:
        label: What the study is to be called.
        frames: The study.
        trial: Number of the search trial whose confirmation is meant; None: the first of `confirmed_winners`.
        measure: What is compared.

    Raises:
        ReportError: Nothing has been confirmed, or not this trial.
    """
    by_number = {frames.number_of(winner): winner for winner in confirmed_winners(frames)}
    if not by_number:
        raise ReportError(
            f"{WHAT}: expected complete trials of the confirm phase of {label}, got none. "
            "Add `phases.confirm` to the study, or run it to its end."
        )
    if trial is not None and trial not in by_number:
        known = ", ".join(map(str, by_number))
        raise ReportError(
            f"{WHAT}: expected a trial that {label} has confirmed ({known}), got {trial}. Take one of these."
        )
    pair_of = next(iter(by_number.values())) if trial is None else by_number[trial]
    return Group(label, frames, pair_of, frames.confirmed(pair_of), measured_scores(frames, measure))
