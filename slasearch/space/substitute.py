"""A study with some of its searched fields replaced by values."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from slasearch.config.document import Path, Problem
from slasearch.config.problems import problems_of
from slasearch.config.schema import StudyConfig
from slasearch.space.parameters import Parameter, active_only

__all__ = ["ABSENT", "Invalid", "combinations", "substituted"]

ABSENT = object()
"""Stands for a field that the study file does not mention."""


class Invalid(ValueError):
    """The replaced study does not fit the schema: `problems` say where."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{problem.path}: {problem.expected}" for problem in problems))


def substituted(config: StudyConfig, values: Mapping[Path, Any]) -> StudyConfig:
    """The study with a value, or `ABSENT`, at each path; an absent level of a training condition is 0.

    Raises:
        Invalid: The schema refuses the result.
    """
    data: Any = config.model_dump()
    for path, value in values.items():
        if value is ABSENT and path[:2] == ("conditions", "train"):
            value = 0.0
        data = _replaced(data, path, value)
    try:
        return StudyConfig.model_validate(data, strict=True)
    except ValidationError as error:
        raise Invalid(problems_of(error, data)) from None


def combinations(config: StudyConfig, found: tuple[Parameter, ...], names: Collection[str]) -> Iterator[StudyConfig]:
    """The study with each combination that a trial may have of its searched categoricals of these names.

    Those that are searched by a condition stand with the fields that they depend on, and are absent where it fails.
    """
    wanted = set(names)
    while True:
        parents = {parent for parameter in found if parameter.name in wanted for parent in parameter.when}
        if parents <= wanted:
            break
        wanted |= parents
    searched = tuple(parameter for parameter in found if parameter.name in wanted and parameter.choices)
    seen = set()
    for stored in itertools.product(*(parameter.distribution.choices for parameter in searched)):  # type: ignore[attr-defined]
        active = active_only(searched, dict(zip((p.name for p in searched), stored, strict=True)))
        if tuple(active.items()) in seen:
            continue
        seen.add(tuple(active.items()))
        yield substituted(config, {p.path: p.decode(active[p.name]) if p.name in active else ABSENT for p in searched})


def _replaced(data: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(data, dict):
        others = {key: entry for key, entry in data.items() if key != step}
        return others if value is ABSENT and not rest else {**data, step: _replaced(data[step], rest, value)}
    return tuple(_replaced(entry, rest, value) if number == step else entry for number, entry in enumerate(data))
