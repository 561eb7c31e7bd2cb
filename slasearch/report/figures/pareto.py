"""The trade-off: score against exported parameters, coloured by robustness, the front drawn as a staircase.

Winners stand a second time where their seeds put them, with interval bars.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from slasearch.analysis.pareto import ParetoFront
from slasearch.report.figures._base import AxisRange, Panel, ReportFigure, note, panel_figure, thinned
from slasearch.report.figures._collapsed import ARROW, collapsed_note, score_floor
from slasearch.report.figures._confirmed import (
    CONFIRMED,
    confirmed_handle,
    confirmed_note,
    confirmed_traces,
    draw_confirmed,
    shown_range,
)
from slasearch.report.labels import objective_label, thousands
from slasearch.report.results import Results
from slasearch.report.style import (
    ACCENT,
    DENSE,
    INK,
    MUTED,
    compact,
    compact_axis,
    count_ticks,
    finish,
    legend_above,
    new_figure,
    style,
)

__all__ = ["figures", "front_table"]

_SCALE = "cividis"


def figures(results: Results) -> list[ReportFigure]:
    """The Pareto scatter; none without complete trials that have a size."""
    front = results.front
    if front is None:
        return []
    config = results.frames.config
    colour = objective_label(config, "robustness") if "robustness" in front.objectives else None
    y_label = objective_label(config, "score")
    text = note(
        f"trials: {front.n}; on the front over {', '.join(front.objectives)}: {int(front.on_front.sum())}".replace(
            "exported_parameters", "size"
        ),
        "validation split, one seed pair each",
        *confirmed_note(front, "exported_parameters", "score"),
        collapsed_note(front.column("score"), _floor(front)),
        f"{front.left_out} left out: an objective is missing" if front.left_out else "",
        *front.warnings,
        "search: " + results.counts_of("design", "optimise").text(),
    )
    return [
        ReportFigure(
            name="pareto",
            section="tradeoff",
            title="Score against size",
            caption="Ringed: beaten by no other trial in all objectives. Staircase: the best score for a size.",
            note=text,
            alt=_spoken(front),
            table=front_table(front),
            draw=lambda: _draw(front, y_label, colour, text),
            panels=lambda: (Panel("", _panel(front, y_label, colour), wide=True),),
        )
    ]


def front_table(front: ParetoFront) -> pd.DataFrame:
    """One row for each trial that was weighed, best score first; of winners also their means over seeds."""
    table = pd.DataFrame(
        {
            "trial_id": front.trial_ids,
            "number": front.numbers,
            "phase": front.phases,
            **{name: front.column(name) for name in front.objectives},
            "on_front": front.on_front,
            "on_size_front": front.on_size_front,
        }
    )
    table = table.sort_values(["score", "trial_id"], ascending=[False, True], ignore_index=True)
    return table.merge(_confirmed_table(front), on="trial_id", how="left", validate="one_to_one")


def _confirmed_table(front: ParetoFront) -> pd.DataFrame:
    """Columns `trial_id`, and `confirmed_NAME`, `…_low`, `…_high` for each objective, `confirmed_n`."""
    columns = [f"confirmed_{name}{end}" for name in front.objectives for end in ("", "_low", "_high")]
    rows = [
        (
            point.trial_id,
            *(value for one in point.estimates for value in (one.mean, one.low, one.high)),
            max(one.n for one in point.estimates),
        )
        for point in front.confirmed
    ]
    table = pd.DataFrame(rows, columns=["trial_id", *columns, "confirmed_n"])
    return table.astype({"trial_id": "int64", **dict.fromkeys([*columns, "confirmed_n"], "float64")})


def _spoken(front: ParetoFront) -> str:
    size, score = front.column("exported_parameters"), front.column("score")
    best, least = int(score.argmax()), int(size.argmin())
    return (
        f"Scatter of {front.n} trials. Best score {score[best]:.3f} with {thousands(size[best])} exported parameters; "
        f"fewest {thousands(size[least])} with score {score[least]:.3f}."
    )


def _floor(front: ParetoFront) -> float:
    """The lowest score that the axis has to hold: everything that the front consists of, collapsed or not."""
    score = front.column("score")
    return min(score_floor(score), float(score[front.on_front | front.on_size_front].min()))


def _score_range(front: ParetoFront) -> AxisRange:
    return shown_range(front, "score", floor=_floor(front))


def _staircase(front: ParetoFront) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    order = np.argsort(front.column("exported_parameters")[front.on_size_front], kind="stable")
    size, score = (front.column(name)[front.on_size_front][order] for name in ("exported_parameters", "score"))
    return size, score


def _draw(front: ParetoFront, y_label: str, colour: str | None, text: str) -> Figure:
    with style():
        figure, (ax,) = new_figure(4.6)
        size, score = front.column("exported_parameters"), front.column("score")
        ax.step(*_staircase(front), where="post", color=INK, linewidth=1.3, zorder=2)
        shades = front.column("robustness") if colour else None
        ends: dict[str, Any] = (
            {} if shades is None else {"cmap": _SCALE, "vmin": float(shades.min()), "vmax": float(shades.max())}
        )
        for chosen, area, alpha, edge in ((~front.on_front, 26, 0.75, MUTED), (front.on_front, 78, 1.0, INK)):
            points = ax.scatter(
                size[chosen], score[chosen], s=area, alpha=alpha, edgecolors=edge, linewidths=0.4 if area < 50 else 1.3,
                c=ACCENT if shades is None else shades[chosen], zorder=3 if area < 50 else 4,
                rasterized=front.n > DENSE, **ends,
            )  # fmt: skip
        below = score < _floor(front)
        shown = _score_range(front)
        at_the_end = np.full(int(below.sum()), shown.low + 0.02 * (shown.high - shown.low))
        ax.scatter(size[below], at_the_end, s=60, marker=ARROW, color=MUTED, zorder=3)
        if colour:
            bar = figure.colorbar(points, ax=ax, pad=0.02, aspect=28)
            bar.set_label(colour)
            bar.outline.set_visible(False)
        draw_confirmed(ax, front, "exported_parameters", "score")
        _set_axes(ax, front)
        ax.set_ylabel(y_label)
        handles = [
            Line2D([], [], color=INK, linewidth=1.3),
            Line2D([], [], linestyle="", marker="o", markersize=8, markerfacecolor="none", markeredgecolor=INK),
            Line2D([], [], linestyle="", marker="o", markersize=5, color=MUTED, alpha=0.6),
        ]
        labels = ["best score for a size", "on the front", "dominated"]
        if front.confirmed:
            handles.append(confirmed_handle())
            labels.append(CONFIRMED)
        legend_above(figure, handles, labels, columnspacing=1.2)
        finish(figure, text)
    return figure


def _set_axes(ax: Axes, front: ParetoFront) -> None:
    size = front.column("exported_parameters")
    if size.min() > 0:
        ax.set_xscale("log")
        shown = shown_range(front, "exported_parameters")
        ax.set_xlim(10**shown.low, 10**shown.high)
        ax.set_xticks(count_ticks(10**shown.low, 10**shown.high))
        ax.minorticks_off()
    shown = _score_range(front)
    ax.set_ylim(shown.low, shown.high)
    ax.set_xlabel("Exported parameters")
    compact_axis(ax, "x")


def _panel(front: ParetoFront, y_label: str, colour: str | None) -> go.Figure:
    figure = panel_figure("Exported parameters", y_label, height=430)
    size, score = _staircase(front)
    line = {"shape": "hv", "color": INK, "width": 1.3}
    figure.add_trace(go.Scatter(x=size.tolist(), y=score.tolist(), mode="lines", hoverinfo="skip", line=line))
    # The points on the front come last, so that they lie on top.
    table = front_table(front)[::-1].sort_values("on_front", kind="stable", ignore_index=True)
    table = table[thinned(table["on_front"].to_numpy(dtype=np.bool_))]
    shown, below = _score_range(front), table["score"] < _floor(front)
    marker: dict[str, object] = {
        "symbol": ["arrow-down" if low else "circle" for low in below] if below.any() else "circle",
        "size": [14 if chosen else 8 for chosen in table["on_front"]],
        "opacity": [1.0 if chosen else 0.75 for chosen in table["on_front"]],
        "line": {
            "color": [INK if chosen else MUTED for chosen in table["on_front"]],
            "width": [1.6 if chosen else 0.6 for chosen in table["on_front"]],
        },
        "color": table["robustness"].tolist() if colour else ACCENT,
    }
    if colour:
        title = {"text": colour.partition(" (")[0], "side": "top", "font": {"size": 12}}
        marker |= {"colorscale": _SCALE, "colorbar": {"title": title, "thickness": 12, "outlinewidth": 0}}
    figure.add_trace(
        go.Scatter(
            x=table["exported_parameters"].tolist(), mode="markers", marker=marker,
            y=table["score"].mask(below, shown.low + 0.02 * (shown.high - shown.low)).tolist(),
            text=[_hover(row) for _, row in table.iterrows()], hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_traces(confirmed_traces(front, "exported_parameters", "score"))
    sizes = front.column("exported_parameters")
    figure.update_yaxes(range=[shown.low, shown.high])
    if sizes.min() > 0:
        shown = shown_range(front, "exported_parameters")
        figure.update_xaxes(range=[shown.low, shown.high])
        ticks = count_ticks(10**shown.low, 10**shown.high)
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[compact(tick) for tick in ticks])
    return figure


def _hover(row: pd.Series[Any]) -> str:
    text = f"trial {row['number']} ({row['phase']})<br>score {row['score']:.3f}"
    text += f"<br>{thousands(row['exported_parameters'])} parameters"
    return text + (f"<br>robustness {row['robustness']:.3f}" if "robustness" in row else "")
