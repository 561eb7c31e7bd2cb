"""Robustness: test score against the level of each measured condition, the searched structure beside its controls."""

from __future__ import annotations

from slasearch.analysis.curves import Curve
from slasearch.analysis.frames import MEAN
from slasearch.analysis.roles import role_label
from slasearch.report.figures._base import MANY, LegendItem, ReportFigure, note
from slasearch.report.figures.curves import CurveGrid, draw_grid, grid_panels, grid_table, y_range
from slasearch.report.labels import condition_label, measure_label, series_label
from slasearch.report.results import Results
from slasearch.report.style import role_marks

__all__ = ["figures"]


_BARRED = ("winner",)


def figures(results: Results) -> list[ReportFigure]:
    """One figure for each measured condition: a panel for the mean over tasks and one for each of several."""
    return [_figure(results, kind, curves) for kind, curves in results.robustness.items()]


def _figure(results: Results, kind: str, curves: tuple[Curve, ...]) -> ReportFigure:
    roles = list(dict.fromkeys(series.name for curve in curves for series in curve.series))
    marks = role_marks(roles)
    winner = results.comparisons[0]
    crowded = len(roles) > MANY + 1
    text = note(
        "points: runs of the searched structures" if crowded else "points: runs",
        "lines: means",
        "bars: 95 % t-intervals of the searched structures (all intervals are in the table)",
        curves[0].method,
        f"winner: trial {winner.number} ({winner.label})",
        *curves[0].warnings,
        max(y_range((curve,), _BARRED).note for curve in curves),
        "; ".join(winner.terms),
        "confirm: " + results.counts_of("confirm").text(),
    )
    grid = CurveGrid(
        curves=curves,
        titles=tuple(series_label(curve.response, results.frames.tasks) for curve in curves),
        x_labels=(measure_label(kind),) * len(curves),
        y_label="Test score",
        marks=marks,
        legend=tuple(LegendItem(role, role_label(role), marks[role]) for role in roles),
        note=text,
        barred=_BARRED,
        share_y=False,
        crowded=crowded,
    )
    name = condition_label(kind)
    return ReportFigure(
        name=f"robustness_{kind}",
        section="robustness",
        title=f"Under {name}, beside the controls",
        caption=f"Test score while {name} grows; level 0 is undisturbed. Every run is measured on the same inputs.",
        note=text,
        alt=f"Test score under {name}, {series_label(MEAN, results.frames.tasks)}. " + _spoken(curves[0]),
        table=grid_table(curves, results.frames.tasks),
        draw=lambda: draw_grid(grid),
        panels=lambda: grid_panels(grid),
        legend=grid.legend,
    )


def _spoken(curve: Curve) -> str:
    parts = [
        f"{role_label(series.name)}: {series.points[0].estimate.mean:.3f} undisturbed, "
        f"{series.points[-1].estimate.mean:.3f} at {series.points[-1].level:g}."
        for series in curve.series
    ]
    return " ".join(parts)
