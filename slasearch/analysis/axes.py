"""The unit coordinates of a design as what a model takes: fields that vary, the values that they can take, features.

Choices have no order, so three or more become one column each (one-hot); a whole number stays a number, at the middle
of its cell. A field that another one's choice switches off lies at one and the same place, whatever its coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, product

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, IntDistribution

from slasearch.analysis.coordinates import Coordinates
from slasearch.analysis.curves import Level
from slasearch.space.parameters import Parameter

__all__ = ["Axes", "Setting", "axes_of"]

Floats = NDArray[np.float64]

_MOST_LEVELS = 100
"""A whole number with more values than this is as good as continuous."""
_NODES = 40
"""Of Gauss-Legendre quadrature: exact to six digits for the shortest length scale that a kernel may have."""


@dataclass(frozen=True)
class Setting:
    """One of the ways in which choices that switch other fields on and off can stand.

    Args:
        share: How often they stand so.
        active: `k`, whether each field then is one to choose.
        choices: For the column of each such choice, the coordinates with which this is so.
    """

    share: float
    active: NDArray[np.bool_]
    choices: Mapping[int, Floats]

    def allows(self, column: int, coordinates: Floats) -> NDArray[np.bool_]:
        """Which coordinates a field can have in it, whether the field is active or not."""
        chosen = self.choices.get(column)
        return np.ones(len(coordinates), np.bool_) if chosen is None else np.isin(coordinates, chosen)


@dataclass(frozen=True)
class Axes:
    """The axes of a design.

    Args:
        fields: The k searched fields.
        varied: Columns of those that vary.
        still: `k`, the coordinates of the others.
        levels: For each field the coordinates that it can take, each as likely; None for any in [0, 1].
    """

    fields: tuple[Parameter, ...]
    varied: tuple[int, ...]
    still: Floats
    levels: tuple[Floats | None, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Dotted paths of the fields that vary."""
        return tuple(self.fields[column].name for column in self.varied)

    @property
    def columns(self) -> tuple[range, ...]:
        """Where each field that varies stands among the features."""
        ends = accumulate((self._width(column) for column in self.varied), initial=0)
        return tuple(range(*both) for both in pairwise(ends))

    def nodes(self, column: int) -> tuple[Floats, Floats]:
        """Coordinates of a field and their weights in an average over it, `q` each: its levels, else quadrature."""
        levels = self.levels[column]
        if levels is not None:
            return levels, np.full(len(levels), 1 / len(levels))
        roots, weights = np.polynomial.legendre.leggauss(_NODES)
        return (roots + 1) / 2, weights / 2

    def settings(self) -> tuple[Setting, ...]:
        """The ways in which the choices that switch other fields can stand; one, if there are no such choices."""
        switches = [c for c in self.varied if any(self.fields[c].name in field.when for field in self.fields)]
        found = []
        for chosen in product(*(self._alike(column) for column in switches)):
            row = self.still.copy()
            row[switches] = [coordinates[0] for coordinates in chosen]
            share = math.prod(
                len(some) / len(self.nodes(column)[0]) for column, some in zip(switches, chosen, strict=True)
            )
            found.append(Setting(share, self.active(row[None])[0], dict(zip(switches, chosen, strict=True))))
        return tuple(found)

    def _alike(self, column: int) -> list[Floats]:
        """The levels of a choice, those together that switch the same fields."""
        field = self.fields[column]
        rules = [other.when[field.name] for other in self.fields if field.name in other.when]
        groups: dict[tuple[bool, ...], list[float]] = {}
        for coordinate in self.nodes(column)[0].tolist():
            groups.setdefault(tuple(field.at(coordinate) in accepted for accepted in rules), []).append(coordinate)
        return [np.array(group) for group in groups.values()]

    def spread(self, column: int, count: int) -> Floats:
        """At most `count` coordinates over the range of a field, all of its choices."""
        levels = self.levels[column]
        if levels is None:
            return np.linspace(0.0, 1.0, count)
        if len(levels) <= count or self._categorical(column):
            return levels
        return np.asarray(levels[np.unique(np.linspace(0, len(levels) - 1, count).round().astype(int))])

    def value(self, column: int, coordinate: float) -> Level:
        """The stored value at a coordinate; of a number the first six digits."""
        value = self.fields[column].at(min(coordinate, 1.0 - 1e-12))
        return float(f"{value:.6g}") if isinstance(value, float) else value

    def active(self, unit: Floats) -> NDArray[np.bool_]:
        """`m x k`: whether the choices of each row of `m x k` make each field one to choose."""
        found = np.ones(unit.shape, dtype=np.bool_)
        columns = {field.name: column for column, field in enumerate(self.fields)}
        for column, field in enumerate(self.fields):
            for parent, accepted in field.when.items():
                at, place = self.fields[columns[parent]].at, columns[parent]
                chosen = [at(min(share, 1.0 - 1e-12)) in accepted for share in unit[:, place]]
                found[:, column] &= found[:, place] & np.array(chosen, dtype=np.bool_)
        return found

    def features(self, unit: Floats) -> Floats:
        """`m x d` columns for a model, of `m x k` unit coordinates."""
        active = self.active(unit)
        return np.hstack(
            [self.feature(column, self._middles(column, unit[:, column]), active[:, column]) for column in self.varied]
        )

    def feature(self, column: int, coordinates: Floats, active: NDArray[np.bool_]) -> Floats:
        """`m x c` columns for a model, of one field."""
        width = self._width(column)
        if width == 1:
            return np.where(active, coordinates, 0.5)[:, None]
        return np.where(active[:, None], np.eye(width)[(coordinates * width).astype(int)], 1 / width)

    def _middles(self, column: int, coordinates: Floats) -> Floats:
        cells = _cells(self.fields[column])
        if cells is None:
            return coordinates
        return np.asarray((np.minimum((coordinates * cells).astype(int), cells - 1) + 0.5) / cells)

    def _width(self, column: int) -> int:
        cells = _cells(self.fields[column])
        return cells if cells is not None and cells > 2 and self._categorical(column) else 1

    def _categorical(self, column: int) -> bool:
        return isinstance(self.fields[column].distribution, CategoricalDistribution)


def axes_of(coordinates: Coordinates) -> Axes:
    """The axes of a design: a grid has its own levels, other designs all that their fields can take."""
    fields, unit = coordinates.fields, coordinates.unit
    axes = Axes(fields, varied=(), still=unit[0], levels=tuple(_levels(field) for field in fields))
    active = axes.active(unit)
    taken = tuple(np.unique(unit[active[:, column], column]) for column in range(len(fields)))
    varied = tuple(column for column, levels in enumerate(taken) if len(levels) > 1)
    return replace(axes, varied=varied, levels=taken if coordinates.sampler == "grid" else axes.levels)


def _cells(field: Parameter) -> int | None:
    distribution = field.distribution
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return distribution.high - distribution.low + 1 if isinstance(distribution, IntDistribution) else None


def _levels(field: Parameter) -> Floats | None:
    cells = _cells(field)
    return None if cells is None or cells > _MOST_LEVELS else (np.arange(cells) + 0.5) / cells
