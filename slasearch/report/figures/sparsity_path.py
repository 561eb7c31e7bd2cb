"""Sparsity paths: score and size over λ, stages of a path beside trials of one λ each, and whether they agree."""

from __future__ import annotations

from collections.abc import Sequence

from slasearch.analysis.curves import Curve, CurvePoint, curve_table
from slasearch.analysis.sparsity_path import ALONE, ALONG, PathAgreement
from slasearch.report.figures._base import LegendItem, ReportFigure, note
from slasearch.report.figures.curves import CurveGrid, draw_grid, grid_panels, y_range
from slasearch.report.labels import factor_label, level_label, objective_label, short_number
from slasearch.report.results import Results
from slasearch.report.style import BLUE, VERMILION, Mark

__all__ = ["figures"]

_MARKS = {ALONG: Mark(BLUE, "o", "circle"), ALONE: Mark(VERMILION, "s", "square")}
_LABELS = {ALONG: "stages of one run", ALONE: "a run for each λ"}


def figures(results: Results) -> list[ReportFigure]:
    """One figure for the score and one for the size; none where no trial has gone along a path."""
    return [_figure(results, curve) for curve in results.sparsity_path]


def _figure(results: Results, curve: Curve) -> ReportFigure:
    sizes = curve.response == "exported_parameters"
    names = tuple(series.name for series in curve.series)
    agreement = [item for item in results.path_agreement if item.response == curve.response]
    text = note(
        "points: trials",
        "lines: geometric means" if sizes else "lines: means",
        "bars: 95 % t-intervals" + (" of the logarithm" if sizes else ""),
        curve.method,
        *curve.warnings,
        *_verdict(agreement),
        y_range((curve,), names, counts=sizes).note,
        "search: " + results.counts_of("design", "optimise").text(),
    )
    y_label = objective_label(results.frames.config, curve.response)
    grid = CurveGrid(
        curves=(curve,),
        titles=("",),
        x_labels=(factor_label(curve.factor),),
        y_label=y_label,
        marks=_MARKS,
        legend=tuple(LegendItem(name, _LABELS[name], _MARKS[name]) for name in names),
        note=text,
        barred=names,
        counts=sizes,
    )
    title = f"{'Size' if sizes else 'Score'} along the sparsity path"
    return ReportFigure(
        name=f"sparsity_path_{'size' if sizes else 'score'}",
        section="sensitivity",
        title=title,
        caption="Each stage of a run whose λ grows, read before its structure is trained further.",
        note=text,
        alt=f"{title}. " + " ".join(_spoken(curve)),
        table=curve_table((curve,)),
        draw=lambda: draw_grid(grid),
        panels=lambda: grid_panels(grid),
        legend=grid.legend,
    )


def _verdict(agreement: Sequence[PathAgreement]) -> tuple[str, ...]:
    """At which λ the two kinds of runs differ by more than their interval, in words; nothing without both kinds."""
    if not agreement:
        return ()
    apart = [level_label(item.weight) for item in agreement if item.agrees is False]
    if apart:
        return (f"beyond its 95 % interval the path differs from runs of one λ at {', '.join(apart)}",)
    if all(item.agrees for item in agreement):
        return ("at every λ the path agrees with runs of that λ within the 95 % interval of their paired difference",)
    return ("too few seed pairs to say whether the path agrees with runs of one λ",)


def _spoken(curve: Curve) -> list[str]:
    def at(point: CurvePoint) -> str:
        return f"{short_number(point.estimate.mean)} at {level_label(point.level)}"

    return [f"{_LABELS[series.name]}: {at(series.points[0])}, {at(series.points[-1])}." for series in curve.series]
