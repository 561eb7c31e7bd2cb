"""The searched fields of a study: names, Optuna distributions, conditions, and values both ways."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial
from pydantic import BaseModel

from slasearch.config.document import Path
from slasearch.config.fields import Choice, Distribution, Scalar
from slasearch.config.schema import StudyConfig, TrainCondition

__all__ = ["Parameter", "active_only", "parameters", "suggest"]


@dataclass(frozen=True)
class Parameter:
    """One searched field.

    Args:
        name: Dotted path in the study file, with a training condition's kind for its position:
            `training.learning_rate`, `conditions.train.typos.level`.
        path: Where the field stands in the study file, with the position.
        distribution: What a sampler draws its stored value from.
        choices: The values of a categorical; empty for numbers.
        when: For each field that this one depends on, the stored values that make it active.
    """

    name: str
    path: Path
    distribution: BaseDistribution
    choices: tuple[Choice, ...] = ()
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What the field takes, as it stands after "expected" in messages."""
        if self.choices:
            return f"one of {', '.join(str(_stored(choice)) for choice in self.choices)}"
        kind = "a whole number" if isinstance(self.distribution, IntDistribution) else "a number"
        low, high = self._ends()
        return f"{kind} from {low:g} to {high:g}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that bound the field: both ends of a range, or every choice."""
        return self.choices or self._ends()

    @property
    def middle(self) -> Any:
        """The base value of a design that names none: the middle of a range (geometric if log), the first choice."""
        if self.choices:
            return self.choices[0]
        if isinstance(self.distribution, IntDistribution):
            return self.at(0.5)
        low, high = self._ends()
        return min(high, max(low, float(f"{self.at(0.5):.6g}")))

    def encode(self, value: Any) -> Any:
        """The stored value of a value as the study file has it.

        Raises:
            ValueError: The distribution does not hold it.
        """
        stored = _stored(value)
        if isinstance(self.distribution, CategoricalDistribution):
            fits = stored in self.distribution.choices
        elif isinstance(stored, (int, float)) and not isinstance(stored, bool):
            low, high = self._ends()
            fits = low <= stored <= high
            if isinstance(self.distribution, FloatDistribution):
                stored = float(stored)
            else:
                fits = fits and isinstance(stored, int)
        else:
            fits = False
        if not fits:
            raise ValueError(f"expected {self.words}, got {value!r}")
        return stored

    def decode(self, stored: Any) -> Any:
        """The value as the study file has it. Raises ValueError if the distribution does not hold it."""
        for choice in self.choices:
            if _stored(choice) == stored:
                return choice
        return self.encode(stored)

    def at(self, u: float) -> Any:
        """The stored value at a share 0 ≤ u < 1 of the distribution."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices[int(u * len(self.distribution.choices))]
        low, high = self._ends()
        if isinstance(self.distribution, IntDistribution):
            return int(low) + int(u * (int(high) - int(low) + 1))
        if isinstance(self.distribution, FloatDistribution) and self.distribution.log:
            return min(high, max(low, math.exp(math.log(low) + u * (math.log(high) - math.log(low)))))
        return low + u * (high - low)

    def share(self, stored: Any) -> float:
        """The share 0 ≤ u ≤ 1 of the distribution at which a stored value lies, in the space in which it is sampled.

        The inverse of `at`: a whole number and a choice lie in the middle of the shares that give them.

        Raises:
            ValueError: The distribution does not hold the value.
        """
        if isinstance(stored, float) and stored.is_integer() and isinstance(self.distribution, IntDistribution):
            stored = int(stored)  # a column of a table in which some trials lack the field
        value = self.encode(self.decode(stored))
        if isinstance(self.distribution, CategoricalDistribution):
            return (self.distribution.choices.index(value) + 0.5) / len(self.distribution.choices)
        low, high = self._ends()
        number = float(value)
        if isinstance(self.distribution, IntDistribution):
            return (number - low + 0.5) / (high - low + 1)
        if high == low:
            return 0.5
        if isinstance(self.distribution, FloatDistribution) and self.distribution.log:
            return math.log(number / low) / math.log(high / low)
        return (number - low) / (high - low)

    def active(self, params: Mapping[str, Any]) -> bool:
        """Whether the choices so far make this field one to choose."""
        return all(name in params and params[name] in accepted for name, accepted in self.when.items())

    def suggest(self, trial: BaseTrial) -> Any:
        """Asks an Optuna trial for the stored value."""
        if isinstance(self.distribution, CategoricalDistribution):
            return trial.suggest_categorical(self.name, self.distribution.choices)
        if isinstance(self.distribution, IntDistribution):
            return trial.suggest_int(self.name, self.distribution.low, self.distribution.high)
        low, high = self._ends()
        return trial.suggest_float(self.name, low, high, log=getattr(self.distribution, "log", False))

    def _ends(self) -> tuple[float, float]:
        assert isinstance(self.distribution, (FloatDistribution, IntDistribution))
        return self.distribution.low, self.distribution.high


def parameters(config: StudyConfig) -> tuple[Parameter, ...]:
    """The searched fields in the order of the schema, each after those that it depends on."""
    searched = list(_searched(config, (), ()))
    stored = {name: {_stored(choice) for choice in found.categorical or ()} for name, _, found in searched}
    waiting = {name: _parameter(name, path, found, stored) for name, path, found in searched}
    ordered: dict[str, Parameter] = {}
    while waiting:
        ready = (name for name, p in waiting.items() if not any(parent in waiting for parent in p.when))
        # A circle of conditions has no order, and is an error that `check` reports: take it as it stands.
        name = next(ready, next(iter(waiting)))
        ordered[name] = waiting.pop(name)
    return tuple(ordered.values())


def suggest(trial: BaseTrial, config: StudyConfig) -> dict[str, Any]:
    """Asks an Optuna trial for every active field, parents first.

    Returns:
        `params`: stored values by name.
    """
    params: dict[str, Any] = {}
    for parameter in parameters(config):
        if parameter.active(params):
            params[parameter.name] = parameter.suggest(trial)
    return params


def active_only(found: tuple[Parameter, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """`params` out of a stored value for every one of `found`."""
    params: dict[str, Any] = {}
    for parameter in found:
        if parameter.active(params):
            params[parameter.name] = values[parameter.name]
    return params


def _stored(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, tuple)) else value


def _searched(value: Any, name: tuple[str, ...], path: Path) -> Iterator[tuple[str, Path, Distribution]]:
    if isinstance(value, Distribution):
        yield ".".join(name), path, value
    elif isinstance(value, BaseModel):
        for key in type(value).model_fields:
            yield from _searched(getattr(value, key), (*name, key), (*path, key))
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _searched(entry, (*name, key), (*path, key))
    elif isinstance(value, tuple):
        for position, entry in enumerate(value):
            label = entry.kind if isinstance(entry, TrainCondition) else str(position)
            yield from _searched(entry, (*name, label), (*path, position))


def _parameter(name: str, path: Path, found: Distribution, stored: Mapping[str, Container[Scalar]]) -> Parameter:
    when = {parent: _accepted(value, stored.get(parent, ())) for parent, value in found.when.items()}
    if found.categorical is not None:
        distribution: BaseDistribution = CategoricalDistribution([_stored(choice) for choice in found.categorical])
    elif found.int_range is not None:
        distribution = IntDistribution(*found.int_range)
    elif found.log_float is not None:
        distribution = FloatDistribution(*found.log_float, log=True)
    else:
        assert found.float_range is not None
        distribution = FloatDistribution(*found.float_range)
    return Parameter(name, path, distribution, found.categorical or (), when)


def _accepted(value: Scalar | tuple[Choice, ...], choices: Container[Scalar]) -> tuple[Scalar, ...]:
    """A list is one choice if its parent has it as a choice, else any of its entries."""
    whole: Scalar = _stored(value)
    if isinstance(value, tuple) and whole not in choices:
        return tuple(_stored(entry) for entry in value)
    return (whole,)
