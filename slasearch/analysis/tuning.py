"""How the controls of a comparison were tuned, and how that is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from slasearch.analysis.counts import count_trials
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.roles import control_name, layout_label, role_label, role_phrase
from slasearch.registry import CONTROL_VARIANTS, UNSIZED_CONTROLS
from slasearch.search.job import SEARCH_PHASES
from slasearch.search.tuning import effort, tuning_count
from slasearch.search.winners import FINALIST, Goal

__all__ = ["Tuning", "finalist_terms", "picked", "searched_trials", "tuning_cautions", "tuning_of", "tuning_terms"]


@dataclass(frozen=True)
class Tuning:
    """How one control was tuned for one winner.

    Args:
        trials: Tuning trials that have ended, failed ones too.
        complete: Those of them that may decide.
        layouts: How many of its layouts they tried.
        variant: The layout that was confirmed; None where it has none, or nothing was picked.
        best: Id of the first tuning trial of the settings that were confirmed, None where none is complete.
        value: The mean of `goal` over the complete trials of these settings.
        seeds: Under how many seed pairs settings were tried.
        finalists: How many of them were tried again; 1: none were.
        finalist_seeds: Under how many seed pairs these were tried in all.
        needless: Whether there was nothing to choose: no searched field acts on it, and it has one layout.
        goal: What the best was picked by.
    """

    trials: int = 0
    complete: int = 0
    layouts: int = 0
    variant: str | None = None
    best: int | None = None
    value: float | None = None
    seeds: int = 1
    finalists: int = 1
    finalist_seeds: int = 1
    needless: bool = False
    goal: Goal = "score"

    @property
    def tuned(self) -> bool:
        """Whether its values and layout are its own, and not the winner's and the first."""
        return self.best is not None


def searched_trials(frames: StudyFrames) -> int:
    """How many trials the search has made, its finalists' included, each counted once."""
    tune = frames.phase_trials("tune")
    again = tune[(tune["role"] == FINALIST) & ~tune["trial_id"].isin(tune["retry_of"].dropna())]
    return count_trials(frames, *SEARCH_PHASES).total + len(again)


def tuning_of(
    frames: StudyFrames, role: str, pair_of: int, variant: str | None, by: Mapping[int | None, Goal]
) -> Tuning:
    """How one control was tuned.

    Args:
        frames: The study.
        role: `control:NAME`.
        pair_of: The winner's search trial; a control without a size to match was tuned once for all winners.
        variant: The layout that was confirmed.
        by: What controls are tuned by, as `goals_of` has it.
    """
    goal = by.get(None if control_name(role) in UNSIZED_CONTROLS else pair_of, "score")
    trials = frames.phase_trials("tune")
    mine = trials[(trials["role"] == role) & ((trials["pair_of"] == pair_of) | trials["pair_of"].isna())]
    complete = mine[mine["state"] == "complete"]
    confirm = frames.config.phases.confirm
    seeds, finalists = (confirm.tuning_seeds, confirm.finalists) if confirm else (1, 1)
    settings = _ranked(complete[complete["repeat"] < seeds], goal)
    again = complete.loc[complete["repeat"] >= seeds, "point"]
    final = _ranked(complete[complete["point"].isin([*settings.index[:finalists], *again])], goal)
    final = final.sort_values("lone", kind="stable")
    allowed = effort(confirm, count_trials(frames, *SEARCH_PHASES).total) if confirm else 0
    return Tuning(
        trials=len(complete) + frames.failed(mine),
        complete=len(complete),
        layouts=mine["control_variant"].nunique(),
        variant=variant,
        best=int(final["first"].iloc[0]) if len(final) else None,
        value=float(final["value"].iloc[0]) if len(final) else None,
        seeds=seeds,
        finalists=min(finalists, len(settings)) if len(again) else 1,
        finalist_seeds=confirm.finalist_seeds if confirm else 1,
        needless=allowed > 1 and tuning_count(frames.config, control_name(role), allowed) == 0,
        goal=goal,
    )


