"""The points of a study's design phase: one factor at a time, a grid, scrambled Sobol points, or a design of blocks.

In a design of blocks (Morris' trajectories, Saltelli's base points) the numbers of points that belong together follow
each other: point p stands in block p // `block_size`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution

from slasearch.config.schema import DesignPhase, StudyConfig
from slasearch.space.parameters import Parameter, active_only, parameters
from slasearch.space.unit_designs import morris_unit, saltelli_unit

__all__ = [
    "DesignPoint",
    "base_values",
    "block_size",
    "design_points",
    "morris_levels",
    "point_count",
    "second_order",
    "sobol_values",
]

_BELOW_ONE = math.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class DesignPoint:
    """One trial of the design phase, known by `point` and `repeat` however the counts grow.

    Args:
        params: Stored values of the active fields.
        point: Number of the point, from 0.
        repeat: Number of the repetition, from 0, which decides the seed pair.
        factor: Name of the field that this point varies (one_at_a_time), None for the base point and other designs.
    """

    params: dict[str, Any]
    point: int
    repeat: int
    factor: str | None = None


def design_points(config: StudyConfig) -> tuple[DesignPoint, ...]:
    """Every trial of the design phase: all points, then all again for each further seed pair; empty without one."""
    design = config.phases.design
    if design is None:
        return ()
    points = list(_points(config, design))
    return tuple(
        DesignPoint(dict(params), number, repeat, factor)
        for repeat in range(design.seeds)
        for number, (params, factor) in enumerate(points)
    )


def base_values(design: DesignPhase, found: tuple[Parameter, ...]) -> dict[str, Any]:
    """The stored base value of every field: the study's own, else the middle of its range or its first choice."""
    return {p.name: p.encode(design.base.get(p.name, p.middle)) for p in found}


def block_size(design: DesignPhase, fields: int) -> int:
    """How many points each of `phases.design.points` stands for, with that many searched fields."""
    if design.sampler.name == "morris":
        return fields + 1
    if design.sampler.name == "saltelli":
        return 2 * fields + 2 if second_order(design) else fields + 2
    return 1


def morris_levels(design: DesignPhase) -> int:
    """How many levels a Morris design has for each field."""
    return int(design.sampler.options.get("levels", 4))


def second_order(design: DesignPhase) -> bool:
    """Whether a Saltelli design can tell the indices of pairs."""
    return bool(design.sampler.options.get("second_order", 0))


def point_count(design: DesignPhase, fields: int) -> int:
    """At most how many points a design over that many searched fields has, without making them."""
    if design.points is not None:
        return design.points * block_size(design, fields)
    counts = [len(levels) for levels in design.levels.values()]
    return math.prod(counts) if design.sampler.name == "grid" else 1 + sum(counts)


def _points(config: StudyConfig, design: DesignPhase) -> Iterator[tuple[dict[str, Any], str | None]]:
    found = parameters(config)
    if design.points is not None:
        for point in _filling(found, design, design.points, config.seed):
            yield active_only(found, point), None
        return
    base = base_values(design, found)
    levels = {p.name: [p.encode(level) for level in design.levels[p.name]] for p in found if p.name in design.levels}
    if design.sampler.name == "grid":
        yield from ((params, None) for params in _grid(found, base, levels))
        return
    yield active_only(found, base), None
    for name, values in levels.items():
        for value in values:
            if value != base[name]:
                yield active_only(found, {**base, name: value}), name


def _filling(found: Sequence[Parameter], design: DesignPhase, points: int, seed: int) -> Iterator[dict[str, Any]]:
    """Stored values of a design that varies every field at once."""
    if design.sampler.name == "qmc":
        return sobol_values(found, points, seed)
    if design.sampler.name == "morris":
        choices = {
            number: len(parameter.distribution.choices)
            for number, parameter in enumerate(found)
            if isinstance(parameter.distribution, CategoricalDistribution) and len(parameter.distribution.choices) > 2
        }
        rows = morris_unit(len(found), points, levels=morris_levels(design), seed=seed, choices=choices)
    else:
        rows = saltelli_unit(len(found), points, second_order=second_order(design), seed=seed)
    return _stored(found, rows.tolist())


def _stored(found: Sequence[Parameter], rows: Iterable[Sequence[float]]) -> Iterator[dict[str, Any]]:
    """Rows of the unit cube as stored values; Morris' trajectories reach its far side, a share ends below it."""
    for row in rows:
        yield {p.name: p.at(min(u, _BELOW_ONE)) for p, u in zip(found, row, strict=True)}


def _grid(found: tuple[Parameter, ...], base: dict[str, Any], levels: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination; those that differ in inactive fields only are one point."""
    seen: set[tuple[tuple[str, Any], ...]] = set()
    for combination in itertools.product(*levels.values()):
        params = active_only(found, {**base, **dict(zip(levels, combination, strict=True))})
        if (key := tuple(params.items())) not in seen:
            seen.add(key)
            yield params


def sobol_values(found: Sequence[Parameter], count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Scrambled Sobol points (Owen 1998) as stored values, active or not, one dimension a field.

    The first n are the same for every larger count.
    """
    import numpy as np
    from scipy.stats import qmc

    sobol = qmc.Sobol(len(found), scramble=True, rng=np.random.default_rng(seed))
    shares = sobol.random_base2(math.ceil(math.log2(count)))[:count]
    return _stored(found, shares.tolist())
