"""The trials of `tune` and `confirm` that a study still lacks: controls tuned, then winners and controls over seeds.

A control of equal size is tuned for each winner under the seeds of the search, at the budget that the winner had; where
none bounds what is exported, at the size that the winner's search trial came to, and then it is confirmed at the size
of the winner's run of the same seed pair. A control without a size to match is tuned and confirmed once for the study,
from the first winner's values and by the first winner's goal. If more tuning finds better settings later, a control is
confirmed again with them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from slasearch.config.schema import BudgetSize, ConfirmPhase, StudyConfig
from slasearch.registry import UNSIZED_CONTROLS
from slasearch.search.finalists import control_finalists, missing_finalists, most_control_finalists, most_finalists
from slasearch.search.job import SEARCH_PHASES, Job
from slasearch.search.tuning import best_tuned, effort, first_settings, ranked_tuned, settings_of, tuning_count
from slasearch.search.winners import FINALIST, Goal, Winner, chosen, goals, searched, tried_again
from slasearch.storage.rows import TrialRow

__all__ = ["count_confirm", "count_tune", "missing_confirm", "missing_tune", "most_confirm", "most_tune"]


@dataclass(frozen=True)
class _Control:
    """One control beside one winner, tuned by its goal; `pair_of` None: beside all of them, tuned by the first's."""

    name: str
    winner: TrialRow
    pair_of: int | None
    goal: Goal

    @property
    def role(self) -> str:
        return f"control:{self.name}"

    @property
    def key(self) -> tuple[str, int | None]:
        """Its role, and the winner that it stands beside."""
        return self.role, self.pair_of


def _winners(config: StudyConfig, confirm: ConfirmPhase, trials: Sequence[TrialRow]) -> list[Winner[TrialRow]]:
    """The winners, each as the trial that stands for its configuration in `tune` and `confirm` already, if one does.

    Another seed pair may since have brought a better single run, and nothing is tuned and confirmed twice for that.
    """
    paired = {trial.pair_of for trial in trials if trial.role != FINALIST}
    standing = {trial.params: trial for trial in reversed(trials) if trial.id in paired}
    found = chosen(
        config.objectives,
        searched(trials),
        confirm.top,
        config.constraints,
        confirm.finalists,
        tried_again(trials),
    )
    return [replace(winner, trial=standing.get(winner.trial.params, winner.trial)) for winner in found]


def _controls(confirm: ConfirmPhase, best: Sequence[Winner[TrialRow]]) -> Iterator[_Control]:
    """Every control beside every winner, those without a size to match first, and once."""
    for name in confirm.controls:
        if name in UNSIZED_CONTROLS and best:
            yield _Control(name, best[0].trial, None, best[0].goal)
    for winner, name in product(best, confirm.controls):
        if name not in UNSIZED_CONTROLS:
            yield _Control(name, winner.trial, winner.trial.id, winner.goal)


def _size(config: StudyConfig, run: TrialRow) -> int:
    """Exported parameters that the controls beside a winner's run are held to; 0 if it has none."""
    reached = int(run.exported_parameters or 0) if run.state == "complete" else 0
    size = config.size_control
    if reached and isinstance(size, BudgetSize) and size.scope == "union":
        return int(run.values.get("size_control.parameters", size.parameters))
    return reached


# ---------------------------------------------------------------- tune


