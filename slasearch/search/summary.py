"""Where a study stands, in numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import ge

from slasearch.config.constraints import ConstraintConfig
from slasearch.config.load import stored_study
from slasearch.config.schema import ObjectiveConfig, StudyConfig
from slasearch.search.constraints import feasible
from slasearch.search.job import PHASES
from slasearch.search.lease import has_driver
from slasearch.search.limits import device_seconds
from slasearch.search.plan import planned
from slasearch.search.winners import chosen, finalist_count, last_attempts, searched, tried_again
from slasearch.space import DesignPoint, design_points
from slasearch.storage.rows import OPEN_STATES, StudyRow, TrialRow, optuna_names
from slasearch.storage.store import Store

__all__ = ["Best", "Bound", "PhaseCount", "StudySummary", "read_summary", "summarise"]


@dataclass(frozen=True)
class PhaseCount:
    """Trials of one phase: each counts once, by its last attempt. `planned` includes those not made yet."""

    planned: int
    complete: int
    pruned: int
    failed: int
    waiting: int
    running: int

    @property
    def ended(self) -> int:
        """Trials that have ended, however."""
        return self.complete + self.pruned + self.failed


@dataclass(frozen=True)
class Best:
    """The best configuration of the search by one objective that keeps the constraints, and the trial it stands as.

    `value` is the mean over its trials, `runs` how many these are: one for each seed pair that it was tried under.
    """

    objective: str
    trial_id: int
    number: int
    value: float
    runs: int = 1


@dataclass(frozen=True)
class Bound:
    """A constraint, in its `unit`, and how many complete search trials break it or lack its value."""

    name: str
    min: float | None
    max: float | None
    unit: str
    broken_by: int


@dataclass(frozen=True)
class StudySummary:
    """A study in numbers. `state` is `running`, `interrupted`, `finished`, `stopped` or `failed`.

    `retried` counts attempts that were lost and made again; `stop_reason` why it ended early.

    `ran` counts the attempts that the present run command handed out; 0 means that there was nothing to do.

    `front` counts the complete search trials that keep the constraints and that none other of those beats in all
    objectives (None with one objective), `device_seconds` is the wall time of all attempts together, and `last_failure`
    names the latest and its reason.

    `unsettled` counts trials whose state differs between slasearch's tables and Optuna's, as after a full disk. The
    next run command repairs it; until then neither can be relied on. It is 0 while a run command is alive.
    """

    name: str
    state: str
    planned: int
    complete: int
    pruned: int
    failed: int
    waiting: int
    running: int
    phases: dict[str, PhaseCount]
    best: tuple[Best, ...]
    constraints: tuple[Bound, ...] = ()
    retried: int = 0
    ran: int = 0
    stop_reason: str | None = None
    front: int | None = None
    device_seconds: float = 0.0
    last_failure: str | None = None
    unsettled: int = 0

    @property
    def ended(self) -> int:
        """Trials that have ended, however."""
        return self.complete + self.pruned + self.failed


def read_summary(store: Store, name: str, *, now: float | None = None) -> StudySummary:
    """The summary of a stored study; its state is `interrupted` if it should run and no living process runs it.

    Raises:
        StudyNotFoundError: There is none of that name.
        StudyConflictError: Another version made it, which this one cannot read.
        StorageError: The database cannot be read.
    """
    now = time.time() if now is None else now
    study = store.study(name)
    config = stored_study(study.config)
    driven = has_driver(store, study.id, now)
    if study.state == "running" and not driven:
        study = replace(study, state="interrupted")
        now = study.updated_at  # when the driver was last heard of: what it ran did not go on after it
    rows = store.trials(study.id)
    summary = summarise(config, study, rows, design_points(config), now=now)
    return summary if driven else replace(summary, unsettled=_unsettled(store, name, rows))


def _unsettled(store: Store, name: str, rows: Iterable[TrialRow]) -> int:
    """How many trials have another state in Optuna's tables, or are open there and missing in ours."""
    search, confirm = optuna_names(name)
    theirs = store.optuna_states((search, confirm))
    ours = {
        (search if row.optuna_study == "search" else confirm, row.number): row.state
        for row in rows
        if row.number is not None
    }
    differing = sum(theirs.get(place, state) != state for place, state in ours.items())
    return differing + sum(place not in ours for place, state in theirs.items() if state in OPEN_STATES)


