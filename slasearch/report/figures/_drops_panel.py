"""Performance drops on the screen: rates and paired differences of the mean, then the rates of each task."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from slasearch.analysis.drops import Drop, PerformanceDrops
from slasearch.analysis.frames import MEAN
from slasearch.analysis.intervals import Estimate
from slasearch.analysis.roles import role_label
from slasearch.report.figures._base import AxisRange, Panel, panel_figure, tint
from slasearch.report.figures._drops_axes import (
    DIFFERENCE,
    RATE,
    crowded,
    difference_range,
    in_percent,
    place_of,
    rate_range,
    row_labels,
    rows_height,
    told_apart,
)
from slasearch.report.labels import condition_label, series_label
from slasearch.report.style import INK, PAPER, Mark

__all__ = ["drops_panels"]


def drops_panels(item: PerformanceDrops, marks: dict[str, Mark], tasks: Sequence[str]) -> tuple[Panel, ...]:
    """Rates and differences of the mean, then the rates of each task."""
    several = len(tasks) > 1
    found = [Panel(series_label(MEAN, tasks), _rates(item, marks, MEAN))]
    if len(item.roles) > 1:
        found.append(Panel("searched structures minus control", _differences(item, marks)))
    if several:
        found.extend(Panel(task, _rates(item, marks, task)) for task in tasks)
    return tuple(found)


def _empty(item: PerformanceDrops, x_label: str, shown: AxisRange) -> go.Figure:
    figure = panel_figure(x_label, "", height=110 + round(75 * rows_height(item)))
    labels = row_labels(item)
    figure.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=labels, range=[len(labels) - 0.5, -0.5], showgrid=False, ticks=""
    )
    figure.update_xaxes(range=[shown.low, shown.high])
    figure.add_vline(x=0, line={"color": INK, "width": 1.2})
    return figure


def _rates(item: PerformanceDrops, marks: dict[str, Mark], series: str) -> go.Figure:
    drops = [drop for role in item.roles for drop in item.of(role, series)]
    figure = _empty(item, RATE, rate_range(drops))
    for role in item.roles:
        found = [(drop, drop.rate) for drop in item.of(role, series) if drop.rate.n]
        barred = role == "winner" or not crowded(item)
        figure.add_trace(_trace(item, found, marks[role], role, barred=barred, filled=[True] * len(found)))
    return figure


def _differences(item: PerformanceDrops, marks: dict[str, Mark]) -> go.Figure:
    drops = [drop for role in item.roles for drop in item.of(role)]
    figure = _empty(item, DIFFERENCE, difference_range(drops))
    for role in item.roles:
        found = [(drop, drop.difference) for drop in item.of(role) if drop.difference is not None and drop.difference.n]
        filled = [told_apart(drop) for drop, _ in found]
        if found:
            figure.add_trace(_trace(item, found, marks[role], role, barred=not crowded(item), filled=filled))
    return figure


def _trace(
    item: PerformanceDrops,
    found: Sequence[tuple[Drop, Estimate]],
    mark: Mark,
    role: str,
    *,
    barred: bool,
    filled: Sequence[bool],
) -> go.Scatter:
    shown = [in_percent(estimate) for _, estimate in found]
    texts = [_hover(drop, estimate) for drop, estimate in found]
    return go.Scatter(
        x=[mean for mean, _, _ in shown], y=[place_of(item, drop) for drop, _ in found], mode="markers",
        legendgroup=role, text=texts, hovertemplate="%{text}<extra>" + role_label(role) + "</extra>",
        marker={
            "symbol": mark.symbol, "size": 9, "color": [mark.color if told else PAPER for told in filled],
            "line": {"color": [PAPER if told else mark.color for told in filled], "width": 1.4},
        },
        error_x={
            "type": "data", "array": [0.0 if high is None else high - mean for mean, _, high in shown],
            "visible": barred, "color": tint(mark.color, 0.5), "thickness": mark.width, "width": 0,
        },
    )  # fmt: skip


def _hover(drop: Drop, estimate: Estimate) -> str:
    mean, _, high = in_percent(estimate)
    interval = "" if high is None else f" ± {high - mean:.1f}"
    unit = "points" if estimate is drop.difference else "%"
    said = f", {drop.verdict}" if estimate is drop.difference else ""
    return f"{condition_label(drop.condition)} {drop.level:g}: {mean:.1f}{interval} {unit} (n = {estimate.n}){said}"
