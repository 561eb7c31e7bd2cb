"""What a study asks, in words: read from its file and what its sampler began from, whatever came of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from slasearch.analysis.roles import role_phrase
from slasearch.config.fields import Distribution
from slasearch.config.phases import ConfirmPhase, DesignPhase, OptimisePhase
from slasearch.config.schema import ObjectiveConfig, PoolConfig, StudyConfig
from slasearch.report.finding import listed
from slasearch.report.labels import bound_label, condition_label, level_label, objective_label, short_factor, thousands
from slasearch.space.parameters import Parameter, parameters
from slasearch.storage.rows import WarmStart

__all__ = ["asked"]


def asked(config: StudyConfig, warm: WarmStart | None = None) -> tuple[tuple[str, str], ...]:
    """Pairs of what a part of the study is about and a sentence on it, in the order in which it is run."""
    phases = config.phases
    found = [
        ("Question", _question(config)),
        ("Modules", _modules(config.pool)),
        ("Searched", _searched(parameters(config))),
        ("Design", _design(phases.design) if phases.design else ""),
        ("Search", _search(phases.optimise, warm) if phases.optimise else ""),
        ("Confirmation", _confirmation(phases.confirm) if phases.confirm else ""),
        ("Disturbance", _disturbance(config)),
    ]
    return tuple((topic, text) for topic, text in found if text)


def _question(config: StudyConfig) -> str:
    tasks = listed([f"{task.name} ({task.metric.replace('_', ' ')})" for task in config.tasks])
    goals = listed([_goal(config, objective) for objective in config.objectives])
    number = f"the {len(config.tasks)} tasks {tasks}" if len(config.tasks) > 1 else f"the task {tasks}"
    kept = listed([bound_label(config, bound) for bound in config.constraints])
    bounds = f", with {kept}" if kept else ""
    return f"Which adapter structures on {config.backbone.id}, kept frozen, have {goals}{bounds}, on {number}?"


def _goal(config: StudyConfig, objective: ObjectiveConfig) -> str:
    if objective.name == "score":
        return "the best score"
    if objective.name == "exported_parameters":
        return "the fewest exported parameters"
    return f"the best {objective_label(config, 'robustness').replace('Robustness', 'robustness')}"


def _modules(pool: PoolConfig) -> str:
    layers = "all layers" if pool.layers == "all" else f"layers {_one_of(pool.layers)}"
    kinds = re.sub(r"\blora\b", "LoRA", _one_of(pool.kinds))
    others = "; ".join(f"{kind} of rank {_one_of(ranks)}" for kind, ranks in pool.kind_ranks.items())
    ranks = f"{_one_of(pool.ranks)} ({others})" if others else _one_of(pool.ranks)
    modules = f"{kinds} modules of rank {ranks}, at {_one_of(pool.sites)} in {layers}"
    return f"{_first_up(modules)}; each has a gate for every task, which learns whether it stays."


def _one_of(value: Any) -> str:
    """`lora and bias`; of a searched field its choices."""
    if isinstance(value, Distribution):
        choices = [_one_of(choice) for choice in value.categorical or ()]
        return f"either {' or '.join(choices)}" if choices else "as searched"
    return listed([str(item) for item in value]) if isinstance(value, tuple) else str(value)


def _searched(fields: Sequence[Parameter]) -> str:
    return f"{_first_up(listed([_range(field) for field in fields]))}." if fields else ""


def _range(field: Parameter) -> str:
    name, kind = short_factor(field.name), field.distribution
    if isinstance(kind, FloatDistribution | IntDistribution):
        return f"{name} from {level_label(kind.low)} to {level_label(kind.high)}{' (logarithmic)' if kind.log else ''}"
    return f"{name} ({', '.join(level_label(field.encode(choice)) for choice in field.choices)})"


def _design(phase: DesignPhase) -> str:
    varied = listed([short_factor(name) for name in phase.levels])
    counts = [len(levels) for levels in phase.levels.values()]
    places = {
        "one_at_a_time": f"{sum(counts)} levels of {varied}, one field at a time from a base point",
        "grid": f"every combination of {' × '.join(map(str, counts))} levels of {varied}",
        "qmc": f"{phase.points} points spread evenly over all searched fields",
    }
    where = places.get(phase.sampler.name, f"points of {phase.sampler.name} over the searched fields")
    return f"What does each field do? {_first_up(where)}, each point with {_pairs(phase.seeds)}, none stopped early."


def _search(phase: OptimisePhase, warm: WarmStart | None) -> str:
    pruner = phase.pruner.name.replace("_", " ")
    stopped = "" if pruner == "none" else f", those that lag behind stopped by {pruner}"
    proposed = f"{thousands(phase.trials)} trials proposed by {phase.sampler.name}{stopped}"
    text = f"What is best? {proposed}, with one seed pair each."
    return text if warm is None else f"{text} {_first_up(warm.words)}; they count in nothing else."


def _confirmation(phase: ConfirmPhase) -> str:
    best = "The best" if phase.top == 1 else f"The {phase.top} best"
    beside = listed([role_phrase(f"control:{name}") for name in phase.controls])
    if phase.finalists > 1:
        best += f" of {phase.finalists} finalists, which are tried with {_pairs(phase.finalist_seeds)},"
    text = f"{best} by each objective again with {_pairs(phase.seeds)}, scored on the test split"
    return f"Is it better than what is known? {text}{f', beside {beside}' if beside else ''}."


def _disturbance(config: StudyConfig) -> str:
    measured = [f"{condition_label(item.kind)} ({_levels(item.levels)})" for item in config.conditions.measured]
    return f"How does it hold up? Every trial is scored under {listed(measured)} too." if measured else ""


def _levels(levels: Sequence[float]) -> str:
    return ", ".join(f"{level:g}" for level in sorted(levels))


def _pairs(count: int) -> str:
    return "one seed pair" if count == 1 else f"{count} seed pairs"


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]
