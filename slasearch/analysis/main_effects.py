"""Main effects of a design: what each level of a field adds, in an additive model fitted by least squares.

    y = μ + Σ_f e_f(x_f) + ε        Σ_levels e_f = 0 for choices,    e_f linear along a range, on its sampled axis

It has few numbers to find, so a fractional design of some dozens of points tells something where a process over all
fields has too little to go by. What fields do together is part of ε: it widens the intervals, and goes unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from scipy import stats

from slasearch.analysis.axes import Axes, axes_of
from slasearch.analysis.coordinates import (
    DesignResponse,
    design_coordinates,
    empty_words,
    refuse_constant,
    response_words,
)
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.intervals import holm
from slasearch.analysis.missing import missing_words
from slasearch.analysis.points import points_of
from slasearch.errors import ReportError
from slasearch.space.parameters import Parameter

__all__ = ["FieldEffect", "LevelEffect", "MainEffects", "main_effects"]

_LEAST_FREE = 8
"""Degrees of freedom of the residual below which intervals are too wide to be worth showing."""

_ROUNDING = 1e-9
"""Of the spread of all values: what is smaller is rounding, and not an effect or a residual."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LevelEffect:
    """What one level adds to the mean of its field's levels, or an end of a range to its middle; 95 % t-interval.

    `level` is the stored value, `n` the points that have it (for an end of a range: all that use the field).
    """

    level: Any
    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class FieldEffect:
    """The levels of one field; p of the F-test that none of them adds anything, and p after Holm over the fields.

    Where the model fits to rounding there is nothing to test: p is 0 of a field that adds something, else 1.
    """

    name: str
    levels: tuple[LevelEffect, ...]
    p: float
    p_holm: float

    @property
    def told(self) -> bool:
        """Whether the field is told from one that adds nothing."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class MainEffects:
    """Fields by p, the surest first.

    `n` points, each the mean over its seed repeats, leave `free` degrees of freedom; `deviation` is that of the
    residuals and `r2` the share of variance that the model takes, both on the `n` points themselves. In the unit of the
    response; of `exported_parameters` of its natural logarithm.
    """

    response: DesignResponse
    fields: tuple[FieldEffect, ...]
    n: int
    free: int
    deviation: float
    r2: float
    warnings: tuple[str, ...] = ()


def main_effects(frames: StudyFrames, response: DesignResponse = "score") -> MainEffects:
    """Main effects of every field that varies in a space-filling design.

    Args:
        frames: The study.
        response: `score`, `exported_parameters` or `robustness`.

    Raises:
        ReportError: There is no such design, it has too few points for its fields, or two fields always move together.
    """
    coordinates = design_coordinates(frames, response, ("qmc",), what="Main effects")
    points = points_of(coordinates)
    unit, values = points.unit, points.means
    axes = axes_of(coordinates)
    blocks = [_Block.of(axes, unit, column) for column in axes.varied]
    model = np.hstack([np.ones((len(unit), 1)), *(block.columns for block in blocks)])
    free = len(unit) - model.shape[1]
    if free < _LEAST_FREE:
        raise ReportError(
            f"Main effects of {response_words(response)}: expected at least {model.shape[1] + _LEAST_FREE} complete "
            f"points for {len(blocks)} fields, got {len(unit)}. Raise phases.design.points and run again."
        )
    if np.linalg.matrix_rank(model) < model.shape[1]:
        raise ReportError(
            f"Main effects of {response_words(response)}: expected fields that vary by themselves, got some that "
            "always move together in these points. Raise phases.design.points and run again."
        )
    refuse_constant(f"Main effects of {response_words(response)}", values)
    inverse = np.linalg.inv(model.T @ model)
    found = inverse @ model.T @ values
    residual = values - model @ found
    variance = float(residual @ residual) / free
    spread = float(((values - values.mean()) ** 2).sum())
    if variance <= _ROUNDING**2 * spread:
        # Nothing is left over, such as of a size that one choice sets: what remains of either is rounding.
        variance, found = 0.0, np.where(np.abs(found) <= _ROUNDING * spread**0.5, 0.0, found)
    effects, start = [], 1
    for block in blocks:
        part = slice(start, start + block.columns.shape[1])
        effects.append(block.effect(found[part], variance * inverse[part, part], free))
        start = part.stop
    adjusted = holm([effect.p for effect in effects])
    told = [FieldEffect(one.name, one.levels, one.p, p or 0.0) for one, p in zip(effects, adjusted, strict=True)]
    return MainEffects(
        response=response,
        fields=tuple(sorted(told, key=lambda effect: (effect.p, effect.name))),
        n=len(unit),
        free=free,
        deviation=variance**0.5,
        r2=1 - variance * free / spread,
        warnings=(
            *missing_words(coordinates.missing),
            *((empty_words(coordinates.empty),) if coordinates.empty else ()),
        ),
    )


@dataclass(frozen=True)
class _Block:
    """The columns of one field, `p x q`, and for each level the weights of their q numbers in its effect, `l x q`."""

    field: Parameter
    columns: Floats
    weights: Floats
    levels: tuple[tuple[Any, int], ...]

    @classmethod
    def of(cls, axes: Axes, unit: Floats, column: int) -> _Block:
        """Points that do not use the field have 0 in its columns: they add nothing to it."""
        field, at = axes.fields[column], unit[:, column]
        used = axes.active(unit)[:, column]
        if not isinstance(field.distribution, CategoricalDistribution):
            line = np.where(used, at - 0.5, 0.0)[:, None]
            ends = tuple(field.encode(end) for end in field.ends)
            # A whole number lies in the middle of its cell, and so does not reach the ends of the axis.
            weights = np.array([[field.share(end) - 0.5] for end in ends])
            return cls(field, line, weights, tuple((end, int(used.sum())) for end in ends))
        places = np.unique(at[used])
        chosen = (at[:, None] == places) & used[:, None]
        # Of levels whose effects come to 0, the last one's is what the others lack.
        weights = np.vstack([np.eye(len(places) - 1), -np.ones((1, len(places) - 1))])
        levels = [(field.at(float(place)), int(chosen[:, number].sum())) for number, place in enumerate(places)]
        return cls(field, chosen.astype(np.float64) @ weights, weights, tuple(levels))

    def effect(self, found: Floats, covariance: Floats, free: int) -> FieldEffect:
        """Effects of the levels, of the fitted numbers (`q`) and their covariance (`q x q`)."""
        estimates = self.weights @ found
        reach = float(stats.t.ppf(0.975, free)) * np.sqrt(np.diag(self.weights @ covariance @ self.weights.T))
        levels = tuple(
            LevelEffect(level, float(estimate), float(estimate - half), float(estimate + half), n)
            for (level, n), estimate, half in zip(self.levels, estimates, reach, strict=True)
        )
        if covariance.any():
            statistic = float(found @ np.linalg.solve(covariance, found)) / len(found)
            p = float(stats.f.sf(statistic, len(found), free))
        else:
            p = 0.0 if found.any() else 1.0
        return FieldEffect(self.field.name, levels, p, 1.0)
