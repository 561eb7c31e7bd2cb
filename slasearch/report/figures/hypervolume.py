"""Hypervolume over trials: how far the search's trade-off had come after each of its complete trials."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from slasearch.analysis.pareto import Hypervolume
from slasearch.report.figures._base import Panel, ReportFigure, note, panel_figure, thinned
from slasearch.report.labels import percent, thousands
from slasearch.report.results import Results
from slasearch.report.style import ACCENT, INK, MUTED, PAPER, finish, new_figure, plain_ticks, style

__all__ = ["figures", "hypervolume_table"]

_Y_LABEL = "Hypervolume (share of the box)"


def figures(results: Results) -> list[ReportFigure]:
    """The hypervolume; none without complete trials that have every objective."""
    found = results.hypervolume
    if found is None:
        return []
    text = note(
        found.method,
        "reference point: " + _point(found, found.reference),
        "best values: " + _point(found, found.ideal),
        "points: trials that were on the front when they came",
        *found.warnings,
        "search: " + results.counts_of("design", "optimise").text(),
    )
    late = found.numbers[int(np.argmax(found.values >= 0.99 * found.values[-1]))]
    return [
        ReportFigure(
            name="hypervolume",
            section="tradeoff",
            title="Hypervolume over trials",
            caption="What the complete trials so far dominate; it rises when a trial joins the front.",
            note=text,
            alt=f"Rising line over {found.n} trials, {percent(float(found.values[0]))} after the first and "
            f"{percent(float(found.values[-1]))} after the last; within 1 % of the last from trial {late} on.",
            table=hypervolume_table(found),
            draw=lambda: _draw(found, text),
            panels=lambda: (Panel("", _panel(found), wide=True),),
        )
    ]


def hypervolume_table(found: Hypervolume) -> pd.DataFrame:
    """One row for each complete trial of the search: `number, hypervolume, on_front`."""
    return pd.DataFrame({"number": found.numbers, "hypervolume": found.values, "on_front": found.on_front})


def _point(found: Hypervolume, values: tuple[float, ...]) -> str:
    """`score 0.712, 67 427 parameters, robustness 0.61`."""
    words = [
        f"{thousands(value)} parameters" if name == "exported_parameters" else f"{name} {value:.3f}"
        for name, value in zip(found.objectives, values, strict=True)
    ]
    return ", ".join(words)


def _top(found: Hypervolume) -> float:
    return float(found.values[-1]) * 1.06


def _draw(found: Hypervolume, text: str) -> Figure:
    numbers = np.array(found.numbers, dtype=np.float64)
    with style():
        figure, (ax,) = new_figure(3.3)
        ax.step(numbers, found.values, where="post", color=INK, linewidth=1.6, zorder=3)
        ax.scatter(numbers[found.on_front], found.values[found.on_front], s=26, color=ACCENT, edgecolors="white",
                   linewidths=0.6, zorder=4)  # fmt: skip
        ax.set_xlabel("Trial number")
        ax.set_ylabel("Hypervolume\n(share of the box)")
        ax.set_ylim(0, _top(found))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        plain_ticks(ax, "y", 6)
        finish(figure, text)
    return figure


def _kept(found: Hypervolume) -> NDArray[np.bool_]:
    keep = found.on_front.copy()
    keep[-1] = True
    return thinned(keep)


def _panel(found: Hypervolume) -> go.Figure:
    figure = panel_figure("Trial number", _Y_LABEL, height=320)
    shown = _kept(found)
    numbers, values, on_front = (
        np.array(found.numbers)[shown].tolist(), found.values[shown].tolist(), found.on_front[shown].tolist(),
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=numbers, y=values, mode="lines", line={"shape": "hv", "color": INK, "width": 1.6}, hoverinfo="skip"
        )
    )
    joined = [(number, value) for number, value, front in zip(numbers, values, on_front, strict=True) if front]
    figure.add_trace(
        go.Scatter(
            x=[number for number, _ in joined], y=[value for _, value in joined], mode="markers",
            marker={"color": ACCENT, "size": 9, "line": {"color": PAPER, "width": 1}},
            hovertemplate="trial %{x}: %{y:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(range=[0, _top(found)])
    figure.add_hline(y=float(found.values[-1]), line={"color": MUTED, "width": 1, "dash": "dot"})
    return figure
