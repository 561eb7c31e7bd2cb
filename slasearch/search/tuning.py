"""How a control is tuned before it is confirmed: on validation, over the search's space, in a known number of trials.

Its first trials try each of its layouts once with the winner's values. Those after them take points of a scrambled
Sobol sequence over the searched fields that act on it (`training.`, `conditions.train.`), the layouts in turn; fields
of pool, gates and size keep the winner's values. `random_best` draws a structure a trial, all with the winner's values.
With `tuning_seeds` each of these settings is trained under several seed pairs, those of the search, and counts by its
mean. The best on validation is confirmed: by the score, or by robustness where the winner was chosen by that alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from slasearch.config.schema import ConfirmPhase, StudyConfig
from slasearch.registry import CONTROL_VARIANTS, DRAWN_CONTROLS, UNFELT_FIELDS
from slasearch.search.winners import Goal
from slasearch.space.design import sobol_values
from slasearch.space.parameters import Parameter, active_only, parameters
from slasearch.storage.rows import TrialRow

__all__ = ["FELT", "Settings", "best_tuned", "effort", "settings_of", "tuning_count"]

FELT = ("training.", "conditions.train.")
"""How the names of searched fields begin that act on controls too."""


@dataclass(frozen=True)
class Settings:
    """What a tuning trial trains with: values of the active searched fields as Optuna stores them, and a layout.

    `sampler` says where the values come from: `fixed` are the winner's own.
    """

    params: dict[str, Any]
    variant: str | None
    sampler: str


def effort(confirm: ConfirmPhase, searched: int) -> int:
    """How many settings of a control may be tried, where the search has made `searched` trials."""
    return searched // confirm.tuning_seeds if confirm.tuning == "equal" else confirm.tuning


def tuning_count(config: StudyConfig, control: str, effort: int) -> int:
    """How many of `effort` settings are tried for a control.

    Without a searched field that acts on it there is no more to try than its layouts; and one candidate is no choice,
    so that it is not trained.
    """
    free = control in DRAWN_CONTROLS or bool(_felt(config, control))
    count = effort if free else min(effort, len(_variants(control)))
    return count if count > 1 else 0


def settings_of(config: StudyConfig, control: str, winner: TrialRow, number: int) -> Settings:
    """The settings of this `number` (from 0) that a control is tuned with, the same however many there are.

    Args:
        config: The study.
        control: Name of the control.
        winner: The search trial whose values it starts from.
        number: Which of its settings; below `tuning_count`.
    """
    if control in DRAWN_CONTROLS:
        return Settings(winner.values, str(number), "fixed")
    variants = _variants(control)
    variant = variants[number % len(variants)]
    if number < len(variants):
        return Settings(winner.values, variant, "fixed")
    points = sobol_values(_felt(config, control), number - len(variants) + 1, config.seed)
    (point,) = deque(points, maxlen=1)
    found = parameters(config)
    # The winner has no value for a field that was not active in it.
    middle = {parameter.name: parameter.encode(parameter.middle) for parameter in found}
    return Settings(active_only(found, {**middle, **winner.values, **point}), variant, "qmc")


def best_tuned(trials: Iterable[TrialRow], goals: Mapping[int | None, Goal]) -> dict[tuple[str, int | None], TrialRow]:
    """The first trial of the best settings of each control, by its role and winner; ties go to the earlier ones.

    Settings count by the mean over their complete trials.

    Args:
        trials: Trials of the study, those of other phases too.
        goals: What decides, by the id of the winner, which is None for controls beside all winners; the score where
            it says nothing.
    """
    tried: dict[tuple[str, int | None], dict[int | None, list[TrialRow]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.id):
        goal = goals.get(trial.pair_of, "score")
        if trial.phase == "tune" and trial.state == "complete" and trial.objective(goal) is not None:
            tried.setdefault((trial.role, trial.pair_of), {}).setdefault(trial.point, []).append(trial)

    def mean(runs: list[TrialRow]) -> float:
        return fmean(run.objective(goals.get(run.pair_of, "score")) or 0.0 for run in runs)

    return {
        control: max(settings.values(), key=lambda runs: (mean(runs), -runs[0].id))[0]
        for control, settings in tried.items()
    }


def _variants(control: str) -> tuple[str | None, ...]:
    return CONTROL_VARIANTS.get(control) or (None,)


def _felt(config: StudyConfig, control: str) -> tuple[Parameter, ...]:
    """The searched fields that change something in a control's training."""
    unfelt = UNFELT_FIELDS.get(control, ())
    return tuple(p for p in parameters(config) if p.name.startswith(FELT) and p.name not in unfelt)
