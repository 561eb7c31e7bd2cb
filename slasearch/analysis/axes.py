"""The unit coordinates of a design as what a model takes: fields that vary, the values that they can take, features.

Choices have no order, so three or more become one column each (one-hot); a whole number stays a number, at the middle
of its cell. A field that another one's choice switches off lies at one and the same place, whatever its coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, IntDistribution

from slasearch.analysis.coordinates import Coordinates
from slasearch.analysis.curves import Level
from slasearch.space.parameters import Parameter

__all__ = ["Axes", "axes_of", "point_means"]

Floats = NDArray[np.float64]

_SWEEPS = 50
_MOST_LEVELS = 1000
"""A whole number with more values than this is as good as continuous."""


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

    def place(self, shares: Floats) -> Floats:
        """`m x k` unit coordinates of `m x v` shares in [0, 1), v the number of fields that vary."""
        unit = np.tile(self.still, (len(shares), 1))
        for position, column in enumerate(self.varied):
            unit[:, column] = _on_levels(shares[:, position], self.levels[column])
        return unit

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
        return np.column_stack([self._column(column, unit[:, column], active[:, column]) for column in self.varied])

    def _column(self, column: int, unit: Floats, active: NDArray[np.bool_]) -> Floats:
        cells = _cells(self.fields[column])
        if cells is None:
            return np.where(active, unit, 0.5)
        cell = np.minimum((unit * cells).astype(int), cells - 1)
        if self._categorical(column) and cells > 2:
            return np.where(active[:, None], np.eye(cells)[cell], 1 / cells)
        return np.where(active, (cell + 0.5) / cells, 0.5)

    def _categorical(self, column: int) -> bool:
        return isinstance(self.fields[column].distribution, CategoricalDistribution)


def axes_of(coordinates: Coordinates) -> Axes:
    """The axes of a design: a grid has its own levels, other designs all that their fields can take."""
    fields, unit = coordinates.fields, coordinates.unit
    axes = Axes(
        fields=fields,
        varied=tuple(column for column in range(len(fields)) if np.ptp(unit[:, column]) > 0),
        still=unit[0],
        levels=tuple(_levels(field) for field in fields),
    )
    if coordinates.sampler != "grid":
        return axes
    active = axes.active(unit)
    levels = tuple(np.unique(unit[active[:, column], column]) for column in range(len(fields)))
    return Axes(fields, axes.varied, axes.still, levels)


def point_means(coordinates: Coordinates) -> tuple[Floats, Floats]:
    """The mean over seed repeats at each point: `p x k` coordinates and `p` values.

    Repeats are blocks: what a seed pair adds to every point is taken off first (least squares), so that a point which
    lacks a repeat is not shifted by it.
    """
    _, first, point = np.unique(coordinates.points, return_index=True, return_inverse=True)
    _, block = np.unique(coordinates.repeats, return_inverse=True)
    values = coordinates.values
    shifts = np.zeros(block.max() + 1)
    means = np.bincount(point, values) / np.bincount(point)
    for _ in range(_SWEEPS):
        shifts = np.bincount(block, values - means[point]) / np.bincount(block)
        shifts -= shifts.mean()
        means = np.bincount(point, values - shifts[block]) / np.bincount(point)
    return coordinates.unit[first], means


def _cells(field: Parameter) -> int | None:
    distribution = field.distribution
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return distribution.high - distribution.low + 1 if isinstance(distribution, IntDistribution) else None


def _levels(field: Parameter) -> Floats | None:
    cells = _cells(field)
    return None if cells is None or cells > _MOST_LEVELS else (np.arange(cells) + 0.5) / cells


def _on_levels(shares: Floats, levels: Floats | None) -> Floats:
    return shares if levels is None else levels[np.minimum((shares * len(levels)).astype(int), len(levels) - 1)]
