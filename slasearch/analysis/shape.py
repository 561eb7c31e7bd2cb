"""The shape of a response over a design: along one field, and over two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.averages import Averages, averages_of
from slasearch.analysis.axes import Axes, axes_of
from slasearch.analysis.coordinates import Coordinates, DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import Level, Scale, pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.intervals import NORMAL, t_interval
from slasearch.analysis.parameters import scale_of
from slasearch.analysis.points import point_noise, points_of
from slasearch.analysis.sobol import SobolIndices
from slasearch.analysis.surrogate import Surrogate, fit_surrogate, indices_of

__all__ = [
    "ResponseLine", "ResponseSurface", "lines_of", "measured_surface", "response_lines", "response_surfaces",
    "surfaces_of",
]  # fmt: skip

_LEVELS = 25
_CELLS = 15
_LINES = 20
_PAIRS = 3
_ONE_PAIR = "one seed pair: no intervals"
_FEW_PAIRS = "hardly any point has several seed pairs yet: no intervals"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ResponseLine:
    """Partial dependence of a response on one field (Friedman 2001) with individual expectations (Goldstein 2015).

    `mean`, `low` and `high` stand at each of `levels`: what is expected there, averaged over all that the other fields
    can take, and the ends of the 95 % interval that the surrogate itself is unsure of (NaN on a grid with one seed
    pair). `ice` holds one line for each of some points of the design.
    Values are in the response's own unit; `exported_parameters` are taken back from the logarithm.
    """

    response: DesignResponse
    field: str
    scale: Scale
    levels: tuple[Level, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    ice: tuple[tuple[float, ...], ...]
    method: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResponseSurface:
    """A response over two fields, the others averaged over: `mean[i][j]` at `y_levels[i]` and `x_levels[j]`.

    `unsure[i][j]` is the half width of the 95 % interval there: the surrogate's, or, where the method says that means
    are measured, the one over seeds (NaN on a grid with one seed pair). Of `exported_parameters` both are factors taken
    back from the logarithm. `together`: whether the pair's share of variance is told from nothing; None: not known.
    """

    response: DesignResponse
    x_field: str
    y_field: str
    x_scale: Scale
    y_scale: Scale
    x_levels: tuple[Level, ...]
    y_levels: tuple[Level, ...]
    mean: tuple[tuple[float, ...], ...]
    unsure: tuple[tuple[float, ...], ...]
    method: str
    warnings: tuple[str, ...] = ()
    together: bool | None = None


def response_lines(frames: StudyFrames, response: DesignResponse = "score") -> tuple[ResponseLine, ...]:
    """Partial dependence on each field that varies over the design, in the order of the study file.

    Raises:
        ReportError: There is no surrogate (see `fit_surrogate`).
    """
    return lines_of(fit_surrogate(frames, response))


def lines_of(surrogate: Surrogate) -> tuple[ResponseLine, ...]:
    """Partial dependence of a surrogate on each field that varies, where the field is active."""
    averages = averages_of(surrogate.process, surrogate.axes)
    return tuple(_line(surrogate, averages, column) for column in surrogate.axes.varied)


def _line(surrogate: Surrogate, averages: Averages, column: int) -> ResponseLine:
    axes = surrogate.axes
    field, places = axes.fields[column], axes.spread(column, _LEVELS)
    mean, deviation = averages.along([column], places[:, None])
    half, warnings = _known(surrogate, deviation)
    own = _some(surrogate.points[axes.active(surrogate.points)[:, column]], _LINES)
    groups = np.repeat(own[None], len(places), axis=0)
    groups[:, :, column] = places[:, None]
    ice = surrogate.mean(groups.reshape(-1, own.shape[1])).reshape(len(places), len(own))
    back = np.exp if surrogate.response == "exported_parameters" else np.asarray
    return ResponseLine(
        response=surrogate.response,
        field=field.name,
        scale=scale_of(field.distribution),
        levels=_values(axes, column, places),
        mean=_floats(back(mean)),
        low=_floats(back(mean - half)),
        high=_floats(back(mean + half)),
        ice=tuple(_floats(line) for line in back(ice).T),
        method="partial dependence: expected at each level of the field, over all that the other fields can take; "
        f"single lines: {len(own)} points of the design; band: 95 %, what the surrogate is unsure of; "
        f"{surrogate.method}",
        warnings=warnings,
    )


def response_surfaces(frames: StudyFrames, response: DesignResponse = "score") -> tuple[ResponseSurface, ...]:
    """The response over pairs of fields: measured means of a grid of two fields, else the surrogate's.

    A grid in which a choice of one field switches the other off is none of two fields. The surrogate's pairs are those
    with its largest second order Sobol indices, at most three.

    Raises:
        ReportError: There is neither such a grid nor a surrogate (see `fit_surrogate`).
    """
    design = frames.config.phases.design
    if design is not None and design.sampler.name == "grid":
        what = f"Surface of {response_words(response)}"
        coordinates = design_coordinates(frames, response, ("grid",), what=what)
        axes = axes_of(coordinates)
        if len(axes.varied) == 2 and axes.active(coordinates.unit)[:, axes.varied].all():
            return (measured_surface(response, coordinates),)
    surrogate = fit_surrogate(frames, response)
    return surfaces_of(surrogate, indices_of(surrogate))


def surfaces_of(surrogate: Surrogate, indices: SobolIndices) -> tuple[ResponseSurface, ...]:
    """A surrogate over the pairs of fields that do most together, at most three; none where one field varies.

    Args:
        surrogate: Of the response.
        indices: Its Sobol indices.
    """
    averages, names = averages_of(surrogate.process, surrogate.axes), surrogate.coordinates.names
    ranked = sorted(indices.second, key=lambda pair: -pair.estimate)
    pairs = (([names.index(field) for field in pair.fields], pair.low > 0) for pair in ranked)
    met = (pair for pair in pairs if any(setting.active[pair[0]].all() for setting in averages.settings))
    return tuple(
        replace(_surface(surrogate, averages, x, y), together=together) for (x, y), together in islice(met, _PAIRS)
    )


def _surface(surrogate: Surrogate, averages: Averages, x: int, y: int) -> ResponseSurface:
    axes = surrogate.axes
    x_places, y_places = axes.spread(x, _CELLS), axes.spread(y, _CELLS)
    y_grid, x_grid = np.meshgrid(y_places, x_places, indexing="ij")
    mean, deviation = averages.along([x, y], np.column_stack([x_grid.ravel(), y_grid.ravel()]))
    half, warnings = _known(surrogate, deviation)
    return _drawn_on(
        surrogate.response,
        axes,
        (x, y),
        (x_places, y_places),
        (mean.reshape(x_grid.shape), half.reshape(x_grid.shape)),
        method="expected at each pair of levels, over all that the other fields can take; "
        f"interval: 95 %, what the surrogate is unsure of; {surrogate.method}",
        warnings=warnings,
    )


def _known(surrogate: Surrogate, deviation: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Half widths of 95 % intervals, and the warnings.

    Levels of a grid are points of the design, through which a process may run that takes the seeds' noise for the
    response: with one seed pair, or while hardly any point has a second one, nothing tells the two apart.
    """
    coordinates = surrogate.coordinates
    if coordinates.sampler != "grid" or point_noise(points_of(coordinates)) is not None:
        return NORMAL * deviation, surrogate.warnings
    few = _ONE_PAIR if len(np.unique(coordinates.repeats)) < 2 else _FEW_PAIRS
    return np.full_like(deviation, math.nan), (*surrogate.warnings, few)


