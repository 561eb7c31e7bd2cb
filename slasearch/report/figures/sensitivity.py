"""Sensitivity: score, change, size and robustness along each factor, and score along each measured condition."""

from __future__ import annotations

from collections.abc import Sequence

from slasearch.analysis.curves import Curve
from slasearch.analysis.frames import MEAN
from slasearch.analysis.sensitivity import Response
from slasearch.report.figures._base import LegendItem, ReportFigure, note
from slasearch.report.figures._fields import choice_keys
from slasearch.report.figures.curves import CurveGrid, draw_grid, grid_panels, grid_table, y_range, zero_apart
from slasearch.report.finding import listed
from slasearch.report.labels import (
    factor_label,
    level_label,
    measure_label,
    objective_label,
    series_label,
    short_factor,
    short_number,
)
from slasearch.report.results import Results
from slasearch.report.style import series_marks

__all__ = ["figures"]

_TEXTS: dict[Response, tuple[str, str, str]] = {
    "score": (
        "Score along each factor",
        "score",
        "Undisturbed validation score while one factor changes and the others stay at their base.",
    ),
    "change": (
        "Change of the score along each factor",
        "change of the score",
        "The same scores minus the base point's with the same seed pair: what the seeds themselves do drops out.",
    ),
    "exported_parameters": (
        "Size along each factor",
        "exported parameters",
        "Exported parameters of the structure that remains.",
    ),
    "robustness": (
        "Robustness along each factor",
        "robustness",
        "Validation score under the measured conditions, which are the same for every trial.",
    ),
}


def figures(results: Results) -> list[ReportFigure]:
    """One figure for each response of the design, and one for the measured conditions."""
    found = [_design(results, response, curves) for response, curves in results.design.items()]
    if results.measured:
        found.append(_measured(results))
    return found


def _design(results: Results, response: Response, curves: tuple[Curve, ...]) -> ReportFigure:
    title, y_label, caption = _TEXTS[response]
    design = results.frames.config.phases.design
    if response == "score" and design is not None and design.sampler.name == "grid":
        caption = "Undisturbed validation score at each level of a factor, averaged over the levels of the others."
    if response == "robustness":
        y_label = objective_label(results.frames.config, response)
    return _figure(
        results,
        curves,
        name=f"sensitivity_{'size' if response == 'exported_parameters' else response}",
        title=title,
        caption=caption,
        y_label=y_label,
        x_labels=tuple(factor_label(curve.factor) for curve in curves),
        counts="design: " + results.counts_of("design").text(),
        response=response,
    )


def _measured(results: Results) -> ReportFigure:
    return _figure(
        results,
        results.measured,
        name="sensitivity_measured",
        title="Score under disturbance",
        caption="Validation score while the inputs are disturbed more and more; level 0 is undisturbed.",
        y_label="score",
        x_labels=tuple(measure_label(curve.factor) for curve in results.measured),
        counts="search: " + results.counts_of("design", "optimise").text(),
        response="score",
    )


def _figure(
    results: Results,
    curves: tuple[Curve, ...],
    *,
    name: str,
    title: str,
    caption: str,
    y_label: str,
    x_labels: tuple[str, ...],
    counts: str,
    response: Response,
) -> ReportFigure:
    marks = series_marks(results.frames.tasks)
    warnings = dict.fromkeys(warning for curve in curves for warning in curve.warnings)
    sizes = response == "exported_parameters"
    barred = _barred(curves)
    cut = y_range(curves, barred, counts=sizes).note
    measured = _intervals(curves, sizes)
    keys = choice_keys((curve.factor, curve.levels) for curve in curves if curve.scale == "category")
    apart = [short_factor(curve.factor) for curve in curves if zero_apart(curve)]
    spaced = f"{listed(apart)} by its logarithm, 0 set apart at the left" if apart else ""
    text = note("points: trials", *measured, curves[0].method, *keys, *warnings, spaced, cut, counts)
    grid = CurveGrid(
        curves=curves,
        titles=("",) * len(curves),
        x_labels=x_labels,
        y_label=y_label[:1].upper() + y_label[1:],
        marks=marks,
        legend=_legend(results, curves),
        note=text,
        barred=barred,
        counts=sizes,
        zero=response == "change",
    )
    return ReportFigure(
        name=name,
        section="sensitivity",
        title=title,
        caption=caption,
        note=text,
        alt=f"{title}. " + " ".join(_spoken(curve, y_label) for curve in curves),
        table=grid_table(curves, results.frames.tasks),
        draw=lambda: draw_grid(grid),
        panels=lambda: grid_panels(grid),
        legend=grid.legend,
    )


_FEWEST_SEEDS = 3
"""Seed pairs from which the tasks get bars too: with two, each is 13 standard errors long and hides all others."""


def _barred(curves: Sequence[Curve]) -> tuple[str, ...]:
    """The series whose intervals are drawn: all of them, or with few seeds the mean of tasks alone."""
    estimates = (point.estimate for curve in curves for series in curve.series for point in series.points)
    if min(estimate.n for estimate in estimates) < _FEWEST_SEEDS:
        return (MEAN,)
    return tuple(dict.fromkeys(series.name for curve in curves for series in curve.series))


def _intervals(curves: Sequence[Curve], sizes: bool) -> tuple[str, ...]:
    """What lines and bars are, in words; a curve of one series needs no more."""
    several = max(len(curve.series) for curve in curves) > 1
    lines = "line: geometric mean" if sizes else "lines: means" if several else "line: mean"
    points = (point for curve in curves for series in curve.series for point in series.points)
    if all(point.estimate.low is None for point in points):
        return (lines,)
    if sizes:
        return (lines, "bars: 95 % t-intervals of the logarithm")
    if not several or len(_barred(curves)) > 1:
        return (lines, "bars: 95 % t-intervals")
    return (lines, "bars: 95 % t-intervals of the mean of tasks (those of the tasks are in the table)")


def _legend(results: Results, curves: Sequence[Curve]) -> tuple[LegendItem, ...]:
    marks = series_marks(results.frames.tasks)
    names = {series.name for curve in curves for series in curve.series}
    return tuple(
        LegendItem(name, series_label(name, results.frames.tasks), marks[name]) for name in marks if name in names
    )


def _spoken(curve: Curve, y_label: str) -> str:
    """`Sparsity weight λ: mean score 0.84 at 0.01, 0.80 at 1, highest 0.85 at 0.1.`: what it comes from and goes to."""
    name = short_factor(curve.factor) if "." in curve.factor else measure_label(curve.factor)
    points = [series for series in curve.series if series.name == MEAN or len(curve.series) == 1][-1].points
    ends = {point.level: point for point in (points[0], points[-1])}
    values = [f"{short_number(point.estimate.mean)} at {level_label(level)}" for level, point in ends.items()]
    highest = max(points, key=lambda point: point.estimate.mean)
    if highest.level not in ends:
        values.append(f"highest {short_number(highest.estimate.mean)} at {level_label(highest.level)}")
    return f"{name[:1].upper()}{name[1:]}: mean {y_label} {', '.join(values)}."
