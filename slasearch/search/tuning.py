"""How a control is tuned before it is confirmed: on validation, over the search's space, in a known number of trials.

Its first settings try each of its layouts once with the winner's values. The others are for the best third of the
layouts, in turn: points of a scrambled Sobol sequence over the searched fields that act on it (`FELT`; for a control
that is a search itself all but those of size control); other fields keep the winner's values. Where these fields are
choices from lists, a layout goes through their combinations instead, so that nothing is tried twice, and once the best
layouts have been through all of them the other layouts follow. `random_best` draws a structure a setting, all with the
winner's values. With `tuning_seeds` each setting is trained under several seed pairs, those of the search, and counts
by its mean; with `finalists` the best are tried under more. The best on validation is confirmed: by the score, or by
robustness where the winner was chosen by that alone.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from slasearch.config.schema import ConfirmPhase, StudyConfig
from slasearch.registry import CONTROL_VARIANTS, DRAWN_CONTROLS, SEARCHING_CONTROLS
from slasearch.search.felt import FELT, acts_on
from slasearch.search.winners import FINALIST, Goal
from slasearch.space.design import sobol_values
from slasearch.space.parameters import Parameter, active_only, parameters
from slasearch.storage.rows import TrialRow

__all__ = [
    "Settings",
    "best_tuned",
    "effort",
    "first_settings",
    "ranked_tuned",
    "settings_of",
    "tuning_count",
]

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


def first_settings(control: str) -> int:
    """How many settings of a control are known from the start: as many as layouts, all of them where there is one."""
    layouts = len(_variants(control))
    return layouts if layouts > 1 else sys.maxsize


def settings_of(
    config: StudyConfig, control: str, winner: TrialRow, number: int, tried: Sequence[TrialRow] = ()
) -> Settings:
    """The settings of this `number` (from 0) that a control is tuned with, the same however many there are.

    Args:
        config: The study.
        control: Name of the control.
        winner: The search trial whose values it starts from.
        number: Which of its settings; below `tuning_count`.
        tried: A complete trial of each of the first settings, the best first: it says which layouts the others are of.
    """
    if control in DRAWN_CONTROLS:
        return Settings(winner.values, str(number), "fixed")
    variants = _variants(control)
    if number < len(variants):
        return Settings(winner.values, variants[number], "fixed")
    later = number - len(variants)
    ranked = tuple(dict.fromkeys((*(trial.control_variant for trial in tried), *variants)))
    kept = ranked[: -(-len(ranked) // 3)]
    if (combinations := _combinations(config, control)) is not None:
        others = [one for one in combinations if any(winner.values.get(name) != value for name, value in one.items())]
        if later >= len(kept) * len(others):
            later, kept = later - len(kept) * len(others), ranked[len(kept) :]
        turn, place = divmod(later, len(kept))
        variant, point, sampler = kept[place], others[turn], "grid"
    else:
        variant, sampler = kept[later % len(kept)], "qmc"
        (point,) = deque(sobol_values(_felt(config, control), later + 1, config.seed), maxlen=1)
    found = parameters(config)
    # The winner has no value for a field that was not active in it.
    middle = {parameter.name: parameter.encode(parameter.middle) for parameter in found}
    return Settings(active_only(found, {**middle, **winner.values, **point}), variant, sampler)


def best_tuned(
    trials: Iterable[TrialRow], goals: Mapping[int | None, Goal], confirm: ConfirmPhase
) -> dict[tuple[str, int | None], TrialRow]:
    """The first trial of the best settings of each control, by its role and winner."""
    return {control: settings[0] for control, settings in ranked_tuned(trials, goals, confirm).items()}


def ranked_tuned(
    trials: Iterable[TrialRow], goals: Mapping[int | None, Goal], confirm: ConfirmPhase
) -> dict[tuple[str, int | None], list[TrialRow]]:
    """The first trial of each of a control's settings, the best settings first, by its role and winner.

    Settings count by the mean over their complete trials under the seed pairs that all of them are tried under, and
    then the best, the finalists, and former ones by the mean over all of theirs, those that have still a single trial
    behind those with more; ties go to the earlier ones.

    Args:
        trials: Trials of the study, those of other phases too.
        goals: What decides, by the id of the winner, which is None for controls beside all winners; the score where
            it says nothing.
        confirm: Says how many finalists there are, and under how many seed pairs the others are tried.
    """
    tried: dict[tuple[str, int | None], dict[int | None, list[TrialRow]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.id):
        goal = goals.get(trial.pair_of, "score")
        mine = trial.phase == "tune" and trial.role != FINALIST
        if mine and trial.state == "complete" and trial.objective(goal) is not None:
            tried.setdefault((trial.role, trial.pair_of), {}).setdefault(trial.point, []).append(trial)

    def mean(runs: Sequence[TrialRow]) -> float:
        return fmean(run.objective(goals.get(run.pair_of, "score")) or 0.0 for run in runs)

    def rank(runs: Sequence[TrialRow]) -> tuple[float, int]:
        return -mean(runs), runs[0].id

    def first(runs: Sequence[TrialRow]) -> Sequence[TrialRow]:
        return [run for run in runs if run.repeat < confirm.tuning_seeds] or runs

    found = {}
    for control, settings in tried.items():
        ranked = sorted(settings.values(), key=lambda runs: rank(first(runs)))
        again = [len(first(runs)) < len(runs) for runs in ranked]
        final = [runs for place, runs in enumerate(ranked) if place < confirm.finalists or again[place]]
        others = [runs for place, runs in enumerate(ranked) if not (place < confirm.finalists or again[place])]
        final.sort(key=lambda runs: (len(runs) == 1, *rank(runs)))
        found[control] = [runs[0] for runs in (*final, *others)]
    return found


def _variants(control: str) -> tuple[str | None, ...]:
    return CONTROL_VARIANTS.get(control) or (None,)


def _felt(config: StudyConfig, control: str) -> tuple[Parameter, ...]:
    """The searched fields that a control is tuned over: those that act on it, but for its size and the pool it has."""
    search = control in SEARCHING_CONTROLS

    def tuned(name: str) -> bool:
        return not name.startswith("size_control.") if search else name.startswith(FELT)

    return tuple(p for p in parameters(config) if tuned(p.name) and acts_on(f"control:{control}", p.name))


def _combinations(config: StudyConfig, control: str) -> list[dict[str, Any]] | None:
    """Every combination of the searched fields that act on a control, shuffled; None where they are not countable.

    Countable are lists of choices, not very many, of which none waits for a field of another kind; a field that others
    leave inactive is left out. Without any field there is one combination, the empty one.
    """
    felt = _felt(config, control)
    names = [p.name for p in felt]
    if any(not p.choices or not set(p.when) <= set(names) for p in felt):
        return None
    if math.prod(len(p.choices) for p in felt) > _COUNTABLE:
        return None
    lists = [[p.encode(choice) for choice in p.choices] for p in felt]
    found: list[dict[str, Any]] = []
    for values in itertools.product(*lists):
        active = active_only(felt, dict(zip(names, values, strict=True)))
        if active not in found:
            found.append(active)
    random.Random(config.seed).shuffle(found)
    return found
