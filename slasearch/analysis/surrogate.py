"""A Gaussian process over the trials of a design, how far it can be trusted, and the Sobol indices of it.

Real training affords some hundred trials, where direct Sobol indices need thousands. The indices are those of the
process's mean at Saltelli points. Their intervals hold two errors: what the points of the design leave open, by a
jackknife over eight groups of them (the process is fitted again without each), and what the Saltelli points leave open,
by a bootstrap. Functions drawn from the process give intervals that fall short: from 64 points of the Ishigami function
they held the truth in 62 % of cases, the jackknife in 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slasearch.analysis.axes import Axes, axes_of, point_means
from slasearch.analysis.coordinates import Coordinates, DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.gaussian import FOLDS, Process, cross_validated, fit_process
from slasearch.analysis.sobol import Index, PairIndex, SobolIndices, direct_indices
from slasearch.errors import ReportError
from slasearch.space.unit_designs import saltelli_unit

__all__ = ["MINIMUM_R2", "Surrogate", "fit_surrogate", "indices_of", "surrogate_indices", "surrogate_of"]

MINIMUM_R2 = 0.5
"""Cross-validated R² below which a surrogate says that it does not know."""
DESIGNS = ("qmc", "saltelli", "grid")
"""Designs that fill the space, as a surrogate needs."""

_POINTS = 16
_POINTS_A_FIELD = 4
_LARGEST = 500
_ROWS, _CELLS = 60_000, 500_000
_FEWER = 4
_LEAST = 0.01
_SEED = 1
_WIDE = 1.2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate of one response.

    `predict` takes `m x k` unit coordinates and gives mean and standard deviation, `m` each, of the response without
    the noise of seeds, in the units of `coordinates.values`. `r2` is cross-validated over points: repeats of one point
    are never on both sides. `average` gives mean and standard deviation of the average over such rows. `mean`
    gives the mean alone; each of `without` gives the mean of a surrogate that was fitted without an eighth of the
    points. `points` are the `p x k` coordinates of the points that it knows.
    """

    response: DesignResponse
    coordinates: Coordinates
    axes: Axes
    points: Floats
    predict: Callable[[Floats], tuple[Floats, Floats]]
    average: Callable[[Floats], tuple[float, float]]
    mean: Callable[[Floats], Floats]
    without: tuple[Callable[[Floats], Floats], ...]
    r2: float
    method: str
    warnings: tuple[str, ...] = ()


def fit_surrogate(frames: StudyFrames, response: DesignResponse = "score") -> Surrogate:
    """The surrogate of one response over the points of a design, each the mean over its seed repeats.

    Args:
        frames: The study.
        response: `score`, `exported_parameters` (its logarithm) or `robustness`.

    Raises:
        ReportError: No design that fills the space, too few points, nothing that varies, or a cross-validated R² below
            0.5: the surrogate does not know.
    """
    what = f"Surrogate of {response_words(response)}"
    return surrogate_of(design_coordinates(frames, response, DESIGNS, what=what), response)


def surrogate_of(coordinates: Coordinates, response: DesignResponse) -> Surrogate:
    """The surrogate of what was measured at some coordinates. Raises ReportError as `fit_surrogate` does."""
    what = f"Surrogate of {response_words(response)}"
    axes = axes_of(coordinates)
    points, values = point_means(coordinates)
    _check(what, axes, values)
    kept = np.sort(np.random.default_rng(_SEED).permutation(len(points))[:_LARGEST])
    x, y = axes.features(points[kept]), values[kept]
    process, r2, partial = cross_validated(x, y, fit_process(x, y))
    if r2 < MINIMUM_R2:
        raise ReportError(
            f"{what}: expected a cross-validated R² of at least {MINIMUM_R2}, got {r2:.2f} from {len(kept)} points: "
            f"it does not know, and what it said of the fields would be guesses. {_MORE}"
        )
    return Surrogate(
        response=response,
        coordinates=coordinates,
        axes=axes,
        points=points[kept],
        predict=lambda unit: process.predict(axes.features(unit)),
        average=lambda unit: process.average(axes.features(unit)),
        mean=_mean(axes, process),
        without=tuple(_mean(axes, one) for one in partial),
        r2=r2,
        method=_method(coordinates, len(kept), len(points), r2),
        warnings=tuple(_cautions(coordinates, axes, process.widened)),
    )


def _mean(axes: Axes, process: Process) -> Callable[[Floats], Floats]:
    return lambda unit: process.mean(axes.features(unit))


_MORE = "Raise `phases.design.points` (of a grid: its levels) or `phases.design.seeds`, and run again."


