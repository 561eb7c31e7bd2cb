"""What a study still has to run, as a pure function over its trials: design, then optimise, then confirm.

A phase starts when the one before has no open trial. A trial counts once however often it was attempted, and a trial
that failed for reasons of its own is done: it would only fail again. Raised counts in the study file add trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from slasearch.config.schema import ConfirmPhase, ObjectiveConfig, StudyConfig
from slasearch.registry import UNSIZED_CONTROLS
from slasearch.space import DesignPoint
from slasearch.storage.rows import OptunaStudy, TrialRow

__all__ = ["PHASES", "Job", "last_attempts", "plan", "planned", "winners"]

PHASES: tuple[str, ...] = ("design", "optimise", "confirm")


@dataclass(frozen=True)
class Job:
    """One trial to run. `params` None: the sampler is asked; else the searched fields as Optuna stores them."""

    phase: str
    role: str
    sampler: str
    repeat: int = 0
    params: Mapping[str, Any] | None = None
    point: int | None = None
    factor: str | None = None
    pair_of: int | None = None
    control_size: int | None = None

    @property
    def control(self) -> str | None:
        """Name of the control; None for search trials and winners."""
        return self.role.removeprefix("control:") if self.role.startswith("control:") else None

    @property
    def optuna_study(self) -> OptunaStudy:
        """In which of the two Optuna studies the trial stands."""
        return "confirm" if self.phase == "confirm" else "search"


def plan(config: StudyConfig, rows: Iterable[TrialRow], design: Sequence[DesignPoint]) -> Job | Literal["wait", "done"]:
    """The next trial; `wait` if more may come when an open trial ends; `done` if nothing is left.

    Args:
        config: The study.
        rows: All attempts at all its trials.
        design: The points of its design phase, in order.
    """
    trials = last_attempts(rows)
    open_phases = {trial.phase for trial in trials if trial.open}
    for phase, missing in (
        ("design", _missing_design(config, trials, design)),
        ("optimise", _missing_optimise(config, trials)),
        ("confirm", _missing_confirm(config, trials)),
    ):
        job = next(missing, None)
        if job is not None:
            return job
        if phase in open_phases:
            return "wait"
    return "done"


def planned(config: StudyConfig, rows: Iterable[TrialRow], design: Sequence[DesignPoint]) -> dict[str, int]:
    """How many trials each phase holds when the study ends.

    For `confirm` it is an upper bound until the search has ended, because winners may coincide and fail.
    """
    trials = last_attempts(rows)
    made = {phase: sum(trial.phase == phase for trial in trials) for phase in PHASES}
    points = {(point.point, point.repeat) for point in design}
    missing = points - {(trial.point, trial.repeat) for trial in trials if trial.phase == "design"}
    optimise = config.phases.optimise
    counts = {
        "design": made["design"] + len(missing),
        "optimise": max(made["optimise"], optimise.trials if optimise else 0),
        "confirm": made["confirm"],
    }
    confirm = config.phases.confirm
    if confirm is not None and _search_has_ended(trials, counts):
        counts["confirm"] += _missing_runs(confirm, config.objectives, trials)
    elif confirm is not None:
        sized = sum(name not in UNSIZED_CONTROLS for name in confirm.controls)
        runs = confirm.top * len(config.objectives) * (1 + sized) + len(confirm.controls) - sized
        counts["confirm"] = max(made["confirm"], runs * confirm.seeds)
    return counts


def _search_has_ended(trials: Sequence[TrialRow], counts: Mapping[str, int]) -> bool:
    ended = sum(trial.phase != "confirm" and not trial.open for trial in trials)
    return ended == counts["design"] + counts["optimise"]


def _missing_runs(confirm: ConfirmPhase, objectives: Sequence[ObjectiveConfig], trials: Sequence[TrialRow]) -> int:
    """How many trials `confirm` does not have yet, if each winner's run that has not ended ends well."""
    best = {winner.id for winner in winners(objectives, trials, confirm.top)}
    if not best:
        return 0
    made = [trial for trial in trials if trial.phase == "confirm" and trial.repeat < confirm.seeds]
    runs = [trial for trial in made if trial.role == "winner" and trial.pair_of in best]
    roles = {f"control:{name}" for name in confirm.controls}
    unsized = {f"control:{name}" for name in UNSIZED_CONTROLS} & roles
    sized = roles - unsized
    controlled = len(best) * confirm.seeds - sum(not trial.open and not _size(trial) for trial in runs)
    wanted = len(best) * confirm.seeds + len(unsized) * confirm.seeds + len(sized) * controlled
    there = sum(trial.role in unsized or (trial.role in sized and trial.pair_of in best) for trial in made)
    return wanted - len(runs) - there


