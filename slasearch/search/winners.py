"""Which trials of the search are confirmed, and what the controls beside them are tuned by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Generic, Literal, Protocol, TypeVar

from slasearch.config.constraints import ConstraintConfig
from slasearch.config.schema import ObjectiveConfig, StudyConfig
from slasearch.search.constraints import feasible
from slasearch.storage.rows import TrialRow

__all__ = [
    "FINALIST",
    "Contender",
    "Goal",
    "Winner",
    "chosen",
    "finalist_count",
    "finalists",
    "goals",
    "last_attempts",
    "last_attempts_at",
    "searched",
    "tried_again",
    "winners",
]

FINALIST = "finalist"
"""Role of the trials in which the search's best settings are tried again, under further seed pairs."""

Goal = Literal["score", "robustness"]
"""What decides among the tuning trials of a control."""


class Contender(Protocol):
    """A complete search trial, as far as it is looked at to choose some of them."""

    @property
    def id(self) -> int:
        """Its row in the database: earlier trials have lower ones."""

    @property
    def params(self) -> str:
        """Its searched fields, equal for trials of one configuration."""

    def objective(self, name: str) -> float | None:
        """Its `score`, `exported_parameters`, `robustness` or `latency` (ms); None if it has none."""


C = TypeVar("C", bound=Contender)


@dataclass(frozen=True)
class Winner(Generic[C]):
    """A trial that is confirmed.

    Args:
        trial: The trial.
        goal: `robustness` where that alone chose it, else `score`; size is no goal for controls, which are held to it.
        runs: All complete trials of its configuration, by whose means it won.
    """

    trial: C
    goal: Goal
    runs: Sequence[C]

    def mean(self, name: str) -> float | None:
        """What its configuration came to by this objective."""
        return _mean(name, self.runs)


