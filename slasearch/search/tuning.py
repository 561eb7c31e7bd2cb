"""How a control is tuned before it is confirmed: on validation, over the search's space, in a known number of trials.

Its first trials try each of its layouts once with the winner's values. Those after them take points of a scrambled
Sobol sequence over the searched fields that act on it (`training.`, `conditions.train.`), the layouts in turn; fields
of pool, gates and size keep the winner's values. Where these fields are choices from lists, each layout goes through
their combinations in an order of its own instead, so that nothing is tried twice. `random_best` draws a structure a
trial, all with the winner's values. With `tuning_seeds` each of these settings is trained under several seed pairs,
those of the search, and counts by its mean. The best on validation is confirmed: by the score, or by robustness where
the winner was chosen by that alone.
"""

from __future__ import annotations

import itertools
import math
import random
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

_COUNTABLE = 1_000
"""Of more combinations a sequence of points hardly meets one twice."""


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

    There is no more to try than its layouts, each with every combination of the searched fields that act on it; and
    one candidate is no choice, so that it is not trained.
    """
    count = effort
    if control not in DRAWN_CONTROLS and (combinations := _combinations(config, control)) is not None:
        count = min(effort, len(_variants(control)) * len(combinations))
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
    later = number - len(variants)
    if (combinations := _combinations(config, control)) is not None:
        turn, layout = divmod(later, len(variants))
        order = deque(combinations)
        order.rotate(-layout)
        others = [one for one in order if any(winner.values.get(name) != value for name, value in one.items())]
        point, sampler = others[turn], "grid"
    else:
        sampler = "qmc"
        (point,) = deque(sobol_values(_felt(config, control), later + 1, config.seed), maxlen=1)
    found = parameters(config)
    # The winner has no value for a field that was not active in it.
    middle = {parameter.name: parameter.encode(parameter.middle) for parameter in found}
    return Settings(active_only(found, {**middle, **winner.values, **point}), variant, sampler)


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


def _combinations(config: StudyConfig, control: str) -> list[dict[str, Any]] | None:
    """Every combination of the searched fields that act on a control, shuffled; None where they are not countable.

    Countable are lists of choices that are always active, and not very many. Without any field there is one
    combination, the empty one.
    """
    felt = _felt(config, control)
    if any(not p.choices or p.when for p in felt) or math.prod(len(p.choices) for p in felt) > _COUNTABLE:
        return None
    names = [p.name for p in felt]
    lists = [[p.encode(choice) for choice in p.choices] for p in felt]
    found = [dict(zip(names, values, strict=True)) for values in itertools.product(*lists)]
    random.Random(config.seed).shuffle(found)
    return found