def _size(run: TrialRow) -> int:
    """Exported parameters of a winner's run, which its controls are to match; 0 if it has none."""
    return int(run.exported_parameters or 0) if run.state == "complete" else 0


def last_attempts(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """Each trial once, as its last attempt."""
    rows = list(rows)
    retried = {row.retry_of for row in rows}
    return [row for row in rows if row.id not in retried]


def winners(objectives: Sequence[ObjectiveConfig], rows: Iterable[TrialRow], top: int) -> list[TrialRow]:
    """The `top` best complete search trials by each objective, each configuration once.

    Ties go to the better score, then to the earlier trial.
    """
    complete = [row for row in last_attempts(rows) if row.role == "search" and row.state == "complete"]
    chosen: dict[str, TrialRow] = {}
    for objective in objectives:
        best: dict[str, TrialRow] = {}
        for row in sorted(complete, key=lambda row: _rank(objective, row)):
            if len(best) == top:
                break
            best.setdefault(row.params, row)
        for params, row in best.items():
            chosen.setdefault(params, row)
    return list(chosen.values())


def _rank(objective: ObjectiveConfig, row: TrialRow) -> tuple[float, float, int]:
    value = row.objective(objective.name) or 0.0
    return (value if objective.direction == "minimize" else -value), -(row.score or 0.0), row.id


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
    for _ in range(made, optimise.trials):
        yield Job(phase="optimise", role="search", sampler=optimise.sampler.name)


def _missing_confirm(config: StudyConfig, trials: Sequence[TrialRow]) -> Iterator[Job]:
    confirm = config.phases.confirm
    if confirm is None:
        return
    made = {_confirm_key(trial) for trial in trials if trial.phase == "confirm"}
    for job in _confirm_jobs(confirm, config.objectives, trials):
        if _confirm_key(job) not in made:
            yield job


def _confirm_key(trial: Job | TrialRow) -> tuple[str, int | None, int]:
    return trial.role, trial.pair_of, trial.repeat


def _confirm_jobs(
    confirm: ConfirmPhase, objectives: Sequence[ObjectiveConfig], trials: Sequence[TrialRow]
) -> Iterator[Job]:
    best = winners(objectives, trials, confirm.top)
    for repeat, winner in product(range(confirm.seeds), best):
        yield _confirm_job("winner", winner, repeat)
    sized = [name for name in confirm.controls if name not in UNSIZED_CONTROLS]
    for repeat, name in product(range(confirm.seeds), (name for name in confirm.controls if name not in sized)):
        if best:
            yield Job("confirm", f"control:{name}", "fixed", repeat, best[0].values)
    runs = {(trial.pair_of, trial.repeat): trial for trial in trials if trial.role == "winner"}
    for repeat, winner, name in product(range(confirm.seeds), best, sized):
        run = runs.get((winner.id, repeat))
        if run is not None and _size(run):
            yield _confirm_job(f"control:{name}", winner, repeat, _size(run))


def _confirm_job(role: str, winner: TrialRow, repeat: int, size: int | None = None) -> Job:
    return Job("confirm", role, "fixed", repeat, winner.values, pair_of=winner.id, control_size=size)