def _ranked(trials: pd.DataFrame, goal: Goal) -> pd.DataFrame:
    """Mean and first trial of each setting, and whether that is its only one, by its number, the best first."""
    settings = trials.groupby("point").agg(value=(goal, "mean"), first=("trial_id", "min"), runs=("trial_id", "size"))
    return settings.assign(lone=settings["runs"] == 1).sort_values(["value", "first"], ascending=[False, True])


_BORROWED = "the winner's hyperparameters (learning rate included), which favours the search"


def tuning_terms(tunings: Mapping[str, Tuning], searched: int) -> Iterator[str]:
    """What is said of the tuning of all controls of a winner, as clauses.

    Args:
        tunings: By role.
        searched: How many trials the search has made.
    """
    if not tunings:
        return
    counts = Counter(one.trials for one in tunings.values() if one.tuned)
    bare = [role for role, one in tunings.items() if not one.tuned and not one.needless]
    if counts:
        most = counts.most_common(1)[0][0]
        others = [
            f"{role_phrase(role)} {f'with {one.trials}' if one.tuned else 'had nothing to tune'}"
            for role, one in tunings.items()
            if (one.tuned and one.trials != most) or one.needless
        ]
        aside = f" ({', '.join(others)})" if others else ""
        yield f"controls were tuned with {most} trials each{aside}, the search with {searched}"
        seeds = max(one.seeds for one in tunings.values())
        if seeds > 1:
            yield f"each of their settings was tried under {seeds} seed pairs and counts by the mean"
        yield from finalist_terms(tunings)
        yield _goal_term({role: one for role, one in tunings.items() if one.tuned})
    if bare and counts:
        yield f"not tuned, hence trained with {_BORROWED}: {', '.join(role_phrase(role) for role in bare)}"
    elif bare:
        yield f"controls were tuned with 0 trials each, the search with {searched}: they train with {_BORROWED}"


def finalist_terms(tunings: Mapping[str, Tuning]) -> Iterator[str]:
    """That the best settings were tried again before one was picked, if they were, as a clause."""
    again = max(tunings.values(), key=lambda one: one.finalists, default=Tuning())
    if again.finalists > 1:
        yield (
            f"the best settings of each control, and of the search, {again.finalists} at most, were tried under "
            f"{again.finalist_seeds} seed pairs before one was picked"
        )


_PICKED: Mapping[Goal, str] = {
    "score": "by validation score",
    "robustness": "by robustness on validation, by which alone their winner was chosen",
}


def _goal_term(tuned: Mapping[str, Tuning]) -> str:
    """By what settings were picked, with the names of the controls for which it is not as for most."""
    most = Counter(one.goal for one in tuned.values()).most_common(1)[0][0]
    others = {role_phrase(role): one.goal for role, one in tuned.items() if one.goal != most}
    aside = f" ({', '.join(others)} {_PICKED[next(iter(others.values()))]})" if others else ""
    return f"settings picked {_PICKED[most]}{aside}"


def tuning_cautions(tunings: Mapping[str, Tuning]) -> Iterator[str]:
    """What went wrong, or was left out, in the tuning of a winner's controls."""
    for role, one in tunings.items():
        if one.trials and not one.complete:
            yield (
                f"{role_label(role)}: all {one.trials} tuning trials failed, "
                "so it was trained with the winner's hyperparameters"
            )
        known = len(CONTROL_VARIANTS.get(control_name(role), ()))
        if one.trials and one.layouts < known:
            yield f"{role_label(role)}: {one.layouts} of its {known} layouts were tried in tuning"


def picked(tunings: Mapping[str, Tuning]) -> str:
    """`layouts picked on validation: LoRA last layers, …` as a clause; empty without any."""
    found = [f"{role_phrase(role)} ({layout_label(one.variant)})" for role, one in tunings.items() if one.variant]
    return f"layouts picked on validation: {', '.join(found)}" if found else ""
