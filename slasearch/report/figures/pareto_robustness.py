"""The trade-off in its third objective: robustness against size and against score, each with its own staircase."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from slasearch.analysis.pareto import ParetoFront, non_dominated
from slasearch.records import DIRECTIONS
from slasearch.report.figures._base import AxisRange, Panel, ReportFigure, note, panel_figure, thinned
from slasearch.report.figures._confirmed import (
    CONFIRMED,
    confirmed_handle,
    confirmed_note,
    confirmed_traces,
    draw_confirmed,
    shown_range,
)
from slasearch.report.figures.pareto import front_table
from slasearch.report.labels import objective_label, thousands
from slasearch.report.results import Results
from slasearch.report.style import (
    ACCENT,
    DENSE,
    INK,
    MUTED,
    broken,
    compact,
    compact_axis,
    count_ticks,
    finish,
    legend_above,
    new_figure,
    plain_ticks,
    style,
)

__all__ = ["figures"]

_PAIRS = ("exported_parameters", "score")
"""What robustness is drawn against."""


def figures(results: Results) -> list[ReportFigure]:
    """Both scatters; none where no trial has a robustness."""
    front = results.front
    if front is None or "robustness" not in front.objectives:
        return []
    labels = {name: objective_label(results.frames.config, name) for name in front.objectives}
    text = note(
        f"trials: {front.n}; on the front over score, size and robustness: {int(front.on_front.sum())}",
        "validation split, one seed pair each",
        *confirmed_note(front, *front.objectives),
        *front.warnings,
        "search: " + results.counts_of("design", "optimise").text(),
    )
    best = int(front.column("robustness").argmax())
    return [
        ReportFigure(
            name="pareto_robustness",
            section="tradeoff",
            title="Robustness against size and score",
            caption="Ringed: beaten by no other trial in all three objectives. Staircases: the best of each pair.",
            note=text,
            alt=f"Two scatters of {front.n} trials. Best robustness {front.column('robustness')[best]:.3f} with "
            f"{thousands(front.column('exported_parameters')[best])} exported parameters and score "
            f"{front.column('score')[best]:.3f}.",
            table=front_table(front).sort_values(
                ["robustness", "trial_id"], ascending=[False, True], ignore_index=True
            ),
            draw=lambda: _draw(front, labels, text),
            panels=lambda: tuple(Panel(_TITLES[name], _panel(front, name, labels)) for name in _PAIRS),
        )
    ]


_TITLES = {"exported_parameters": "against size", "score": "against score"}


def _staircase(front: ParetoFront, x_name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Trials that no other beats in both objectives, by the first of them."""
    pair = np.column_stack([front.column(x_name), front.column("robustness")])
    best = pair[non_dominated(pair, [DIRECTIONS[x_name], DIRECTIONS["robustness"]])]
    best = best[np.argsort(best[:, 0], kind="stable")]
    return best[:, 0], best[:, 1]


def _ticks(shown: AxisRange) -> list[float]:
    """Ticks of an axis of sizes that is half as wide as others: of many powers of ten alone, or every second one."""
    ticks = count_ticks(10**shown.low, 10**shown.high)
    if len(ticks) > 6:
        powers = [tick for tick in ticks if tick == 10.0 ** round(np.log10(tick))]
        ticks = powers if len(powers) > 1 else ticks
    return ticks[::2] if len(ticks) > 6 else ticks


def _logarithmic(front: ParetoFront, x_name: str) -> bool:
    return x_name == "exported_parameters" and bool(front.column(x_name).min() > 0)


