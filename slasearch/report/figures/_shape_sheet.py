"""A sheet of response lines, one panel a field: the average with its band, and faint lines of single points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from slasearch.analysis.shape import ResponseLine
from slasearch.report.figures._base import AxisRange, LegendItem, Panel, panel_figure, tint
from slasearch.report.figures._fields import FieldAxis, field_axis, set_field_axis, set_panel_axis
from slasearch.report.labels import level_label, short_number
from slasearch.report.style import (
    ACCENT,
    DENSE,
    MUTED,
    PAPER,
    Mark,
    compact,
    compact_axis,
    count_ticks,
    finish,
    legend_above,
    new_figure,
    plain_ticks,
    style,
)

__all__ = ["SHEET_LEGEND", "ShapeSheet", "draw_sheet", "sheet_panels"]

_MEAN, _SINGLE = Mark(ACCENT, "o", "circle", 2.2), Mark(MUTED, "o", "circle", 0.8)
_BAND = 0.2

SHEET_LEGEND = (LegendItem("mean", "average", _MEAN), LegendItem("single", "single points", _SINGLE))


@dataclass(frozen=True)
class _Cut:
    """The printed sheet: panels side by side, height of a row in inches, letters and points of a label."""

    columns: int
    height: float
    letters: int
    size: float


_CUTS = (_Cut(1, 2.6, 75, 10), _Cut(2, 2.3, 36, 10), _Cut(3, 2.05, 25, 9.5), _Cut(4, 1.8, 20, 9))


@dataclass(frozen=True)
class ShapeSheet:
    """All lines of one response in the order of their panels, and the axis that they share.

    `counts` draws the response as a logarithmic count; `shown` is then in decades.
    """

    lines: tuple[ResponseLine, ...]
    y_label: str
    shown: AxisRange
    counts: bool
    note: str

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of the response's axis, in its unit."""
        return (10**self.shown.low, 10**self.shown.high) if self.counts else (self.shown.low, self.shown.high)

    @property
    def count_ticks(self) -> list[float]:
        """Ticks of a logarithmic count."""
        return count_ticks(*self.ends)