def missing_tune(config: StudyConfig, trials: Sequence[TrialRow]) -> Iterator[Job]:
    """The tuning trials that are not there yet, once the search has ended; `trials` are last attempts.

    What depends on how a control's first settings came out is left out until all of these have ended, and what depends
    on how the search's finalists came out, which is the winner that controls are tuned for, until these have.
    """
    confirm = config.phases.confirm
    if confirm is None:
        return
    yield from missing_finalists(config, trials)
    if any(trial.open for trial in trials if trial.role == FINALIST):
        return
    tuning = [trial for trial in trials if trial.phase == "tune"]
    made = {(trial.role, trial.pair_of, trial.point, trial.repeat) for trial in tuning}
    for control, count in _tuned_controls(config, confirm, trials):
        first, repeats = min(count, first_settings(control.name)), range(confirm.tuning_seeds)
        mine = [trial for trial in tuning if (trial.role, trial.pair_of) == control.key]
        known = {trial.point: trial for trial in mine}
        for number, repeat in product(range(first), repeats):
            if (*control.key, number, repeat) not in made:
                yield _like(_tuning_job(config, confirm, control, number, repeat), known.get(number))
        base = [trial for trial in mine if trial.repeat < len(repeats)]
        begun = [trial for trial in base if (trial.point or 0) < first]
        if len(begun) < first * len(repeats) or any(trial.open for trial in begun):
            continue
        for number, repeat in product(range(first, count), repeats):
            if (*control.key, number, repeat) not in made:
                yield _like(_tuning_job(config, confirm, control, number, repeat, begun), known.get(number))
        if any(trial.open for trial in base):
            continue
        for number, repeat in control_finalists(confirm, control.key, control.goal, mine):
            yield _like(_tuning_job(config, confirm, control, number, repeat, begun), known.get(number))


def _like(job: Job, made: TrialRow | None) -> Job:
    """The job with the settings of a trial of its number, if there is one.

    The winner may since be another one, and a retry of a first setting may have changed the order of the others.
    """
    if made is None:
        return job
    return replace(job, sampler=made.sampler, params=made.values, control_variant=made.control_variant)


def _tuning_job(
    config: StudyConfig,
    confirm: ConfirmPhase,
    control: _Control,
    number: int,
    repeat: int,
    begun: Sequence[TrialRow] = (),
) -> Job:
    """A trial of one of a control's settings; `begun` are the trials of its first ones, if it is none of these."""
    ranked = ranked_tuned(begun, {control.pair_of: control.goal}, confirm).get(control.key, [])
    settings = settings_of(config, control.name, control.winner, number, ranked)
    return Job(
        "tune",
        control.role,
        settings.sampler,
        repeat,
        params=settings.params,
        point=number,
        pair_of=control.pair_of,
        control_size=None if control.pair_of is None else _size(config, control.winner),
        control_variant=settings.variant,
    )


def _tuned_controls(
    config: StudyConfig, confirm: ConfirmPhase, trials: Sequence[TrialRow]
) -> Iterator[tuple[_Control, int]]:
    """Every control that is tuned, with the number of its settings."""
    allowed = effort(confirm, sum(trial.phase in SEARCH_PHASES for trial in trials))
    for control in _controls(confirm, _winners(config, confirm, trials)):
        if control.pair_of is None or _size(config, control.winner):
            yield control, tuning_count(config, control.name, allowed)


def count_tune(config: StudyConfig, trials: Sequence[TrialRow]) -> int:
    """How many tuning trials there are at the end, once the search and its finalists have ended.

    It is an upper bound until a control's settings have been tried, because what failed is no finalist.
    """
    made = [trial for trial in trials if trial.phase == "tune"]
    confirm = config.phases.confirm
    if confirm is None:
        return len(made)
    missing = 0
    for control, count in _tuned_controls(config, confirm, trials):
        mine = [trial for trial in made if (trial.role, trial.pair_of) == control.key]
        base = [trial for trial in mine if (trial.point or 0) < count and trial.repeat < confirm.tuning_seeds]
        if len(base) < count * confirm.tuning_seeds or any(trial.open for trial in base):
            missing += count * confirm.tuning_seeds - len(base) + most_control_finalists(confirm, count)
        else:
            missing += sum(1 for _ in control_finalists(confirm, control.key, control.goal, mine))
    return len(made) + missing


def most_tune(config: StudyConfig, searched: int) -> int:
    """At most how many tuning trials a study holds whose search makes `searched` trials."""
    confirm = config.phases.confirm
    if confirm is None:
        return 0
    allowed = effort(confirm, searched)
    settings = [
        tuning_count(config, name, allowed) for name in confirm.controls for _ in range(_beside(config, confirm, name))
    ]
    again = sum(most_control_finalists(confirm, count) for count in settings) + most_finalists(config, searched)
    return confirm.tuning_seeds * sum(settings) + again


# ---------------------------------------------------------------- confirm