def measured_surface(response: DesignResponse, coordinates: Coordinates) -> ResponseSurface:
    """The means over seed repeats at the points of a grid of two fields, with the half widths of t-intervals.

    Args:
        response: What was measured.
        coordinates: Of a grid over which two fields vary. Where a point has no complete trial its mean is NaN.
    """
    axes = axes_of(coordinates)
    x, y = axes.varied
    x_places, y_places = np.unique(coordinates.unit[:, x]), np.unique(coordinates.unit[:, y])
    mean = np.full((len(y_places), len(x_places)), math.nan)
    half = mean.copy()
    for i, j in np.ndindex(mean.shape):
        here = (coordinates.unit[:, x] == x_places[j]) & (coordinates.unit[:, y] == y_places[i])
        estimate = t_interval(coordinates.values[here])
        mean[i, j], half[i, j] = estimate.mean, math.nan if estimate.half_width is None else estimate.half_width
    repeats = len(np.unique(coordinates.repeats))
    return _drawn_on(
        response,
        axes,
        (x, y),
        (x_places, y_places),
        (mean, half),
        method=f"measured means at the points of the grid; {pairs_of_seeds(repeats)}; 95 % t-intervals over seeds",
        warnings=(*((_ONE_PAIR,) if repeats < 2 else ()), *_holes(mean)),
    )


def _holes(mean: Floats) -> tuple[str, ...]:
    missing = int(np.isnan(mean).sum())
    return (f"{missing} of {mean.size} points of the grid have no complete trial",) if missing else ()


def _drawn_on(
    response: DesignResponse,
    axes: Axes,
    columns: tuple[int, int],
    places: tuple[Floats, Floats],
    found: tuple[Floats, Floats],
    *,
    method: str,
    warnings: tuple[str, ...],
) -> ResponseSurface:
    """The surface of `mean` and half widths, both over `y x x` places, in the response's own unit."""
    back = np.exp if response == "exported_parameters" else np.asarray
    mean, unsure = (tuple(_floats(row) for row in back(values)) for values in found)
    x, y = (axes.fields[column] for column in columns)
    return ResponseSurface(
        response=response,
        x_field=x.name,
        y_field=y.name,
        x_scale=scale_of(x.distribution),
        y_scale=scale_of(y.distribution),
        x_levels=_values(axes, columns[0], places[0]),
        y_levels=_values(axes, columns[1], places[1]),
        mean=mean,
        unsure=unsure,
        method=method,
        warnings=warnings,
    )


def _some(points: Floats, most: int) -> Floats:
    """At most so many of the points, evenly taken."""
    kept = np.linspace(0, len(points) - 1, most).round().astype(int)
    return points if len(points) <= most else np.asarray(points[kept])


def _values(axes: Axes, column: int, places: Floats) -> tuple[Level, ...]:
    return tuple(axes.value(column, float(place)) for place in places)


def _floats(values: Sequence[float] | Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