def draw_sheet(sheet: ShapeSheet) -> Figure:
    """The printed form: fewer and larger panels where there are few fields."""
    fields = len(sheet.lines)
    cut = next((cut for cut in _CUTS if fields <= cut.columns * cut.columns), _CUTS[-1])
    rows = -(-fields // cut.columns)
    with style():
        figure, axes = new_figure(1.2 + cut.height * rows, rows, cut.columns, sharey=True)
        for ax, line in zip(axes, sheet.lines, strict=False):
            axis = field_axis(line.field, line.levels, line.scale, cut.letters)
            _draw_line(ax, line, axis)
            set_field_axis(ax, "x", axis, size=cut.size)
            _set_y(ax, sheet)
        figure.supylabel(sheet.y_label, fontsize=10)
        _draw_legend(figure, axes, fields)
        finish(figure, sheet.note)
    return figure


def _draw_line(ax: Axes, line: ResponseLine, axis: FieldAxis) -> None:
    x = axis.places
    if axis.scale == "category":
        _draw_choices(ax, line, x)
        return
    single = [list(zip(x, one, strict=True)) for one in line.ice]
    many = len(x) * len(single) > DENSE
    ax.add_collection(LineCollection(single, colors=MUTED, linewidths=0.6, alpha=0.35, zorder=2, rasterized=many))
    ax.fill_between(x, line.low, line.high, color=ACCENT, alpha=_BAND, linewidth=0, zorder=3)
    ax.plot(x, line.mean, color=ACCENT, linewidth=_MEAN.width, zorder=4)


def _draw_choices(ax: Axes, line: ResponseLine, x: Sequence[float]) -> None:
    """Choices have no way between them: nothing joins them, and single points stand beside the average."""
    for one in line.ice:
        ax.scatter([place + 0.2 for place in x], one, s=6, color=MUTED, alpha=0.4, linewidths=0, zorder=2)
    ax.vlines(x, line.low, line.high, color=ACCENT, linewidth=5, alpha=_BAND, zorder=3)
    ax.scatter(x, line.mean, s=28, color=ACCENT, edgecolors="white", linewidths=0.8, zorder=4)


def _set_y(ax: Axes, sheet: ShapeSheet) -> None:
    if sheet.counts:
        ax.set_yscale("log")
        ax.set_yticks(sheet.count_ticks)
        ax.minorticks_off()
        compact_axis(ax, "y")
    else:
        plain_ticks(ax, "y", 5)
    ax.set_ylim(*sheet.ends)


def _draw_legend(figure: Figure, axes: Sequence[Axes], fields: int) -> None:
    handles = [
        Line2D([], [], color=ACCENT, linewidth=_MEAN.width),
        Patch(color=ACCENT, alpha=_BAND, linewidth=0),
        Line2D([], [], color=MUTED, linewidth=_SINGLE.width),
    ]
    labels = ["average", "95 % interval", "single points"]
    for ax in axes[fields:]:
        ax.set_axis_off()
    if len(axes) > fields:
        axes[-1].legend(handles, labels, loc="center left", borderaxespad=1.5, labelspacing=0.8)
    else:
        legend_above(figure, handles, labels)


def sheet_panels(sheet: ShapeSheet) -> tuple[Panel, ...]:
    """The interactive form: a chart for each field."""
    return tuple(Panel("", _panel(line, sheet)) for line in sheet.lines)


def _panel(line: ResponseLine, sheet: ShapeSheet) -> go.Figure:
    axis = field_axis(line.field, line.levels, line.scale)
    figure = panel_figure(axis.label, sheet.y_label, height=320 if len(sheet.lines) <= 4 else 260)
    figure.add_trace(_single_trace(line, axis))
    if axis.scale != "category":
        figure.add_trace(
            go.Scatter(
                x=[*axis.places, *reversed(axis.places)], y=[*line.high, *reversed(line.low)], mode="lines",
                fill="toself", fillcolor=tint(ACCENT, _BAND), line={"width": 0}, hoverinfo="skip", legendgroup="mean",
            )
        )  # fmt: skip
    figure.add_trace(_mean_trace(line, axis))
    set_panel_axis(figure, "x", axis)
    figure.update_yaxes(range=[sheet.shown.low, sheet.shown.high])
    if sheet.counts:
        ticks = sheet.count_ticks
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=[compact(tick) for tick in ticks])
    return figure


def _single_trace(line: ResponseLine, axis: FieldAxis) -> go.Scatter:
    """All single points as one trace, a gap after each line; of choices as points beside the average."""
    choices = axis.scale == "category"
    x = [place + 0.2 if choices else place for place in axis.places]
    return go.Scatter(
        x=[place for _ in line.ice for place in (*x, None)], y=[value for one in line.ice for value in (*one, None)],
        mode="markers" if choices else "lines", legendgroup="single", hoverinfo="skip", opacity=0.35,
        line={"color": MUTED, "width": 1}, marker={"color": MUTED, "size": 5},
    )  # fmt: skip


def _mean_trace(line: ResponseLine, axis: FieldAxis) -> go.Scatter:
    choices = axis.scale == "category"
    bars = {
        "type": "data",
        "array": [high - mean for high, mean in zip(line.high, line.mean, strict=True)],
        "arrayminus": [mean - low for low, mean in zip(line.low, line.mean, strict=True)],
        "visible": choices, "color": tint(ACCENT, 0.3), "thickness": 7, "width": 0,
    }  # fmt: skip
    return go.Scatter(
        x=list(axis.places), y=list(line.mean), mode="markers" if choices else "lines", legendgroup="mean",
        line={"color": ACCENT, "width": _MEAN.width}, error_y=bars,
        marker={"color": ACCENT, "size": 9, "line": {"color": PAPER, "width": 1}},
        customdata=[
            [level_label(level), *map(short_number, values)]
            for level, *values in zip(line.levels, line.mean, line.low, line.high, strict=True)
        ],
        hovertemplate="%{customdata[0]}: %{customdata[1]} (%{customdata[2]} to %{customdata[3]})<extra></extra>",
    )  # fmt: skip