def _draw(front: ParetoFront, labels: dict[str, str], text: str) -> Figure:
    with style():
        figure, axes = new_figure(4.0, 1, 2, sharey=True)
        for ax, x_name in zip(axes, _PAIRS, strict=True):
            _draw_pair(ax, front, x_name)
            ax.set_xlabel(broken(labels[x_name]))
        axes[0].set_ylabel(broken(labels["robustness"], 24))
        handles = [
            Line2D([], [], color=INK, linewidth=1.3),
            Line2D([], [], linestyle="", marker="o", markersize=7, color=ACCENT, markeredgecolor=INK),
            Line2D([], [], linestyle="", marker="o", markersize=4, color=MUTED, alpha=0.6),
        ]
        names = ["best of the pair", "on the front", "dominated"]
        if front.confirmed:
            handles.append(confirmed_handle())
            names.append(CONFIRMED)
        legend_above(figure, handles, names, columnspacing=1.2)
        finish(figure, text)
    return figure


def _draw_pair(ax: Axes, front: ParetoFront, x_name: str) -> None:
    x, y = front.column(x_name), front.column("robustness")
    rising = DIRECTIONS[x_name] == "maximize"
    ax.step(*_staircase(front, x_name), where="pre" if rising else "post", color=INK, linewidth=1.3, zorder=2)
    dense, ringed = front.n > DENSE, front.on_front
    ax.scatter(x[~ringed], y[~ringed], s=14, color=MUTED, alpha=0.5, linewidths=0, zorder=3, rasterized=dense)
    ax.scatter(x[ringed], y[ringed], s=44, color=ACCENT, edgecolors=INK, linewidths=1.1, zorder=4)
    draw_confirmed(ax, front, x_name, "robustness")
    shown = shown_range(front, x_name)
    if _logarithmic(front, x_name):
        ax.set_xscale("log")
        ax.set_xlim(10**shown.low, 10**shown.high)
        ax.set_xticks(_ticks(shown))
        ax.minorticks_off()
    elif x_name != "exported_parameters":
        ax.set_xlim(shown.low, shown.high)
        plain_ticks(ax, "x", 5)
    if x_name == "exported_parameters":
        compact_axis(ax, "x")
    height = shown_range(front, "robustness")
    ax.set_ylim(height.low, height.high)
    plain_ticks(ax, "y", 6)


def _panel(front: ParetoFront, x_name: str, labels: dict[str, str]) -> go.Figure:
    figure = panel_figure(labels[x_name], labels["robustness"], height=360)
    x, y = _staircase(front, x_name)
    shape = "vh" if DIRECTIONS[x_name] == "maximize" else "hv"
    line = {"shape": shape, "color": INK, "width": 1.3}
    figure.add_trace(go.Scatter(x=x.tolist(), y=y.tolist(), mode="lines", hoverinfo="skip", line=line))
    table = front_table(front)
    table = table[thinned(table["on_front"].to_numpy(dtype=np.bool_))]
    for ringed, marker in (
        (False, {"color": MUTED, "size": 6, "opacity": 0.6}),
        (True, {"color": ACCENT, "size": 10, "line": {"color": INK, "width": 1.3}}),
    ):
        rows = table[table["on_front"] == ringed]
        figure.add_trace(
            go.Scatter(
                x=rows[x_name].tolist(), y=rows["robustness"].tolist(), mode="markers", marker=marker,
                text=_hover(rows), hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    figure.add_traces(confirmed_traces(front, x_name, "robustness"))
    shown, height = shown_range(front, x_name), shown_range(front, "robustness")
    if _logarithmic(front, x_name):
        ticks = _ticks(shown)
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[compact(tick) for tick in ticks])
    if x_name != "exported_parameters" or _logarithmic(front, x_name):
        figure.update_xaxes(range=[shown.low, shown.high])
    figure.update_yaxes(range=[height.low, height.high])
    return figure


def _hover(rows: pd.DataFrame) -> list[str]:
    columns = ("number", "phase", "score", "exported_parameters", "robustness")
    return [
        f"trial {number} ({phase})<br>score {score:.3f}<br>{thousands(size)} parameters<br>robustness {robustness:.3f}"
        for number, phase, score, size, robustness in zip(*(rows[name] for name in columns), strict=True)
    ]
