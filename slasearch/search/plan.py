"""What a study still has to run, as a pure function over its trials: design, optimise, tune, confirm.

A phase starts when the one before has no open trial. A trial counts once however often it was attempted, and a trial
that failed for reasons of its own is done: it would only fail again. Raised counts in the study file add trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from slasearch.config.schema import StudyConfig
from slasearch.search.confirm import (
    count_confirm,
    count_tune,
    missing_confirm,
    missing_tune,
    most_confirm,
    most_tune,
)
from slasearch.search.finalists import finalists_ended
from slasearch.search.job import PHASES, SEARCH_PHASES, Job
from slasearch.search.winners import last_attempts
from slasearch.space import DesignPoint
from slasearch.storage.rows import TrialRow

__all__ = ["plan", "planned"]


def plan(config: StudyConfig, rows: Iterable[TrialRow], design: Sequence[DesignPoint]) -> Job | Literal["wait", "done"]:
    """The next trial; `wait` if more may come when an open trial ends; `done` if nothing is left.

    Args:
        config: The study.
        rows: All attempts at all its trials.
        design: The points of its design phase, in order.
    """
    trials = last_attempts(rows)
    open_phases = {trial.phase for trial in trials if trial.open}
    missing = (
        _missing_design(config, trials, design),
        _missing_optimise(config, trials),
        missing_tune(config, trials),
        missing_confirm(config, trials),
    )
    for phase, jobs in zip(PHASES, missing, strict=True):
        job = next(jobs, None)
        if job is not None:
            return job
        if phase in open_phases:
            return "wait"
    return "done"


def planned(config: StudyConfig, rows: Iterable[TrialRow], design: Sequence[DesignPoint]) -> dict[str, int]:
    """How many trials each phase holds when the study ends.

    For `tune` and `confirm` it is an upper bound until the search and its finalists have ended, because winners may
    coincide and fail.
    """
    trials = last_attempts(rows)
    made = {phase: sum(trial.phase == phase for trial in trials) for phase in PHASES}
    points = {(point.point, point.repeat) for point in design}
    missing = points - {(trial.point, trial.repeat) for trial in trials if trial.phase == "design"}
    optimise = config.phases.optimise
    counts = {
        "design": made["design"] + len(missing),
        "optimise": max(made["optimise"], optimise.trials if optimise else 0),
    }
    searched = sum(counts.values())
    if _search_has_ended(trials, counts) and finalists_ended(config, trials):
        tune, confirm = count_tune(config, trials), count_confirm(config, trials)
    else:
        tune, confirm = most_tune(config, searched), most_confirm(config)
    return {**counts, "tune": max(made["tune"], tune), "confirm": max(made["confirm"], confirm)}


def _search_has_ended(trials: Sequence[TrialRow], counts: Mapping[str, int]) -> bool:
    ended = sum(trial.phase in SEARCH_PHASES and not trial.open for trial in trials)
    return ended == sum(counts.values())


def _missing_design(config: StudyConfig, trials: Sequence[TrialRow], design: Sequence[DesignPoint]) -> Iterator[Job]:
    if config.phases.design is None:
        return
    made = {(trial.point, trial.repeat) for trial in trials if trial.phase == "design"}
    for point in design:
        if (point.point, point.repeat) not in made:
            yield Job(
                phase="design",
                role="search",
                sampler=config.phases.design.sampler.name,
                repeat=point.repeat,
                params=point.params,
                point=point.point,
                factor=point.factor,
            )


def _missing_optimise(config: StudyConfig, trials: Sequence[TrialRow]) -> Iterator[Job]:
    optimise = config.phases.optimise
    if optimise is None:
        return
    made = sum(trial.phase == "optimise" for trial in trials)
    for number in range(made, optimise.trials):
        yield Job(phase="optimise", role="search", sampler=optimise.sampler.name, repeat=number % optimise.seeds)
