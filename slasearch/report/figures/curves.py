"""A grid of curves, one panel each: means as a line, a bar for each interval, and every trial's own point.

Intervals are bars at the levels that were run: a band between them would show what nobody measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slasearch.analysis.curves import Curve, Level, Series, curve_table
from slasearch.analysis.frames import MEAN
from slasearch.report.figures._base import AxisRange, LegendItem, Panel, axis_range, panel_figure, tint
from slasearch.report.figures._fields import field_axis, set_field_axis, set_panel_axis
from slasearch.report.labels import level_label, short_number
from slasearch.report.style import (
    MUTED,
    PAPER,
    Mark,
    broken,
    compact,
    compact_axis,
    count_ticks,
    finish,
    legend_above,
    level_ticks,
    new_figure,
    plain_ticks,
    set_title,
    style,
)

__all__ = ["CurveGrid", "draw_grid", "grid_panels", "grid_table", "place_of", "y_range", "zero_apart"]


_LETTERS = 72
"""Letters of a tick label along the whole width."""

_GROWN = 5
"""How many times longer than the first step between levels above 0 the last one is, where they go by factors."""


@dataclass(frozen=True)
class CurveGrid:
    """What a grid of curves needs beside the curves: titles and x labels by panel, marks by series, one y label.

    `barred` names the series that get intervals: with few seeds, those of all would hide each other and the points.
    `counts` draws y as a logarithmic count, `zero` a line at 0, `share_y` gives all panels one y axis. `crowded` makes
    the printed panels higher, and draws of the series without intervals the means alone, with thin lines.
    """

    curves: tuple[Curve, ...]
    titles: tuple[str, ...]
    x_labels: tuple[str, ...]
    y_label: str
    marks: Mapping[str, Mark]
    legend: tuple[LegendItem, ...]
    note: str
    barred: tuple[str, ...]
    counts: bool = False
    share_y: bool = True
    zero: bool = False
    crowded: bool = False


def draw_grid(grid: CurveGrid) -> Figure:
    """The printed form: two panels a row (one panel alone takes the whole width)."""
    columns = min(2, len(grid.curves))
    rows = -(-len(grid.curves) // columns)
    with style():
        height = 1.0 + 2.5 * rows + (0.25 * len(grid.legend) if grid.crowded else 0.0)
        figure, axes = new_figure(height, rows, columns, sharey=grid.share_y)
        for index, (ax, curve) in enumerate(zip(axes, grid.curves, strict=False)):
            _draw_curve(ax, curve, grid, letters=_LETTERS // columns)
            if grid.titles[index]:
                set_title(ax, grid.titles[index], columns)
            ax.set_xlabel(broken(grid.x_labels[index]))
            if index % columns == 0:
                ax.set_ylabel(broken(grid.y_label, 24))
        for ax in axes[len(grid.curves) :]:
            ax.set_axis_off()
        _draw_legend(figure, axes, grid)
        finish(figure, grid.note)
    return figure


def _draw_legend(figure: Figure, axes: Sequence[Axes], grid: CurveGrid) -> None:
    if len(grid.legend) < 2:
        return
    handles = [
        Line2D(
            [],
            [],
            color=item.mark.color,
            marker=item.mark.marker,
            markersize=5.5,
            linewidth=item.mark.width,
            linestyle=item.mark.line,
        )
        for item in grid.legend
    ]
    labels = [item.label for item in grid.legend]
    if len(axes) > len(grid.curves):
        axes[-1].legend(handles, labels, loc="center left", fontsize=11, borderaxespad=2.0, labelspacing=0.8)
    else:
        legend_above(figure, handles, labels, most=3 if grid.crowded else 4, handlelength=3)


def _draw_curve(ax: Axes, curve: Curve, grid: CurveGrid, *, letters: int) -> None:
    if grid.zero:
        ax.axhline(0, color=MUTED, linewidth=1)
    for index, series in enumerate(curve.series):
        mark = grid.marks[series.name]
        barred = series.name in grid.barred
        if curve.scale == "category":
            _draw_category(ax, curve, series, mark, shift=_shift(curve, index), barred=barred)
        else:
            _draw_line(ax, curve, series, mark, barred=barred, thin=grid.crowded and not barred)
    _set_axes(ax, curve, grid, letters)


def _step(curve: Curve) -> float:
    """From one series to the next beside it at a choice, of the unit between choices."""
    return min(0.14, 0.8 / len(curve.series))


def _shift(curve: Curve, index: int) -> float:
    """How far a series stands from the place of its choice."""
    return (index - (len(curve.series) - 1) / 2) * _step(curve)


def _draw_line(ax: Axes, curve: Curve, series: Series, mark: Mark, *, barred: bool, thin: bool) -> None:
    levels = [place_of(curve, point.level) for point in series.points]
    means = [point.estimate.mean for point in series.points]
    if thin:
        ax.plot(levels, means, color=mark.color, linewidth=0.9, linestyle=mark.line, marker=mark.marker, markersize=5,
                zorder=3.5)  # fmt: skip
        return
    if barred:
        _draw_intervals(ax, levels, series, mark)
    ax.plot(levels, means, color=mark.color, linewidth=mark.width, linestyle=mark.line, zorder=4)
    _draw_points(ax, levels, series, mark)


def _draw_category(ax: Axes, curve: Curve, series: Series, mark: Mark, *, shift: float, barred: bool) -> None:
    """Categories have no way between them: series stand side by side, and no line joins means."""
    x = [place_of(curve, point.level) + shift for point in series.points]
    if barred:
        _draw_intervals(ax, x, series, mark)
    half = 0.43 * _step(curve)
    for place, point in zip(x, series.points, strict=True):
        ax.hlines(point.estimate.mean, place - half, place + half, color=mark.color, linewidth=mark.width, zorder=4)
    _draw_points(ax, x, series, mark)


def _draw_intervals(ax: Axes, x: Sequence[float], series: Series, mark: Mark) -> None:
    width = 2.5 * mark.width
    for place, point in zip(x, series.points, strict=True):
        if point.estimate.low is not None and point.estimate.high is not None:
            ax.vlines(place, point.estimate.low, point.estimate.high, color=mark.color, linewidth=width, alpha=0.22)


def _draw_points(ax: Axes, x: Sequence[float], series: Series, mark: Mark) -> None:
    places = [place for place, point in zip(x, series.points, strict=True) for _ in point.values]
    values = [value for point in series.points for value in point.values]
    ax.scatter(
        places, values, s=17, color=mark.color, marker=mark.marker, linewidths=0.6, edgecolors="white",
        zorder=5,
    )  # fmt: skip


def _set_axes(ax: Axes, curve: Curve, grid: CurveGrid, letters: int) -> None:
    if curve.scale == "category":
        set_field_axis(ax, "x", field_axis(curve.factor, curve.levels, curve.scale, letters))
    else:
        if curve.scale == "log":
            ax.set_xscale("log")
        level_ticks(ax, [float(level) for level in curve.levels], [place_of(curve, level) for level in curve.levels])
    shown = y_range(grid.curves if grid.share_y else (curve,), grid.barred, counts=grid.counts)
    if grid.counts:
        ax.set_yscale("log")
        ax.set_ylim(10**shown.low, 10**shown.high)
        ax.set_yticks(count_ticks(10**shown.low, 10**shown.high))
        ax.minorticks_off()
        compact_axis(ax, "y")
    else:
        ax.set_ylim(shown.low, shown.high)
        plain_ticks(ax, "y", 5)


def _all_values(curve: Curve) -> list[float]:
    return [value for series in curve.series for point in series.points for value in point.values]


def y_range(curves: Sequence[Curve], barred: Sequence[str], *, counts: bool = False) -> AxisRange:
    """The y axis that the curves share, with the intervals of `barred`; with `counts` in decades, for a logarithm.

    A count of 0 has no place on a logarithmic axis.
    """
    points = [point for curve in curves for series in curve.series if series.name in barred for point in series.points]
    values = [value for curve in curves for value in _all_values(curve)]
    ends = [end for point in points for end in (point.estimate.low, point.estimate.high) if end is not None]
    if counts:
        values, ends = ([math.log10(value) for value in found if value > 0] for found in (values, ends))
        # At least a factor of two, so that equal sizes look equal.
        values = [value + shift for value in values for shift in (-0.15, 0.15)]
    return axis_range(values, ends)


def grid_table(curves: Sequence[Curve], tasks: Sequence[str]) -> pd.DataFrame:
    """The table of the curves; the mean of one task has its name."""
    names = {MEAN: tasks[0]} if len(tasks) == 1 else {}
    return curve_table(curves).replace({"series": names, "response": names})


def grid_panels(grid: CurveGrid) -> tuple[Panel, ...]:
    """The interactive form: a panel for each curve."""
    return tuple(
        Panel(title, _panel(curve, grid, x_label))
        for curve, title, x_label in zip(grid.curves, grid.titles, grid.x_labels, strict=True)
    )


def _panel(curve: Curve, grid: CurveGrid, x_label: str) -> go.Figure:
    figure = panel_figure(x_label, grid.y_label)
    names = {item.series: item.label for item in grid.legend}
    for index, series in enumerate(curve.series):
        shift = _shift(curve, index) if curve.scale == "category" else 0.0
        barred = series.name in grid.barred
        name = names.get(series.name, series.name)
        figure.add_traces(_traces(curve, series, grid.marks[series.name], name, shift=shift, barred=barred))
    if curve.scale == "log":
        figure.update_xaxes(type="log")
    if curve.scale == "category":
        set_panel_axis(figure, "x", field_axis(curve.factor, curve.levels, curve.scale))
    else:
        labels = [level_label(level) for level in curve.levels]
        figure.update_xaxes(tickvals=[place_of(curve, level) for level in curve.levels], ticktext=labels)
    shown = y_range(grid.curves if grid.share_y else (curve,), grid.barred, counts=grid.counts)
    figure.update_yaxes(range=[shown.low, shown.high])
    if grid.counts:
        ticks = count_ticks(10**shown.low, 10**shown.high)
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=[compact(tick) for tick in ticks])
    if grid.zero:
        figure.add_hline(y=0, line={"color": MUTED, "width": 1})
    return figure


def place_of(curve: Curve, level: Level) -> float:
    """Where a level stands on the x axis of its curve."""
    if curve.scale == "category":
        return float(curve.levels.index(level))
    if not zero_apart(curve):
        return float(level)
    steps = [math.log10(float(other)) for other in curve.levels[1:]]
    return math.log10(float(level)) if level else steps[0] - (steps[-1] - steps[0]) / (len(steps) - 1)


def zero_apart(curve: Curve) -> bool:
    """Whether a factor that is sampled on a linear axis, because it may be 0, has levels spaced by factors.

    They are drawn by their logarithms, 0 a step to the left: on a linear axis most of them would lie upon each other.
    """
    if curve.scale != "linear" or len(curve.levels) < 4 or curve.levels[0] != 0:
        return False
    levels = [float(level) for level in curve.levels]
    return levels[-1] - levels[-2] > _GROWN * (levels[2] - levels[1])


def _traces(curve: Curve, series: Series, mark: Mark, name: str, *, shift: float, barred: bool) -> list[go.Scatter]:
    categorical = curve.scale == "category"
    x = [place_of(curve, point.level) + shift for point in series.points]
    cloud = [
        (place, value, trial_id)
        for place, point in zip(x, series.points, strict=True)
        for value, trial_id in zip(point.values, point.trial_ids, strict=True)
    ]
    traces = [
        go.Scatter(
            x=[item[0] for item in cloud], y=[item[1] for item in cloud], mode="markers", legendgroup=series.name,
            marker={"color": mark.color, "size": 5, "opacity": 0.5}, name=name,
            customdata=[[short_number(item[1]), item[2]] for item in cloud],
            hovertemplate="%{customdata[0]}<extra>" + name + ", trial id %{customdata[1]}</extra>",
        )
    ]  # fmt: skip
    estimates = [point.estimate for point in series.points]
    above, below = (
        [0.0 if end is None else abs(end - item.mean) for item, end in zip(estimates, column, strict=True)]
        for column in ([item.high for item in estimates], [item.low for item in estimates])
    )
    traces.append(
        go.Scatter(
            x=x, y=[point.estimate.mean for point in series.points], legendgroup=series.name, name=name,
            mode="markers" if categorical else "lines+markers",
            line={"color": mark.color, "width": mark.width, "dash": mark.dash},
            marker={"color": mark.color, "size": 9, "symbol": mark.symbol, "line": {"color": PAPER, "width": 1}},
            error_y={
                "type": "data", "array": above, "arrayminus": below, "visible": barred,
                "color": tint(mark.color, 0.22), "thickness": 7, "width": 0,
            },
            customdata=[[item.text(), item.n] for item in estimates],
            hovertemplate="%{customdata[0]} (n = %{customdata[1]})<extra>" + name + "</extra>",
        )
    )  # fmt: skip
    return traces
