"""Learning curves: the best trials of the search as lines, and winners beside their controls as means over seeds."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slasearch.analysis.curves import Curve, curve_table
from slasearch.analysis.learning import LearningCurves, TrialCurve
from slasearch.analysis.roles import role_label
from slasearch.report.figures._base import MANY, LegendItem, Panel, ReportFigure, axis_range, note, panel_figure
from slasearch.report.figures._classes import class_legend, draw_class_legend, draw_lines, line_traces
from slasearch.report.figures.curves import CurveGrid, draw_grid, grid_panels, y_range
from slasearch.report.labels import objective_label
from slasearch.report.results import Results
from slasearch.report.style import broken, finish, new_figure, plain_ticks, role_marks, style

__all__ = ["figures", "search_table"]

_BARRED = ("winner",)


def figures(results: Results) -> list[ReportFigure]:
    """Winners beside controls, and the search's best trials; none without reports on the way."""
    learning = results.learning
    if learning is None:
        return []
    found = [_of_winners(results, learning)] if learning.winners else []
    return [*found, *([_of_search(results, learning)] if learning.search else [])]


# ---------------------------------------------------------------- winners and controls


def _of_winners(results: Results, learning: LearningCurves) -> ReportFigure:
    curves = tuple(one.curve for one in learning.winners)
    roles = list(dict.fromkeys(series.name for curve in curves for series in curve.series))
    marks, crowded = role_marks(roles), len(roles) > MANY + 1
    text = note(
        "points: runs of the searched structures" if crowded else "points: runs",
        "lines: means",
        "bars: 95 % t-intervals of the searched structures (all intervals are in the table)",
        curves[0].method,
        learning.method.partition("; ")[2],
        *dict.fromkeys(warning for curve in curves for warning in curve.warnings),
        *learning.warnings,
        max(y_range((curve,), _BARRED).note for curve in curves),
        "confirm: " + results.counts_of("confirm").text(),
    )
    grid = CurveGrid(
        curves=curves,
        titles=tuple(f"Trial {one.number} ({one.label})" for one in learning.winners),
        x_labels=("Optimiser step",) * len(curves),
        y_label="Validation score",
        marks=marks,
        legend=tuple(LegendItem(role, role_label(role), marks[role]) for role in roles),
        note=text,
        barred=_BARRED,
        share_y=False,
        crowded=crowded,
    )
    tables = [curve_table((one.curve,)).assign(winner=one.number) for one in learning.winners]
    columns = ["series", "winner", "level", "what", "trial_id", "value", "low", "high", "n"]
    return ReportFigure(
        name="learning",
        section="history",
        title="How winners and controls learned",
        caption="Validation score on the way, mean over seeds; at the last step that of what was exported.",
        note=text,
        alt="Validation score against optimiser steps. " + " ".join(_spoken(one.curve) for one in learning.winners),
        table=pd.concat(tables, ignore_index=True)[columns].rename(columns={"level": "step"}),
        draw=lambda: draw_grid(grid),
        panels=lambda: tuple(_few_ticks(panel) for panel in grid_panels(grid)),
        legend=grid.legend,
    )


def _few_ticks(panel: Panel) -> Panel:
    """Reports can be many: the axis has round ticks and not one for each."""
    panel.figure.update_xaxes(tickmode="auto", tickvals=None, ticktext=None, nticks=7)
    return panel


def _spoken(curve: Curve) -> str:
    parts = [
        f"{role_label(series.name)}: {series.points[0].estimate.mean:.3f} at step {series.points[0].level:g}, "
        f"{series.points[-1].estimate.mean:.3f} at step {series.points[-1].level:g}."
        for series in curve.series
    ]
    return " ".join(parts)


# ---------------------------------------------------------------- the search


def _of_search(results: Results, learning: LearningCurves) -> ReportFigure:
    trials = learning.search
    legend = class_legend(len(trials))
    y_label = objective_label(results.frames.config, "score")
    text = note(
        f"lines: the best {len(trials)} complete trials of the search, one seed pair each; the best of them on top",
        f"{learning.left_out} other complete trials are left out" if learning.left_out else "",
        learning.method,
        "search: " + results.counts_of("design", "optimise").text(),
    )
    return ReportFigure(
        name="learning_search",
        section="history",
        title="How the search's best trials learned",
        caption="Validation score on the way, shaded by the score at the end.",
        note=text,
        alt=f"Lines of {len(trials)} trials. The best, trial {trials[0].number}: {trials[0].scores[0]:.3f} at "
        f"step {trials[0].steps[0]}, {trials[0].scores[-1]:.3f} at step {trials[0].steps[-1]}.",
        table=search_table(trials),
        draw=lambda: _draw(trials, legend, y_label, text),
        panels=lambda: (Panel("", _panel(trials, y_label), wide=True),),
        legend=legend,
    )


def search_table(trials: tuple[TrialCurve, ...]) -> pd.DataFrame:
    """One row for each point: `phase, trial_id, number, step, score`, the best trial first."""
    rows = [
        (trial.phase, trial.trial_id, trial.number, step, score)
        for trial in trials
        for step, score in zip(trial.steps, trial.scores, strict=True)
    ]
    return pd.DataFrame(rows, columns=["phase", "trial_id", "number", "step", "score"])


def _lines(trials: tuple[TrialCurve, ...]) -> list[list[tuple[float, float]]]:
    return [[(float(step), score) for step, score in zip(one.steps, one.scores, strict=True)] for one in trials]


def _draw(trials: tuple[TrialCurve, ...], legend: tuple[LegendItem, ...], y_label: str, text: str) -> Figure:
    shown = axis_range(score for trial in trials for score in trial.scores)
    steps = [step for trial in trials for step in trial.steps]
    room = 0.02 * (max(steps) - min(steps) or 1)
    with style():
        figure, (ax,) = new_figure(3.9)
        draw_lines(ax, _lines(trials))
        ax.set_xlim(min(steps) - room, max(steps) + room)
        ax.set_ylim(shown.low, shown.high)
        ax.set_xlabel("Optimiser step")
        ax.set_ylabel(broken(y_label, 24))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        plain_ticks(ax, "y", 6)
        draw_class_legend(figure, legend)
        finish(figure, text)
    return figure


def _panel(trials: tuple[TrialCurve, ...], y_label: str) -> go.Figure:
    figure = panel_figure("Optimiser step", y_label, height=380)
    texts = [
        [
            f"trial {one.number} ({one.phase})<br>score {score:.3f} at step {step}"
            for step, score in zip(one.steps, one.scores, strict=True)
        ]
        for one in trials
    ]
    figure.add_traces(list(line_traces(_lines(trials), texts)))
    return figure
