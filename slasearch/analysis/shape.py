"""The shape of a response over a design: along one field, and over two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.axes import Axes, axes_of
from slasearch.analysis.coordinates import Coordinates, DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import Level, Scale, pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.intervals import NORMAL, t_interval
from slasearch.analysis.parameters import scale_of
from slasearch.analysis.sobol import SobolIndices
from slasearch.analysis.surrogate import Surrogate, fit_surrogate, indices_of

__all__ = [
    "ResponseLine", "ResponseSurface", "lines_of", "measured_surface", "response_lines", "response_surfaces",
    "surfaces_of",
]  # fmt: skip

_LEVELS = 25
_CELLS = 15
_AVERAGED = 100
_LINES = 20
_PAIRS = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ResponseLine:
    """Partial dependence of a response on one field (Friedman 2001) with individual expectations (Goldstein 2015).

    `mean`, `low` and `high` stand at each of `levels`: the average over the design's points with that level put in, and
    the ends of the 95 % interval that the surrogate itself is unsure of. `ice` holds one line for each of some points.
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
    are measured, the one over seeds (NaN with one seed pair). Of `exported_parameters` both are factors taken back from
    the logarithm.
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


def response_lines(frames: StudyFrames, response: DesignResponse = "score") -> tuple[ResponseLine, ...]:
    """Partial dependence on each field that varies over the design, in the order of the study file.

    Raises:
        ReportError: There is no surrogate (see `fit_surrogate`).
    """
    return lines_of(fit_surrogate(frames, response))


def lines_of(surrogate: Surrogate) -> tuple[ResponseLine, ...]:
    """Partial dependence of a surrogate on each field that varies.

    The average is over points of the design at which the field is active, at most 100 of them.
    """
    return tuple(_line(surrogate, column) for column in surrogate.axes.varied)


def _line(surrogate: Surrogate, column: int) -> ResponseLine:
    axes = surrogate.axes
    field, places = axes.fields[column], axes.spread(column, _LEVELS)
    points = _points(surrogate, field.name)
    groups = _put_in(points, {column: places})
    mean, deviation = np.array([surrogate.average(group) for group in groups]).T
    own = _some(points, _LINES)
    ice = surrogate.predict(np.concatenate(_put_in(own, {column: places})))[0].reshape(len(places), len(own))
    back = np.exp if surrogate.response == "exported_parameters" else np.asarray
    return ResponseLine(
        response=surrogate.response,
        field=field.name,
        scale=scale_of(field.distribution),
        levels=_values(axes, column, places),
        mean=_floats(back(mean)),
        low=_floats(back(mean - NORMAL * deviation)),
        high=_floats(back(mean + NORMAL * deviation)),
        ice=tuple(_floats(line) for line in back(ice).T),
        method=f"partial dependence: the field set to each level at {groups.shape[1]} points of the design, averaged; "
        f"single lines: {len(own)} of these points; band: 95 %, what the surrogate is unsure of; {surrogate.method}",
        warnings=surrogate.warnings,
    )


def response_surfaces(frames: StudyFrames, response: DesignResponse = "score") -> tuple[ResponseSurface, ...]:
    """The response over pairs of fields: measured means of a grid of two fields, else the surrogate's.

    The pairs are those with the largest second order Sobol indices of the surrogate, at most three.

    Raises:
        ReportError: There is neither such a grid nor a surrogate (see `fit_surrogate`).
    """
    design = frames.config.phases.design
    if design is not None and design.sampler.name == "grid":
        what = f"Surface of {response_words(response)}"
        coordinates = design_coordinates(frames, response, ("grid",), what=what)
        if len(axes_of(coordinates).varied) == 2:
            return (measured_surface(response, coordinates),)
    surrogate = fit_surrogate(frames, response)
    return surfaces_of(surrogate, indices_of(surrogate))


def surfaces_of(surrogate: Surrogate, indices: SobolIndices) -> tuple[ResponseSurface, ...]:
    """A surrogate over the pairs of fields that do most together, at most three; none where one field varies.

    Args:
        surrogate: Of the response.
        indices: Its Sobol indices.
    """
    pairs = sorted(indices.second, key=lambda pair: -pair.estimate)
    together = (pair.fields for pair in pairs if len(_points(surrogate, *pair.fields)))
    return tuple(_surface(surrogate, *fields) for fields in islice(together, _PAIRS))


def _points(surrogate: Surrogate, *fields: str) -> Floats:
    """The points at which all of the fields are active, at most 100 of them."""
    columns = [surrogate.coordinates.names.index(field) for field in fields]
    return _some(surrogate.points[surrogate.axes.active(surrogate.points)[:, columns].all(axis=1)], _AVERAGED)


def _surface(surrogate: Surrogate, x_name: str, y_name: str) -> ResponseSurface:
    axes, names = surrogate.axes, surrogate.coordinates.names
    x, y = names.index(x_name), names.index(y_name)
    x_places, y_places = axes.spread(x, _CELLS), axes.spread(y, _CELLS)
    y_grid, x_grid = np.meshgrid(y_places, x_places, indexing="ij")
    groups = _put_in(_points(surrogate, x_name, y_name), {x: x_grid.ravel(), y: y_grid.ravel()})
    mean, deviation = np.array([surrogate.average(group) for group in groups]).T
    return _drawn_on(
        surrogate.response,
        axes,
        (x, y),
        (x_places, y_places),
        (mean.reshape(x_grid.shape), NORMAL * deviation.reshape(x_grid.shape)),
        method=f"both fields set to each pair of levels at {groups.shape[1]} points of the design, averaged; "
        f"interval: 95 %, what the surrogate is unsure of; {surrogate.method}",
        warnings=surrogate.warnings,
    )


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
        warnings=(*(("one seed pair: no intervals",) if repeats < 2 else ()), *_holes(mean)),
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


def _put_in(points: Floats, places: dict[int, Floats]) -> Floats:
    """`g x p x k`: the `p` points, g times, with the coordinates of each group put in."""
    groups = np.repeat(points[None], len(next(iter(places.values()))), axis=0)
    for column, values in places.items():
        groups[:, :, column] = values[:, None]
    return groups


def _some(points: Floats, most: int) -> Floats:
    """At most so many of the points, evenly taken."""
    kept = np.linspace(0, len(points) - 1, most).round().astype(int)
    return points if len(points) <= most else np.asarray(points[kept])


def _values(axes: Axes, column: int, places: Floats) -> tuple[Level, ...]:
    return tuple(axes.value(column, float(place)) for place in places)


def _floats(values: Sequence[float] | Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