def summarise(
    config: StudyConfig,
    study: StudyRow,
    rows: Iterable[TrialRow],
    design: Sequence[DesignPoint],
    *,
    now: float,
    ran: int = 0,
    stop_reason: str | None = None,
) -> StudySummary:
    """The summary of a study from its trials and the points of its design, at the time `now` (epoch seconds)."""
    rows = list(rows)
    trials = last_attempts(rows)
    plans = planned(config, rows, design)
    phases = {phase: _count(plans[phase], trials, phase) for phase in PHASES}
    total = _count(sum(plans.values()), trials, None)
    return StudySummary(
        name=study.name,
        state=study.state,
        planned=total.planned,
        complete=total.complete,
        pruned=total.pruned,
        failed=total.failed,
        waiting=total.waiting,
        running=total.running,
        phases=phases,
        best=tuple(best for objective in config.objectives for best in _best(config, objective, trials)),
        constraints=tuple(_bound(bound, trials) for bound in config.constraints),
        retried=len(rows) - len(trials),
        ran=ran,
        stop_reason=stop_reason,
        front=_front(config, trials) if len(config.objectives) > 1 else None,
        device_seconds=device_seconds(rows, now),
        last_failure=_last_failure(rows),
    )


def _count(plan: int, trials: Sequence[TrialRow], phase: str | None) -> PhaseCount:
    states = [trial.state for trial in trials if phase in (None, trial.phase)]
    return PhaseCount(
        planned=plan,
        complete=states.count("complete"),
        pruned=states.count("pruned"),
        failed=states.count("fail"),
        waiting=states.count("waiting"),
        running=states.count("running"),
    )


def _best(config: StudyConfig, objective: ObjectiveConfig, trials: Sequence[TrialRow]) -> list[Best]:
    return [
        Best(
            objective.name,
            winner.trial.id,
            winner.trial.number or 0,
            winner.mean(objective.name) or 0.0,
            len(winner.runs),
        )
        for winner in chosen(
            [objective], searched(trials), 1, config.constraints, finalist_count(config), tried_again(trials)
        )
    ]


def _bound(bound: ConstraintConfig, trials: Sequence[TrialRow]) -> Bound:
    broken = sum(not feasible([bound], row) for row in searched(trials))
    return Bound(bound.name, bound.min, bound.max, bound.unit, broken)


def _front(config: StudyConfig, trials: Sequence[TrialRow]) -> int:
    """How many complete search trials within the bounds no other dominates; in falling order only earlier ones can."""
    signs = [(objective.name, 1.0 if objective.direction == "maximize" else -1.0) for objective in config.objectives]
    kept = [row for row in searched(trials) if feasible(config.constraints, row)]
    points = [tuple(sign * (row.objective(name) or 0.0) for name, sign in signs) for row in kept]
    front: list[tuple[float, ...]] = []
    for point in sorted(points, reverse=True):
        if not any(other != point and all(map(ge, other, point)) for other in front):
            front.append(point)
    return len(front)


def _last_failure(rows: Iterable[TrialRow]) -> str | None:
    """The failed attempt that ended last, called as people call trials, and its reason on one line."""
    row = max((row for row in rows if row.state == "fail"), key=lambda row: row.ended_at or 0.0, default=None)
    if row is None:
        return None
    name = f"{'c' if row.optuna_study == 'confirm' else ''}{row.number}"
    return f"trial {name}: {' '.join((row.reason or 'no reason known').split())}"
