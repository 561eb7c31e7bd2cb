"""A grid of curves, one panel each: means as a line, an interval band, and every trial's own point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slasearch.analysis.curves import Curve, Level, Series
from slasearch.report.figures._base import LegendItem, Panel, band, panel_figure
from slasearch.report.labels import level_label
from slasearch.report.style import (
    MUTED,
    Mark,
    compact,
    compact_axis,
    footnote,
    log_ticks,
    new_figure,
    plain_ticks,
    style,
)

__all__ = ["CurveGrid", "draw_grid", "grid_panels"]


@dataclass(frozen=True)
class CurveGrid:
    """What a grid of curves needs beside the curves: titles and x labels by panel, marks by series, one y label."""

    curves: tuple[Curve, ...]
    titles: tuple[str, ...]
    x_labels: tuple[str, ...]
    y_label: str
    marks: Mapping[str, Mark]
    legend: tuple[LegendItem, ...]
    note: str
    counts: bool = False
    share_y: bool = True
    zero: bool = False


def draw_grid(grid: CurveGrid) -> Figure:
    """The printed form: two panels a row (one panel alone takes the whole width)."""
    columns = min(2, len(grid.curves))
    rows = -(-len(grid.curves) // columns)
    with style():
        figure, axes = new_figure(1.0 + 2.5 * rows, rows, columns, sharey=grid.share_y)
        for index, (ax, curve) in enumerate(zip(axes, grid.curves, strict=False)):
            _draw_curve(ax, curve, grid)
            ax.set_title(grid.titles[index])
            ax.set_xlabel(grid.x_labels[index])
            if index % columns == 0:
                ax.set_ylabel(grid.y_label)
        for ax in axes[len(grid.curves) :]:
            ax.set_axis_off()
        _draw_legend(figure, axes, grid)
        footnote(figure, grid.note)
    return figure


def _draw_legend(figure: Figure, axes: Sequence[Axes], grid: CurveGrid) -> None:
    if len(grid.legend) < 2:
        return
    handles = [
        Line2D([], [], color=item.mark.color, marker=item.mark.marker, markersize=6, linewidth=item.mark.width)
        for item in grid.legend
    ]
    labels = [item.label for item in grid.legend]
    if len(axes) > len(grid.curves):
        axes[-1].legend(handles, labels, loc="center left", fontsize=11, borderaxespad=2.0)
    else:
        figure.legend(handles, labels, loc="outside upper left", ncols=min(4, len(handles)))


def _positions(curve: Curve, series: Series) -> list[float]:
    if curve.scale == "category":
        return [float(curve.levels.index(point.level)) for point in series.points]
    return [float(point.level) for point in series.points]


def _draw_curve(ax: Axes, curve: Curve, grid: CurveGrid) -> None:
    if grid.zero:
        ax.axhline(0, color=MUTED, linewidth=1)
    for series in curve.series:
        mark = grid.marks[series.name]
        x = _positions(curve, series)
        means = [point.estimate.mean for point in series.points]
        known = [index for index, point in enumerate(series.points) if point.estimate.low is not None]
        ax.fill_between(
            [x[index] for index in known],
            [_end(series, index, "low") for index in known],
            [_end(series, index, "high") for index in known],
            color=mark.color, alpha=0.14, linewidth=0,
        )  # fmt: skip
        points = [(place, value) for place, point in zip(x, series.points, strict=True) for value in point.values]
        ax.scatter(*zip(*points, strict=True), s=9, color=mark.color, alpha=0.55, linewidths=0, zorder=3)
        ax.plot(
            x, means, color=mark.color, marker=mark.marker, markersize=5.5, linewidth=mark.width,
            linestyle="none" if curve.scale == "category" else "-", markeredgecolor="white", markeredgewidth=0.7,
            zorder=4,
        )  # fmt: skip
        if curve.scale == "category":
            _draw_bars(ax, x, series, mark)
    _set_axes(ax, curve, grid)


def _draw_bars(ax: Axes, x: list[float], series: Series, mark: Mark) -> None:
    """Categories have no way between them: an interval is a bar there, and no line joins the means."""
    for place, point in zip(x, series.points, strict=True):
        if point.estimate.low is not None and point.estimate.high is not None:
            ax.vlines(place, point.estimate.low, point.estimate.high, color=mark.color, linewidth=mark.width, zorder=2)


def _end(series: Series, index: int, which: str) -> float:
    return float(getattr(series.points[index].estimate, which))


def _set_axes(ax: Axes, curve: Curve, grid: CurveGrid) -> None:
    if curve.scale == "category":
        ax.set_xticks(range(len(curve.levels)), [level_label(level) for level in curve.levels])
        ax.set_xlim(-0.5, len(curve.levels) - 0.5)
    elif curve.scale == "log":
        ax.set_xscale("log")
        log_ticks(ax, [float(level) for level in curve.levels])
    else:
        plain_ticks(ax, "x")
    if grid.counts:
        ax.set_yscale("log")
        ticks = _log_counts(curve)
        ax.set_yticks(ticks)
        ax.minorticks_off()
        compact_axis(ax, "y")
    else:
        plain_ticks(ax, "y", 5)


def _log_counts(curve: Curve) -> list[float]:
    """1, 2 and 5 times powers of ten (powers alone over more than two decades) around all values."""
    values = [value for series in curve.series for point in series.points for value in point.values if value > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1,) if high - low > 3 else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    return [tick for tick in ticks if min(values) / 2.2 <= tick <= max(values) * 2.2]


def grid_panels(grid: CurveGrid) -> tuple[Panel, ...]:
    """The interactive form: a panel for each curve."""
    return tuple(
        Panel(title, _panel(curve, grid, x_label))
        for curve, title, x_label in zip(grid.curves, grid.titles, grid.x_labels, strict=True)
    )


def _panel(curve: Curve, grid: CurveGrid, x_label: str) -> go.Figure:
    figure = panel_figure(x_label, grid.y_label)
    names = {item.series: item.label for item in grid.legend}
    for series in curve.series:
        for trace in _traces(curve, series, grid.marks[series.name], names.get(series.name, series.name)):
            figure.add_trace(trace)
    if curve.scale == "log":
        figure.update_xaxes(
            type="log", tickvals=[float(level) for level in curve.levels],
            ticktext=[level_label(level) for level in curve.levels],
        )  # fmt: skip
    if curve.scale == "category":
        figure.update_xaxes(type="category")
    if grid.counts:
        ticks = _log_counts(curve)
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=[compact(tick) for tick in ticks])
    if grid.zero:
        figure.add_hline(y=0, line={"color": MUTED, "width": 1})
    return figure


def _shown(curve: Curve, level: Level) -> Level:
    return level_label(level) if curve.scale == "category" else level


def _traces(curve: Curve, series: Series, mark: Mark, name: str) -> list[go.Scatter]:
    known = [point for point in series.points if point.estimate.low is not None]
    traces = []
    if known and curve.scale != "category":
        low = [point.estimate.low or 0.0 for point in known]
        high = [point.estimate.high or 0.0 for point in known]
        traces.append(band([_shown(curve, point.level) for point in known], low, high, mark, series.name))
    cloud = [
        (_shown(curve, point.level), value, trial_id)
        for point in series.points
        for value, trial_id in zip(point.values, point.trial_ids, strict=True)
    ]
    traces.append(
        go.Scatter(
            x=[item[0] for item in cloud], y=[item[1] for item in cloud], mode="markers", legendgroup=series.name,
            marker={"color": mark.color, "size": 5, "opacity": 0.5}, name=name, customdata=[item[2] for item in cloud],
            hovertemplate="%{y:.4g}<extra>" + name + ", trial id %{customdata}</extra>",
        )
    )  # fmt: skip
    half = [point.estimate.half_width for point in series.points]
    traces.append(
        go.Scatter(
            x=[_shown(curve, point.level) for point in series.points],
            y=[point.estimate.mean for point in series.points],
            mode="markers" if curve.scale == "category" else "lines+markers", legendgroup=series.name, name=name,
            line={"color": mark.color, "width": mark.width},
            marker={"color": mark.color, "size": 9, "symbol": mark.symbol, "line": {"color": "white", "width": 1}},
            error_y={"type": "data", "array": [value or 0.0 for value in half], "visible": curve.scale == "category",
                     "color": mark.color},
            customdata=[[point.estimate.text(), point.estimate.n] for point in series.points],
            hovertemplate="%{customdata[0]} (n = %{customdata[1]})<extra>" + name + "</extra>",
        )
    )  # fmt: skip
    return traces