def missing_confirm(config: StudyConfig, trials: Sequence[TrialRow]) -> Iterator[Job]:
    """The trials of `confirm` that are not there yet, once the controls are tuned; `trials` are last attempts."""
    confirm = config.phases.confirm
    if confirm is None:
        return
    made = {(*_arm(trial), trial.repeat) for trial in trials if trial.phase == "confirm"}
    found = _winners(config, confirm, trials)
    for job in _confirm_jobs(config, confirm, found, trials):
        arm = _arm_of(job.role, job.pair_of, json.dumps(job.params, sort_keys=True), job.control_variant)
        if (*arm, job.repeat) not in made:
            yield job


def _confirm_jobs(
    config: StudyConfig, confirm: ConfirmPhase, found: Sequence[Winner[TrialRow]], trials: Sequence[TrialRow]
) -> Iterator[Job]:
    for repeat, winner in product(range(confirm.seeds), [winner.trial for winner in found]):
        yield Job("confirm", "winner", "fixed", repeat, winner.values, pair_of=winner.id)
    tuned = best_tuned(trials, goals(found), confirm)
    runs = {(trial.pair_of, trial.repeat): trial for trial in trials if trial.role == "winner"}
    for repeat, control in product(range(confirm.seeds), list(_controls(confirm, found))):
        size = None
        if control.pair_of is not None:
            run = runs.get((control.pair_of, repeat))
            size = _size(config, run) if run is not None else 0
        if size != 0:
            yield _control_job(control, _source(control, tuned), repeat, size)


def _control_job(control: _Control, source: TrialRow, repeat: int, size: int | None) -> Job:
    return Job(
        "confirm",
        control.role,
        "fixed",
        repeat,
        source.values,
        pair_of=control.pair_of,
        control_size=size,
        control_variant=source.control_variant,
    )


def _source(control: _Control, tuned: Mapping[tuple[str, int | None], TrialRow]) -> TrialRow:
    """The trial whose values and layout a control is confirmed with: its best tuning trial, else the winner."""
    return tuned.get(control.key, control.winner)


_Arm = tuple[str, int | None, str, str | None]


def _arm_of(role: str, pair_of: int | None, params: str, variant: str | None) -> _Arm:
    """What runs of one arm have in common: a control's also train with the same values and layout."""
    return role, pair_of, params if role.startswith("control:") else "", variant


def _arm(trial: TrialRow) -> _Arm:
    return _arm_of(trial.role, trial.pair_of, trial.params, trial.control_variant)


def count_confirm(config: StudyConfig, trials: Sequence[TrialRow]) -> int:
    """How many trials `confirm` holds at the end, once the search has ended; `trials` are last attempts.

    That is if each winner's run that has not ended ends well, and tuning finds no better settings than those so far.
    """
    made = [trial for trial in trials if trial.phase == "confirm"]
    confirm = config.phases.confirm
    if confirm is None:
        return len(made)
    found = _winners(config, confirm, trials)
    tuned = best_tuned(trials, goals(found), confirm)
    there = Counter(_arm(trial) for trial in made if trial.repeat < confirm.seeds)
    lost = Counter(trial.pair_of for trial in made if _without_controls(config, trial) and trial.repeat < confirm.seeds)
    missing = sum(confirm.seeds - there["winner", winner.trial.id, "", None] for winner in found)
    for control in _controls(confirm, found):
        source = _source(control, tuned)
        arm = _arm_of(control.role, control.pair_of, source.params, source.control_variant)
        missing += confirm.seeds - lost[control.pair_of] - there[arm]
    return len(made) + missing


def _without_controls(config: StudyConfig, trial: TrialRow) -> bool:
    """Whether it is a winner's run that has ended without a size to match."""
    return trial.role == "winner" and not trial.open and not _size(config, trial)


def most_confirm(config: StudyConfig) -> int:
    """At most how many trials `confirm` holds, because winners may coincide and fail."""
    confirm = config.phases.confirm
    if confirm is None:
        return 0
    arms = confirm.top * len(config.objectives) + sum(_beside(config, confirm, name) for name in confirm.controls)
    return confirm.seeds * arms


def _beside(config: StudyConfig, confirm: ConfirmPhase, name: str) -> int:
    """Beside at most how many winners a control is trained."""
    return 1 if name in UNSIZED_CONTROLS else confirm.top * len(config.objectives)
