"""The arguments of `slasearch.attach`: checked like a study file, and turned into what a gated pool takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from slasearch.adapters.export import TaskName
from slasearch.config.document import Problem, problem_line
from slasearch.config.fields import Distribution, NonNegativeFloat, PositiveInt, Seed, Size, StrictModel, UnitFloat
from slasearch.config.problems import problems_of, shown
from slasearch.config.schema import GatesConfig, PoolConfig
from slasearch.errors import ConfigError
from slasearch.records import FinalisationSpec, GateSpec, PoolSpec, SizeSpec
from slasearch.registry import GATES
from slasearch.space.resolve import pool_spec

__all__ = ["Settings", "settings_of"]


@dataclass(frozen=True)
class Settings:
    """What a gated pool is made from; `steps` are all until finalisation, the warm-up included."""

    pool: PoolSpec
    gates: GateSpec
    size: SizeSpec
    finalisation: FinalisationSpec
    steps: int
    tasks: tuple[str, ...]
    seed: int


class _Arguments(StrictModel):
    """The arguments of `attach`; fields that a study file has too bear its names and types."""

    pool: PoolConfig
    gates: GatesConfig
    steps: PositiveInt
    sparsity_weight: NonNegativeFloat | None
    budget: Size | None
    scope: Literal["union", "per_task"]
    ramp: UnitFloat | None
    schedule: Literal["linear", "cosine", "cubic"] | None
    ranking: Literal["gate", "saliency"]
    finish: Literal["continue", "progressive"]
    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)]
    seed: Seed

    @field_validator("finish", mode="before")
    @classmethod
    def _finish(cls, value: Any) -> Any:
        if value == "retrain":
            what_to_do = "(for fresh modules call finalise(), then train a fresh model)"
            raise ValueError(f"expected 'continue' or 'progressive' {what_to_do}, got 'retrain'")
        return value

    @field_validator("tasks")
    @classmethod
    def _tasks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"expected different names, got {', '.join(value)}")
        return value


def settings_of(arguments: Mapping[str, Any]) -> Settings:
    """Checks the arguments of `attach`.

    Args:
        arguments: By name; `pool` is a preset's name or fields of a study file, `gates` fields of one.

    Raises:
        ConfigError: With all problems, each as `attach: field: expected …, got …`.
    """
    pool = arguments["pool"]
    data = _plain({**arguments, "pool": {"preset": pool} if isinstance(pool, str) else pool})
    try:
        checked = _Arguments.model_validate(data, strict=True)
    except ValidationError as error:
        problems = problems_of(error, data)
    else:
        problems = [*_distributions(checked), *_contradictions(checked)]
    if problems:
        raise ConfigError([problem_line("attach", problem) for problem in problems])
    return _settings(checked)


def _plain(value: Any) -> Any:
    """Lists as tuples, as in a study file that was read."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return tuple(_plain(entry) for entry in value) if isinstance(value, (list, tuple)) else value


def _distributions(checked: _Arguments) -> Iterator[Problem]:
    for section in ("pool", "gates"):
        for path, value in _values(getattr(checked, section), section):
            if isinstance(value, Distribution):
                yield Problem(path, "a value, as nothing is searched here", "a distribution")


def _values(fields: Iterable[tuple[str, Any]], *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Fields with their paths, those that stand in a mapping one by one."""
    for name, value in fields:
        if isinstance(value, Mapping):
            yield from _values(value.items(), *path, name)
        else:
            yield (*path, name), value


def _contradictions(checked: _Arguments) -> Iterator[Problem]:
    if (checked.sparsity_weight is None) == (checked.budget is None):
        got = "neither" if checked.budget is None else "both"
        yield Problem(("budget",), "exactly one of sparsity_weight and budget", got)
    elif checked.budget is None:
        yield from _without_budget(checked)
    else:
        for name in ("ramp", "schedule"):
            if getattr(checked, name) is not None:
                expected = "nothing with a budget, which has a pressure of its own"
                yield Problem((name,), expected, shown(getattr(checked, name)))
    if checked.gates.learn_on == "gate":
        yield Problem(("gates", "learn_on"), "auto or train, as gates learn on the batches of your loop", "gate")
    if checked.pool.start == "gradient":
        yield Problem(("pool", "start"), "random, as your loop has shown no examples yet", "gradient")


def _without_budget(checked: _Arguments) -> Iterator[Problem]:
    """What works under a budget only."""
    got = "a sparsity_weight"
    family = checked.gates.family
    if isinstance(family, str) and GATES.get(family).needs_budget:
        yield Problem(("budget",), f"a budget with the gate family {family}", got)
    if checked.finish == "progressive":
        yield Problem(("budget",), "a budget with finish progressive, which prunes to one", got)
    if checked.ranking != "gate":
        yield Problem(("budget",), f"a budget with ranking {checked.ranking}, as else gates alone say what stays", got)
    if checked.scope != "union":
        yield Problem(("budget",), f"a budget with scope {checked.scope}, which says what it counts", got)


def _settings(checked: _Arguments) -> Settings:
    if checked.budget is not None:
        size = SizeSpec("budget", 0.0, checked.budget, checked.scope)
    else:
        shape = {name: getattr(checked, name) for name in ("ramp", "schedule")}
        given = {name: value for name, value in shape.items() if value is not None}
        size = SizeSpec("penalty", checked.sparsity_weight or 0.0, **given)
    return Settings(
        pool=pool_spec(checked.pool),
        gates=GateSpec(**checked.gates.model_dump()),
        size=size,
        finalisation=FinalisationSpec(ranking=checked.ranking, finish=checked.finish),
        steps=checked.steps,
        tasks=checked.tasks,
        seed=checked.seed,
    )