def _check(what: str, axes: Axes, values: Floats) -> None:
    if not axes.varied:
        raise ReportError(f"{what}: expected a searched field that varies over the design, got none. Search a field.")
    least = max(_POINTS, _POINTS_A_FIELD * len(axes.varied))
    if len(values) < least:
        raise ReportError(
            f"{what}: expected at least {least} points ({_POINTS_A_FIELD} for each field that varies, {_POINTS} in any "
            f"case), got {len(values)}. {_MORE}"
        )
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        raise ReportError(
            f"{what}: expected a response that varies, got {values[0]:.6g} at all {len(values)} points. "
            "No field changes it over these ranges: search wider ones, or ask for another response."
        )


def _method(coordinates: Coordinates, used: int, points: int, r2: float) -> str:
    repeats = len(np.unique(coordinates.repeats))
    means = "one seed pair" if repeats == 1 else f"means over {pairs_of_seeds(repeats)}"
    count = f"{used} points" if used == points else f"{used} of {points} points, drawn by chance"
    return (
        f"Gaussian process (ANOVA kernel) of {count} of a {coordinates.sampler} design, "
        f"{means}; R² {r2:.2f} at points held out"
    )


def _cautions(coordinates: Coordinates, axes: Axes, widened: float) -> Iterator[str]:
    for column, name in enumerate(coordinates.names):
        if column not in axes.varied:
            yield f"{name} does not vary over the design: nothing is known of it, and its index is 0"
    if coordinates.failed:
        count = "1 trial" if coordinates.failed == 1 else f"{coordinates.failed} trials"
        yield f"{count} of the design failed and {'is' if coordinates.failed == 1 else 'are'} not in it"
    if widened > _WIDE:
        yield (
            f"the process was too sure of itself at points held out: its deviations are widened {widened:.1f} times, "
            "until they fit the errors"
        )


def surrogate_indices(frames: StudyFrames, response: DesignResponse = "score") -> SobolIndices:
    """Sobol indices of the surrogate of one response. Raises ReportError as `fit_surrogate` does."""
    return indices_of(fit_surrogate(frames, response))


def indices_of(surrogate: Surrogate) -> SobolIndices:
    """First, total and second order Sobol indices of a surrogate's mean, each with a 95 % interval.

    Fields that do not vary have index 0. No interval is narrower than ± .01: less is not told from nothing.
    """
    axes = surrogate.axes
    count = len(axes.varied)
    pairs = count > 1
    block = 2 * count + 2 if pairs else count + 2
    n = 2 ** int(math.log2(min(_ROWS, _CELLS / count) / block))
    unit = axes.place(saltelli_unit(count, n, second_order=pairs, seed=_SEED))
    first, total, second = direct_indices(surrogate.mean(unit), axes.names, second_order=pairs, seed=_SEED)
    few = unit[: len(unit) // _FEWER]
    refitted = np.array([_estimates(mean(few), block, count) for mean in surrogate.without])
    errors = float(stats.t.ppf(0.975, FOLDS - 1)) * math.sqrt(FOLDS - 1) * refitted.std(axis=0)
    still = {name: Index(name, 0.0, 0.0, 0.0) for name in surrogate.coordinates.names}
    return SobolIndices(
        response=surrogate.response,
        first=_with(still, first, errors[:count]),
        total=_with(still, total, errors[count : 2 * count]),
        second=tuple(_wider(pair, error) for pair, error in zip(second, errors[2 * count :], strict=True)),
        n=len(surrogate.coordinates.values),
        source="surrogate",
        r2=surrogate.r2,
        method=f"Sobol indices at {len(unit):,} Saltelli points of a {surrogate.method}; 95 % intervals: jackknife "
        f"over {FOLDS} groups of points and bootstrap over Saltelli points",
        warnings=surrogate.warnings,
    )


One = TypeVar("One", Index, PairIndex)


def _with(still: dict[str, Index], found: Sequence[Index], errors: Floats) -> tuple[Index, ...]:
    """Indices of all fields, with half widths of what the design leaves open put into those that were found."""
    wider = {one.field: _wider(one, error) for one, error in zip(found, errors, strict=True)}
    return tuple((still | wider).values())


def _wider(one: One, error: float) -> One:
    half = max(_LEAST, math.hypot(one.high - one.estimate, error))
    return replace(one, low=one.estimate - half, high=one.estimate + half)


def _estimates(values: Floats, block: int, count: int) -> Floats:
    """First order, total order and pairs, in one row, of values at whole blocks of Saltelli points."""
    from SALib.analyze.sobol import first_order, second_order, total_order  # type: ignore[import-untyped]

    cube = ((values - values.mean()) / (values.std() or 1.0)).reshape(-1, block).T
    a, b, swapped = cube[0], cube[-1], cube[1 : 1 + count]
    pairs = [second_order(a, swapped[i], swapped[j], cube[1 + count + i], b) for i, j in combinations(range(count), 2)]
    return np.array([*(first_order(a, ab, b) for ab in swapped), *(total_order(a, ab, b) for ab in swapped), *pairs])
