"""What is wrong with a valid study file's space: what a schema of single fields cannot see.

A distribution must hold only values that its field takes, a field that plays no part is not searched, conditions and
designs name searched fields and their values, and the pool fits the backbone and the budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath
from typing import Any

from slasearch.config.document import Path, Problem
from slasearch.config.load import LoadedStudy, open_study
from slasearch.config.problems import shown
from slasearch.config.schema import DesignPhase, StudyConfig
from slasearch.space.design import base_values, block_size, point_count
from slasearch.space.fit import backbone_problems, control_problems, source_problems
from slasearch.space.options import option_problems
from slasearch.space.parameters import Parameter, active_only, parameters
from slasearch.space.rules import contradictions, inert
from slasearch.space.substitute import ABSENT, Invalid, substituted
from slasearch.tasks.columns import column_problems

__all__ = ["check", "checked", "load_checked"]

_MOST_TRIALS = 100_000


def load_checked(path: FilePath, overrides: Sequence[str] = (), *, download: bool = False) -> StudyConfig:
    """The study in a file, its space checked too, the backbone's shapes included (its weights are not read).

    Args:
        path: YAML, at most 1 MB.
        overrides: Changes `a.b=c`, applied before validation.
        download: Whether the configuration of a hub's model may be downloaded. Without it, and without a copy in the
            cache, the shapes of that backbone are not checked.

    Raises:
        ConfigError: With all problems, each as `file:line: field: expected …, got …`.
    """
    return checked(open_study(path, overrides), download=download)


def checked(study: LoadedStudy, *, download: bool = False) -> StudyConfig:
    """A valid study, once its space is checked too; `download` as for `load_checked`.

    Raises:
        ConfigError: With all problems, each with the place that it came from.
    """
    problems = check(study.config, download=download)
    if problems:
        raise study.error(problems)
    return study.config


def check(config: StudyConfig, *, download: bool = False) -> list[Problem]:
    """Every problem of a study's space; empty if it can be run. `download` as for `load_checked`."""
    found = parameters(config)
    problems = [*_conditions(found), *_distributions(config, found)]
    pools_can_be_built = not problems
    if pools_can_be_built:
        problems += contradictions(config, found)
    problems += [*inert(config), *option_problems(config), *source_problems(config), *control_problems(config)]
    problems += column_problems(config)
    if config.phases.design is not None:
        problems += _design(config.phases.design, found)
    return [*problems, *backbone_problems(config, found, download=download)] if pools_can_be_built else problems


def _conditions(found: tuple[Parameter, ...]) -> Iterator[Problem]:
    by_name = {parameter.name: parameter for parameter in found}
    for parameter in found:
        for name, accepted in parameter.when.items():
            path = (*parameter.path, "when", name)
            parent = by_name.get(name)
            if parent is None or not parent.choices:
                yield Problem(path, "a field that is searched over a categorical", name)
                continue
            if not accepted:
                yield Problem(path, f"{parent.words}, so that the field is searched at all", "an empty list")
            for value in accepted:
                try:
                    parent.encode(value)
                except ValueError:
                    yield Problem(path, parent.words, shown(value))
            if _reaches(parameter.name, parent, by_name, set()):
                yield Problem(path, "conditions without a circle", f"one that leads back to {parameter.name}")


def _reaches(name: str, start: Parameter, by_name: dict[str, Parameter], seen: set[str]) -> bool:
    if start.name == name:
        return True
    if start.name in seen:
        return False
    seen.add(start.name)
    return any(_reaches(name, by_name[parent], by_name, seen) for parent in start.when if parent in by_name)


def _distributions(config: StudyConfig, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    """Puts each end and each choice in the place of its distribution, and lets the schema judge."""
    for parameter in found:
        for value in parameter.ends:
            for problem in _refusals(config, {parameter.path: value}):
                at = problem.path if problem.path[: len(parameter.path)] == parameter.path else parameter.path
                yield Problem(at, f"a distribution over {problem.expected}", f"one with {shown(value)}")
        if parameter.when and _refusals(config, {parameter.path: ABSENT}):
            expected = "no `when`, as the field has no default for the time when it is not searched"
            yield Problem((*parameter.path, "when"), expected, "one")


def _refusals(config: StudyConfig, values: dict[Path, Any]) -> list[Problem]:
    try:
        substituted(config, values)
    except Invalid as error:
        return error.problems
    return []


def _design(design: DesignPhase, found: tuple[Parameter, ...]) -> list[Problem]:
    at: Path = ("phases", "design")
    if not found:
        return [Problem(at, "a study that searches at least one field", "none")]
    problems = [*_design_names(design, found), *_design_values(design, found), *_design_conditions(design, found)]
    count = point_count(design, len(found)) * design.seeds
    if count > _MOST_TRIALS:
        problems.append(Problem(at, f"at most {_MOST_TRIALS:,} trials", f"{count:,}"))
    return problems or [*_factors(design, found)]


def _factors(design: DesignPhase, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    """Whether each factor of a one-at-a-time design can leave the base point."""
    if design.sampler.name != "one_at_a_time":
        return
    base = base_values(design, found)
    active = active_only(found, base)
    for parameter in found:
        name, path = parameter.name, ("phases", "design", "levels", parameter.name)
        if name in design.levels and name not in active:
            yield Problem(path, "a field that is active at the base point", "one that is not")
        elif name in design.levels and all(parameter.encode(v) == base[name] for v in design.levels[name]):
            yield Problem(path, f"a level other than the base {base[name]}", "none")


def _design_names(design: DesignPhase, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    names = [parameter.name for parameter in found]
    for section, entries in (("levels", design.levels), ("base", design.base)):
        for name in entries:
            path = ("phases", "design", section, name)
            if name not in names:
                yield Problem(path, f"the name of a searched field ({', '.join(names)})", name)
            elif section == "base" and design.points is not None:
                yield Problem(path, f"no base with {design.sampler.name}, which varies every field", name)
            elif section == "base" and design.sampler.name == "grid" and name in design.levels:
                yield Problem(path, "no base for a field that the grid varies", name)


def _design_conditions(design: DesignPhase, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    """Whether every field has a value at every point of a design whose analysis moves one field at a time."""
    conditional = [parameter.name for parameter in found if parameter.when]
    if conditional and block_size(design, len(found)) > 1:
        names = ", ".join(conditional)
        expected = f"one_at_a_time, grid or qmc, as a point may be without a field that has a `when` ({names})"
        yield Problem(("phases", "design", "sampler", "name"), expected, design.sampler.name)


def _design_values(design: DesignPhase, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    for parameter in found:
        name = parameter.name
        levels = design.levels.get(name, ())
        values: list[tuple[Path, Any]] = [(("levels", name, number), level) for number, level in enumerate(levels)]
        if name in design.base:
            values.append((("base", name), design.base[name]))
        for where, value in values:
            try:
                parameter.encode(value)
            except ValueError:
                yield Problem(("phases", "design", *where), parameter.words, shown(value))
        if len(set(levels)) != len(levels):
            yield Problem(("phases", "design", "levels", name), "different levels", shown(levels))
