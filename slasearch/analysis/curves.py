"""A curve: what is measured along one factor, as the mean, every point, and a t-interval over seed repeats.

The mean of sizes is geometric, and their interval is taken of the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from slasearch.analysis.intervals import Estimate, t_interval

__all__ = ["Curve", "CurvePoint", "Level", "Scale", "Series", "build_series", "curve_table", "pairs_of_seeds"]

Level = float | str
Scale = Literal["linear", "log", "category"]


@dataclass(frozen=True)
class CurvePoint:
    """One level of a factor: the estimate over seed repeats, and each trial's own value beside its id."""

    level: Level
    estimate: Estimate
    values: tuple[float, ...]
    trial_ids: tuple[int, ...]


@dataclass(frozen=True)
class Series:
    """One line of a curve: a task, `mean`, or a group of trials such as a control."""

    name: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Curve:
    """What `response` does along `factor`.

    `scale` is how the factor is drawn: as it was sampled. `complete` trials are in it; `failed` counts those that ended
    in failure for good, and is never left out of a figure.
    """

    factor: str
    response: str
    scale: Scale
    series: tuple[Series, ...]
    complete: int
    failed: int
    method: str
    warnings: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels of all series in order, each once."""
        found = {point.level: None for series in self.series for point in series.points}
        return tuple(found) if self.scale == "category" else tuple(sorted(found, key=float))

    def named(self, name: str) -> Series:
        """The series of that name. Raises KeyError for one that the curve does not have."""
        return {series.name: series for series in self.series}[name]


def pairs_of_seeds(count: int) -> str:
    """`3 seed pairs`."""
    return "1 seed pair" if count == 1 else f"{count} seed pairs"


def build_series(
    data: pd.DataFrame,
    names: Sequence[str],
    levels: Sequence[Level],
    interval: Callable[[Iterable[float]], Estimate] = t_interval,
) -> tuple[Series, ...]:
    """Series from one row for each measured value.

    Args:
        data: Columns `series`, `level`, `repeat`, `trial_id`, `value`. Values of one series, level and repeat are
            averaged by the same mean before the interval is taken, so that its n counts repeats and not trials.
        names: Series to build, in this order; those without data are left out.
        levels: Levels in order; those without data are left out of the series.
        interval: The estimate over the repeats of a level.
    """
    grouped = {key: rows for key, rows in data.groupby(["series", "level"], sort=False)}
    found = (
        Series(
            name, tuple(_point(level, grouped[name, level], interval) for level in levels if (name, level) in grouped)
        )
        for name in names
    )
    return tuple(series for series in found if series.points)


def _point(level: Level, rows: pd.DataFrame, interval: Callable[[Iterable[float]], Estimate]) -> CurvePoint:
    rows = rows.sort_values(["repeat", "trial_id"], kind="stable")
    repeats = [interval(values).mean for _, values in rows.groupby("repeat")["value"]]
    return CurvePoint(
        level=level,
        estimate=interval(repeats),
        values=tuple(float(value) for value in rows["value"]),
        trial_ids=tuple(int(value) for value in rows["trial_id"]),
    )


def curve_table(curves: Sequence[Curve]) -> pd.DataFrame:
    """Every number of the curves, tidy: one row for each mean (`what` is `mean`) and for each trial (`trial`).

    Columns `factor, response, series, level, choice, what, trial_id, value, low, high, n`: a number is a `level`, a
    category a `choice`.
    """
    rows: list[tuple[object, ...]] = []
    for curve in curves:
        for series in curve.series:
            for point in series.points:
                place = (math.nan, point.level) if curve.scale == "category" else (point.level, None)
                key = (curve.factor, curve.response, series.name, *place)
                estimate = point.estimate
                rows.append((*key, "mean", pd.NA, estimate.mean, estimate.low, estimate.high, estimate.n))
                pairs = zip(point.trial_ids, point.values, strict=True)
                rows.extend((*key, "trial", trial_id, value, math.nan, math.nan, 1) for trial_id, value in pairs)
    columns = ["factor", "response", "series", "level", "choice", "what", "trial_id", "value", "low", "high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"choice": "str", "trial_id": "Int64", **dict.fromkeys(["level", "low", "high"], "float64")})
