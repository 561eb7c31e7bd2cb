"""Winners over their seeds, as diamonds with interval bars on a scatter of the search's trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from slasearch.analysis.intervals import Estimate
from slasearch.analysis.pareto import ParetoFront
from slasearch.report.figures._base import AxisRange, axis_range
from slasearch.report.labels import thousands
from slasearch.report.style import INK, PAPER, VERMILION

__all__ = ["CONFIRMED", "confirmed_handle", "confirmed_note", "confirmed_traces", "draw_confirmed", "shown_range"]

CONFIRMED = "confirmed over seeds"


def shown_range(front: ParetoFront, objective: str, *, floor: float = -math.inf) -> AxisRange:
    """The axis of an objective, with as much of the intervals as leaves the trials their room; of sizes in decades.

    Values below `floor` are left out.
    """
    values = [value for value in front.column(objective).tolist() if value >= floor]
    estimates = _estimates(front, objective)
    means = [one.mean for one in estimates]
    ends = [end for one in estimates for end in (one.low, one.high)]
    if objective != "exported_parameters":
        return axis_range([*values, *means], ends)
    return axis_range(
        [math.log10(value) for value in (*values, *means) if value > 0], [math.log10(end) for end in ends if end]
    )


def confirmed_note(front: ParetoFront, *objectives: str) -> tuple[str, ...]:
    """What a footnote says of the diamonds; nothing where nothing is confirmed."""
    if not front.confirmed:
        return ()
    seeds = max(estimate.n for point in front.confirmed for estimate in point.estimates)
    return (
        f"diamonds: winners run again over {seeds} seeds, bars: 95 % t-intervals, joined to the trial of the search",
        max(shown_range(front, name).note for name in objectives),
    )


def confirmed_handle() -> Line2D:
    """Their entry in a printed legend."""
    return Line2D([], [], linestyle="", marker="D", markersize=6, color=VERMILION, markeredgecolor="white")


def draw_confirmed(ax: Axes, front: ParetoFront, x_name: str, y_name: str) -> None:
    """The diamonds in print."""
    for start, x, y in _points(front, x_name, y_name):
        ax.plot([start[0], x.mean], [start[1], y.mean], color=INK, linewidth=1.0, linestyle=(0, (1.5, 1.5)), zorder=4.5)
        for line, place, one in ((ax.hlines, y.mean, x), (ax.vlines, x.mean, y)):
            if one.low is not None and one.high is not None:
                line(place, one.low, one.high, color=VERMILION, linewidth=1.8, zorder=5)
        ax.plot([x.mean], [y.mean], marker="D", markersize=6.5, color=VERMILION, markeredgecolor="white", zorder=6)


def confirmed_traces(front: ParetoFront, x_name: str, y_name: str) -> list[go.Scatter]:
    """The diamonds on the screen: a dotted way to each, then themselves with their bars."""
    found = _points(front, x_name, y_name)
    if not found:
        return []
    gap: Sequence[Any] = (None,)
    ways = go.Scatter(
        x=[value for start, x, _ in found for value in (start[0], x.mean, *gap)],
        y=[value for start, _, y in found for value in (start[1], y.mean, *gap)],
        mode="lines", hoverinfo="skip", line={"color": INK, "width": 1, "dash": "dot"},
    )  # fmt: skip
    texts = [
        f"trial {point.number} over {y.n} seeds<br>{_said(x_name, x)}<br>{_said(y_name, y)}"
        for point, (_, x, y) in zip(front.confirmed, found, strict=True)
    ]
    points = go.Scatter(
        x=[x.mean for _, x, _ in found], y=[y.mean for _, _, y in found], mode="markers", text=texts,
        marker={"symbol": "diamond", "size": 11, "color": VERMILION, "line": {"color": PAPER, "width": 1}},
        error_x=_bars([x for _, x, _ in found]), error_y=_bars([y for _, _, y in found]),
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    return [ways, points]


def _estimates(front: ParetoFront, objective: str) -> list[Estimate]:
    index = front.objectives.index(objective)
    return [point.estimates[index] for point in front.confirmed if point.estimates[index].n]


def _points(front: ParetoFront, x_name: str, y_name: str) -> list[tuple[tuple[float, float], Estimate, Estimate]]:
    """For each winner its search trial's values, NaN for a trial that was not weighed, and its estimates."""
    x_index, y_index = front.objectives.index(x_name), front.objectives.index(y_name)
    rows = {trial_id: (row[x_index], row[y_index]) for trial_id, row in zip(front.trial_ids, front.values, strict=True)}
    return [
        (rows.get(point.trial_id, (math.nan, math.nan)), point.estimates[x_index], point.estimates[y_index])
        for point in front.confirmed
    ]


def _bars(estimates: Sequence[Estimate]) -> dict[str, Any]:
    above = [0.0 if one.high is None else one.high - one.mean for one in estimates]
    below = [0.0 if one.low is None else one.mean - one.low for one in estimates]
    return {"type": "data", "array": above, "arrayminus": below, "color": VERMILION, "thickness": 1.8, "width": 0}


def _said(name: str, estimate: Estimate) -> str:
    if name == "exported_parameters":
        return f"{thousands(estimate.mean)} parameters"
    return f"{name} {estimate.text()}"