def last_attempts(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """Each trial once, as its last attempt."""
    rows = list(rows)
    retried = {row.retry_of for row in rows}
    return [row for row in rows if row.id not in retried]


def last_attempts_at(rows: Iterable[TrialRow], trials: Iterable[int]) -> list[TrialRow]:
    """The last attempts at the trials to which some attempts, given by their ids, belong; each once."""
    by_id = {row.id: row for row in rows}
    following = {row.retry_of: row for row in by_id.values() if row.retry_of is not None}
    found = {}
    for trial in trials:
        row = by_id[trial]
        while row.id in following:
            row = following[row.id]
        found[row.id] = row
    return list(found.values())


def searched(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """The complete trials of the search."""
    return [row for row in last_attempts(rows) if row.role == "search" and row.state == "complete"]


def finalist_count(config: StudyConfig) -> int:
    """How many of the search's best settings by each objective are ranked anew before they are confirmed."""
    return config.phases.confirm.finalists if config.phases.confirm else 1


def tried_again(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """The complete trials in which finalists of the search were tried again."""
    return [row for row in last_attempts(rows) if row.role == FINALIST and row.state == "complete"]


def winners(
    objectives: Sequence[ObjectiveConfig],
    rows: Iterable[TrialRow],
    top: int,
    constraints: Sequence[ConstraintConfig] = (),
    finalists: int = 1,
) -> list[TrialRow]:
    """The trials of `chosen` among all rows of a study."""
    rows = list(rows)
    found = chosen(objectives, searched(rows), top, constraints, finalists, tried_again(rows))
    return [winner.trial for winner in found]


def chosen(
    objectives: Sequence[ObjectiveConfig],
    contenders: Iterable[C],
    top: int,
    constraints: Sequence[ConstraintConfig] = (),
    finalists: int = 1,
    again: Iterable[C] = (),
) -> list[Winner[C]]:
    """The `top` best configurations by each objective among complete search trials, each as its best trial.

    One that was tried under several seed pairs counts by its means, by which it also has to keep the bounds: the best
    single run of several is the luckiest. It stands as its best trial within the bounds, if one of them is. Ties go to
    the better score, then to the earlier trial.

    Args:
        objectives: What is best.
        contenders: The complete trials of the search.
        top: How many by each objective.
        constraints: The bounds.
        finalists: How many of the best by the search's own trials come before the others, whatever follows.
        again: Complete trials in which finalists were tried again. These, and former finalists, rank by all their
            trials; one that has still a single trial is behind those with more.
    """
    tried = _configurations(contenders, constraints, again)
    found: dict[str, C] = {}
    reasons: dict[str, set[str]] = {}
    for objective in objectives:
        ranked = _first_round(objective, tried)
        final = [params for place, params in enumerate(ranked) if place < finalists or tried[params].again]
        final.sort(key=lambda params: (len(tried[params].runs) == 1, _rank(objective, tried[params].runs)))
        first = set(final)
        others = [params for params in ranked if params not in first]
        for params in [*final, *others][:top]:
            found.setdefault(params, tried[params].stands_as(objective, constraints))
            reasons.setdefault(params, set()).add(objective.name)
    return [
        Winner(trial, "robustness" if reasons[params] == {"robustness"} else "score", tried[params].runs)
        for params, trial in found.items()
    ]


def finalists(
    objectives: Sequence[ObjectiveConfig],
    contenders: Iterable[C],
    count: int,
    constraints: Sequence[ConstraintConfig] = (),
    again: Iterable[C] = (),
) -> list[C]:
    """The `count` best configurations by each objective by the search's own trials, each as its best trial.

    One that breaks a bound on average with the trials in which it was tried `again` is none any more, and the next one
    is.
    """
    tried = _configurations(contenders, constraints, again)
    found: dict[str, C] = {}
    for objective in objectives:
        for params in _first_round(objective, tried)[:count]:
            found.setdefault(params, tried[params].stands_as(objective, constraints))
    return list(found.values())


def goals(found: Sequence[Winner[C]]) -> dict[int | None, Goal]:
    """What controls are tuned by, by the id of their winner; None: those beside all winners go by the first one's."""
    if not found:
        return {}
    return {None: found[0].goal, **{winner.trial.id: winner.goal for winner in found}}


@dataclass(frozen=True)
class _Means:
    """A configuration as its trials come out on average."""

    trials: Sequence[Contender]

    def objective(self, name: str) -> float | None:
        return _mean(name, self.trials)


@dataclass(frozen=True)
class _Configuration(Generic[C]):
    """The search's own trials of a configuration, and those in which it was tried again."""

    trials: list[C]
    again: list[C]

    @property
    def runs(self) -> list[C]:
        return [*self.trials, *self.again]

    def stands_as(self, objective: ObjectiveConfig, constraints: Sequence[ConstraintConfig]) -> C:
        """Its best trial of the search within the bounds, or else its best."""
        within = [trial for trial in self.trials if feasible(constraints, trial)]
        return min(within or self.trials, key=lambda trial: _rank(objective, [trial]))


def _configurations(
    contenders: Iterable[C], constraints: Sequence[ConstraintConfig], again: Iterable[C]
) -> dict[str, _Configuration[C]]:
    """Each configuration that keeps the bounds on average, by its parameters."""
    tried: dict[str, _Configuration[C]] = {}
    for trial in contenders:
        tried.setdefault(trial.params, _Configuration([], [])).trials.append(trial)
    for trial in again:
        if trial.params in tried:
            tried[trial.params].again.append(trial)
    return {
        params: one
        for params, one in tried.items()
        if feasible(constraints, _Means(one.trials)) and feasible(constraints, _Means(one.runs))
    }


def _first_round(objective: ObjectiveConfig, tried: Mapping[str, _Configuration[C]]) -> list[str]:
    """The configurations in their order by the search's own trials, the best first."""
    return sorted(tried, key=lambda params: _rank(objective, tried[params].trials))


def _rank(objective: ObjectiveConfig, trials: Sequence[Contender]) -> tuple[float, float, int]:
    value = _mean(objective.name, trials) or 0.0
    return (
        value if objective.direction == "minimize" else -value,
        -(_mean("score", trials) or 0.0),
        min(trial.id for trial in trials),
    )


def _mean(name: str, trials: Sequence[Contender]) -> float | None:
    """The mean over the trials that have this value; None if none has."""
    values = [value for trial in trials if (value := trial.objective(name)) is not None]
    return fmean(values) if values else None
