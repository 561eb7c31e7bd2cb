"""Bars of shares with intervals: panels side by side that have the same rows, so that a row is read across them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from slasearch.report.figures._base import AxisRange, LegendItem, Panel, axis_range, panel_figure
from slasearch.report.figures._fields import wrapped
from slasearch.report.style import INK, MUTED, Mark, finish, legend_above, new_figure, plain_ticks, style

__all__ = ["Bar", "BarSeries", "ShareBars", "draw_shares", "share_legend", "share_panels", "share_range"]

_NAME = 26
"""Letters of a row's name on one line; longer names take two."""


@dataclass(frozen=True)
class Bar:
    """An estimate and the ends of its interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class BarSeries:
    """Bars of one kind: for each panel one for each row, None where the panel has none."""

    name: str
    label: str
    mark: Mark
    bars: tuple[tuple[Bar | None, ...], ...]


@dataclass(frozen=True)
class ShareBars:
    """All panels: their titles, their rows from above, bars, and the axis that they share."""

    titles: tuple[str, ...]
    rows: tuple[str, ...]
    series: tuple[BarSeries, ...]
    x_label: str
    shown: AxisRange
    note: str


def share_range(series: Sequence[BarSeries]) -> AxisRange:
    """An axis from 0 or below it that holds all bars and as much of the intervals as fits."""
    bars = [bar for one in series for panel in one.bars for bar in panel if bar is not None]
    return axis_range([0.0, *(bar.estimate for bar in bars)], [end for bar in bars for end in (bar.low, bar.high)])


def share_legend(chart: ShareBars) -> tuple[LegendItem, ...]:
    """An entry for each kind of bar."""
    return tuple(LegendItem(one.name, one.label, one.mark, line=False) for one in chart.series)


def draw_shares(chart: ShareBars) -> Figure:
    """The printed form."""
    lines = max(name.count("\n") for name in _names(chart, "\n")) + 1
    row = max(0.18 * lines, 0.27, min(0.5, 2.0 / len(chart.rows)))
    height = 1.25 + row * len(chart.rows) + 0.14 * chart.note.count("\n")
    with style():
        figure, axes = new_figure(height, 1, len(chart.titles), sharex=True, sharey=True)
        for panel, ax in enumerate(axes):
            _draw_panel(ax, chart, panel)
        axes[0].set_yticks(range(len(chart.rows)), _names(chart, "\n"))
        axes[0].set_ylim(len(chart.rows) - 0.5, -0.5)
        axes[0].set_xlim(chart.shown.low, chart.shown.high)
        handles: list[Patch | Line2D] = [Patch(color=one.mark.color) for one in chart.series]
        handles.append(Line2D([], [], color=INK, linewidth=1.3))
        labels = [*(one.label for one in chart.series), "95 % interval"]
        legend_above(figure, handles, labels)
        finish(figure, chart.note)
    return figure


def _names(chart: ShareBars, join: str) -> list[str]:
    return [wrapped(name, _NAME, join) for name in chart.rows]


def _thickness(chart: ShareBars) -> float:
    return 0.74 / len(chart.series) if len(chart.series) > 1 else 0.56


def _draw_panel(ax: Axes, chart: ShareBars, panel: int) -> None:
    thick = _thickness(chart)
    ax.axvline(0, color=MUTED, linewidth=1, zorder=1)
    for index, series in enumerate(chart.series):
        shift = (index - (len(chart.series) - 1) / 2) * thick
        for row, bar in enumerate(series.bars[panel]):
            if bar is not None:
                ax.barh(row + shift, bar.estimate, height=thick * 0.92, color=series.mark.color, zorder=2)
                ax.hlines(row + shift, bar.low, bar.high, color=INK, linewidth=1.3, zorder=3)
    ax.spines["left"].set_visible(False)
    ax.set_title(chart.titles[panel])
    ax.set_xlabel(chart.x_label)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    plain_ticks(ax, "x", 4 if len(chart.titles) > 1 else 8)


def share_panels(chart: ShareBars) -> tuple[Panel, ...]:
    """The interactive form."""
    return tuple(Panel(title, _panel(chart, index)) for index, title in enumerate(chart.titles))


def _panel(chart: ShareBars, panel: int) -> go.Figure:
    figure = panel_figure(chart.x_label, "", height=110 + (36 if len(chart.series) > 1 else 30) * len(chart.rows))
    for series in chart.series:
        found = [(row, bar) for row, bar in enumerate(series.bars[panel]) if bar is not None]
        figure.add_trace(
            go.Bar(
                x=[bar.estimate for _, bar in found], y=[row for row, _ in found], orientation="h",
                legendgroup=series.name, marker={"color": series.mark.color, "line": {"width": 0}},
                error_x={
                    "type": "data", "array": [max(0.0, bar.high - bar.estimate) for _, bar in found],
                    "arrayminus": [max(0.0, bar.estimate - bar.low) for _, bar in found],
                    "color": INK, "thickness": 1.5, "width": 0,
                },
                customdata=[[chart.rows[row], bar.low, bar.high] for row, bar in found],
                hovertemplate="%{customdata[0]}: %{x:.3f} (%{customdata[1]:.3f} to %{customdata[2]:.3f})"
                f"<extra>{series.label}</extra>",
            )
        )  # fmt: skip
    figure.update_layout(barmode="group", bargap=0.26)
    figure.update_yaxes(
        tickvals=list(range(len(chart.rows))), ticktext=_names(chart, "<br>"), range=[len(chart.rows) - 0.5, -0.5],
        showgrid=False, ticks="",
    )  # fmt: skip
    figure.update_xaxes(range=[chart.shown.low, chart.shown.high])
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    return figure
