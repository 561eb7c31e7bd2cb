"""From a study and the choices of one trial to the `TrialSpec` that a worker runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slasearch.config.document import Path, Problem, problem_line
from slasearch.config.fields import Distribution
from slasearch.config.schema import BudgetSize, PoolConfig, StudyConfig, TaskConfig
from slasearch.errors import ConfigError
from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    EarlyStopSpec,
    FinalisationSpec,
    GateSpec,
    PoolSpec,
    SeedPair,
    SizeSpec,
    SplitLimits,
    TaskSpec,
    TrainingSpec,
    TrialSpec,
)
from slasearch.registry import CONDITIONS
from slasearch.space.parameters import parameters
from slasearch.space.substitute import ABSENT, Invalid, substituted

__all__ = ["pool_spec", "resolve", "seeds_for"]

_CONFIRM_OFFSET = 1000


def seeds_for(config: StudyConfig, repeat: int, phase: str) -> SeedPair:
    """The seed pair of a repetition: the study's pair + `repeat`, and + 1000 in `confirm`, which shares no seed."""
    shift = repeat + (_CONFIRM_OFFSET if phase == "confirm" else 0)
    seeds = config.training.seeds
    return SeedPair(init=seeds.init + shift, data=seeds.data + shift)


def resolve(
    config: StudyConfig,
    params: Mapping[str, Any],
    *,
    seeds: SeedPair,
    phase: str,
    control: str | None = None,
    control_size: int | None = None,
    control_variant: str | None = None,
) -> TrialSpec:
    """Everything that one trial needs.

    Args:
        config: The study.
        params: Stored values of the active fields by name; values of inactive fields count for nothing.
        seeds: The trial's seed pair.
        phase: `design`, `optimise`, `tune` or `confirm`; only `confirm` scores the test split, and it
            measures conditions on all examples.
        control: Name of the baseline, None for a trial of the search's own kind.
        control_size: Exported parameters that a control is held to.
        control_variant: Which of a control's layouts, where it has several.

    Raises:
        ConfigError: A field is missing, unknown, or outside its distribution.
    """
    fixed = _fixed(config, params)
    measures = [objective.measure for objective in fixed.objectives if objective.measure is not None]
    return TrialSpec(
        study=fixed.name,
        backbone=BackboneSpec(**fixed.backbone.model_dump()),
        tasks=tuple(_task(task, fixed.seed) for task in fixed.tasks),
        pool=pool_spec(fixed.pool),
        gates=GateSpec(**fixed.gates.model_dump()),
        size=_size(fixed),
        training=_training(fixed),
        finalisation=FinalisationSpec(**fixed.finalisation.model_dump()),
        train_conditions=_train_conditions(fixed),
        recurring=_recurring(config),
        measured=_measured(fixed),
        measured_share=1.0 if phase == "confirm" else fixed.conditions.share,
        race=phase == "optimise" and fixed.conditions.race is not None,
        latency=any(bound.name == "latency" for bound in fixed.constraints),
        seeds=seeds,
        robustness=measures[0] if measures else "noisy_score",
        splits=("validation", "test") if phase == "confirm" else ("validation",),
        control=control,
        control_size=control_size,
        control_variant=control_variant,
    )


def pool_spec(config: PoolConfig) -> PoolSpec:
    """A pool none of whose fields is searched."""
    pool = config.model_dump(exclude={"preset"})
    layers = None if pool["layers"] == "all" else pool["layers"]
    return PoolSpec(**{**pool, "layers": layers, "kind_ranks": tuple(sorted(pool["kind_ranks"].items()))})


def _fixed(config: StudyConfig, params: Mapping[str, Any]) -> StudyConfig:
    """The study with a value in place of every distribution."""
    found = parameters(config)
    unknown = sorted(params.keys() - {parameter.name for parameter in found})
    problems = [Problem((name,), "a searched field", "one that the study does not search") for name in unknown]
    values: dict[Path, Any] = {}
    chosen: dict[str, Any] = {}
    for parameter in found:
        if not parameter.active(chosen):
            values[parameter.path] = ABSENT
        elif parameter.name not in params:
            problems.append(Problem((parameter.name,), parameter.words, "nothing"))
        else:
            chosen[parameter.name] = params[parameter.name]
            try:
                values[parameter.path] = parameter.decode(params[parameter.name])
            except ValueError:
                problems.append(Problem((parameter.name,), parameter.words, repr(params[parameter.name])))
    if not problems:
        try:
            return substituted(config, values)
        except Invalid as error:
            problems = error.problems
    raise ConfigError([problem_line(f"study {config.name}: parameters", problem) for problem in problems])


def _task(task: TaskConfig, seed: int) -> TaskSpec:
    limits = SplitLimits(**task.limits.model_dump())
    return TaskSpec(**{**task.model_dump(), "limits": limits, "splits": tuple(task.splits.items())}, seed=seed)


def _training(config: StudyConfig) -> TrainingSpec:
    fields = config.training.model_dump(exclude={"seeds"})
    stop = fields["early_stop"]
    made = {
        "kind_factors": tuple(fields["kind_factors"].items()),
        "early_stop": None if stop is None else EarlyStopSpec(**stop),
    }
    return TrainingSpec(**{**fields, **made})


def _size(config: StudyConfig) -> SizeSpec:
    size = config.size_control
    if isinstance(size, BudgetSize):
        return SizeSpec(**{**size.model_dump(exclude={"parameters"}), "budget": size.parameters})
    fields = size.model_dump()
    path: tuple[float, ...] = fields["path"] or ()
    weight = path[-1] if path else fields["sparsity_weight"]
    return SizeSpec(**{**fields, "path": path, "sparsity_weight": weight})


def _scale(kind: str, scale: float | None) -> float | None:
    default: float | None = CONDITIONS.get(kind).facts.default_scale
    return default if scale is None else scale


def _train_conditions(config: StudyConfig) -> tuple[ConditionSpec, ...]:
    """Conditions that disturb something: level 0 is left out, so that it is the very same trial as none."""
    return tuple(
        ConditionSpec(c.kind, c.level, "train", c.seed, _scale(c.kind, c.scale))
        for c in config.conditions.train
        if isinstance(c.level, (int, float)) and c.level > 0
    )


def _recurring(config: StudyConfig) -> bool:
    """Whether training is disturbed, at levels of which there are few: fixed ones, or one of a list."""
    levels = [condition.level for condition in config.conditions.train]
    return bool(levels) and all(
        not isinstance(level, Distribution) or level.categorical is not None for level in levels
    )


def _measured(config: StudyConfig) -> tuple[ConditionSpec, ...]:
    return tuple(
        ConditionSpec(c.kind, level, "eval", c.seed, _scale(c.kind, c.scale))
        for c in config.conditions.measured
        for level in c.levels
    )
