"""Trial history: every trial of the search in its order, whatever became of it, and the best so far."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from slasearch.report.figures._base import (
    AxisRange,
    LegendItem,
    Panel,
    ReportFigure,
    axis_range,
    note,
    panel_figure,
    thinned,
)
from slasearch.report.figures._collapsed import ARROW, collapsed_note, score_floor
from slasearch.report.labels import objective_label
from slasearch.report.results import Results
from slasearch.report.style import DENSE, INK, MUTED, VERMILION, broken, finish, new_figure, state_marks, style

__all__ = ["figures", "history_table"]


def figures(results: Results) -> list[ReportFigure]:
    """The history; none without a trial of the search that has ended."""
    table = history_table(results)
    if table.empty:
        return []
    marks = state_marks()
    legend = tuple(
        LegendItem(state, _label(state, table), marks[state], line=False)
        for state in marks
        if (table["state"] == state).any()
    )
    text = note(
        "line: best complete score so far",
        "pruned trials stand at their last score, failed and repeated ones at the bottom",
        collapsed_note(_scores(table), _floor(table)),
        "search: " + results.counts_of("design", "optimise").text(),
    )
    y_label = objective_label(results.frames.config, "score")
    return [
        ReportFigure(
            name="history",
            section="history",
            title="Trials in their order",
            caption="Validation score of each trial, with one seed pair each.",
            note=text,
            alt=f"Scatter of {len(table)} trials by number: {results.counts_of('design', 'optimise').text()}.",
            table=table,
            draw=lambda: _draw(table, legend, y_label, text),
            panels=lambda: (Panel("", _panel(table, legend, y_label), wide=True),),
            legend=legend,
        )
    ]


def history_table(results: Results) -> pd.DataFrame:
    """One row for each attempt of the search that has ended.

    Columns: `trial_id, number, phase, attempt, state, score, best, repeated, reason`.
    """
    trials = results.frames.search_trials()
    ended = trials[trials["state"].isin(["complete", "pruned", "fail"])].sort_values("number", kind="stable")
    best = ended["score"].where(ended["state"] == "complete").cummax().ffill()
    columns = ["trial_id", "number", "phase", "attempt", "state", "score"]
    repeated = ended["trial_id"].isin(results.frames.trials["retry_of"].dropna())
    return ended[columns].assign(best=best, repeated=repeated, reason=ended["reason"]).reset_index(drop=True)


def _scores(table: pd.DataFrame) -> NDArray[np.float64]:
    return table["score"].to_numpy(dtype=np.float64)


def _floor(table: pd.DataFrame) -> float:
    """The lowest score that the axis has to hold: of pruned trials, whose scores are low on the way, all of them."""
    pruned = (table["state"] == "pruned").to_numpy(dtype=np.bool_)
    scores = _scores(table)
    return min(score_floor(scores[~pruned]), float(np.nanmin([np.inf, *scores[pruned]])))


def _y_range(table: pd.DataFrame) -> AxisRange:
    scores = _scores(table)
    return axis_range(scores[scores >= _floor(table)])


def _label(state: str, table: pd.DataFrame) -> str:
    """What a state is called; of attempts that failed, those that were repeated are no failed trials."""
    if state != "fail":
        return state
    repeated = table.loc[table["state"] == "fail", "repeated"]
    return "repeated" if repeated.all() else "failed or repeated" if repeated.any() else "failed"


def _draw(table: pd.DataFrame, legend: tuple[LegendItem, ...], y_label: str, text: str) -> Figure:
    with style():
        figure, (ax,) = new_figure(3.9)
        for item in legend:
            _draw_state(ax, table[table["state"] == item.series], item, _floor(table), dense=len(table) > DENSE)
        ax.step(table["number"], table["best"], where="post", color=INK, linewidth=1.6, label="best so far", zorder=4)
        above = blended_transform_factory(ax.transData, ax.transAxes)
        for start, phase in _phases(table):
            if start > table["number"].min():
                ax.axvline(start - 0.5, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
            ax.text(start - 0.4, 1.01, phase, transform=above, color=MUTED, fontsize=9, va="bottom")
        ax.set_xlabel("Trial number")
        ax.set_ylabel(broken(y_label, 24))
        shown = _y_range(table)
        ax.set_ylim(shown.low, shown.high)
        low, high = float(table["number"].min()), float(table["number"].max())
        ax.set_xlim(low - 0.5 - 0.015 * (high - low), high + 0.5 + 0.015 * (high - low))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        if table["score"].isna().all():
            ax.set_yticks([])
        figure.legend(loc="outside upper left", ncols=4)
        finish(figure, text)
    return figure


def _draw_state(ax: Axes, rows: pd.DataFrame, item: LegendItem, floor: float, *, dense: bool) -> None:
    """Failed attempts have no score: they stand as crosses at the bottom, whatever the axis shows."""
    failed = item.series == "fail"
    at_the_end = blended_transform_factory(ax.transData, ax.transAxes)
    below = rows["number"][rows["score"] < floor]
    ax.scatter(
        below, pd.Series(0.03, index=below.index), s=60, marker=ARROW, color=item.mark.color, transform=at_the_end
    )
    ax.scatter(
        rows["number"], pd.Series(0.03, index=rows.index) if failed else rows["score"],
        s=6 if dense and not failed else 30, color=item.mark.color, marker=item.mark.marker, label=item.label, zorder=3,
        transform=at_the_end if failed else ax.transData,
        linewidths=1.6 if failed else 0.0 if dense else 0.6, edgecolors=None if failed else "white", rasterized=dense,
    )  # fmt: skip


def _phases(table: pd.DataFrame) -> list[tuple[float, str]]:
    """First trial and name of each phase; a name that would run into the one before is left out."""
    starts = [(float(rows["number"].min()), str(phase)) for phase, rows in table.groupby("phase", sort=False)]
    room = 0.1 * float(table["number"].max() - table["number"].min())
    return [
        (start, phase if index == 0 or start - starts[index - 1][0] >= room else "")
        for index, (start, phase) in enumerate(starts)
    ]


def _panel(table: pd.DataFrame, legend: tuple[LegendItem, ...], y_label: str) -> go.Figure:
    figure = panel_figure("Trial number", y_label, height=380)
    best = table.dropna(subset=["best"])
    figure.add_trace(
        go.Scatter(x=best["number"].tolist(), y=best["best"].tolist(), mode="lines", hoverinfo="skip",
                   line={"shape": "hv", "color": INK, "width": 1.6})
    )  # fmt: skip
    shown = table[thinned((table["state"] == "fail").to_numpy(dtype=np.bool_))]
    axis, floor = _y_range(table), _floor(table)
    bottom = axis.low + 0.03 * (axis.high - axis.low)
    for item in legend:
        rows = shown[shown["state"] == item.series]
        below = rows["score"] < floor
        y = rows["score"].mask(below | (rows["state"] == "fail"), bottom)
        figure.add_trace(_trace(rows, y, below, item))
    figure.update_yaxes(range=[axis.low, axis.high])
    for start, phase in _phases(table):
        figure.add_annotation(
            x=start, y=1.0, yref="paper", text=phase, showarrow=False, xanchor="left", yanchor="bottom",
            font={"color": MUTED, "size": 12},
        )  # fmt: skip
    figure.update_layout(margin={"t": 24})
    return figure


def _trace(rows: pd.DataFrame, y: pd.Series[float], below: pd.Series[bool], item: LegendItem) -> go.Scatter:
    texts = [
        f"trial {number:g} ({phase}), {'repeated' if repeated else state}"
        + ("" if pd.isna(score) else f", score {score:.3f}")
        for number, phase, state, score, repeated in zip(
            *(rows[name] for name in ("number", "phase", "state", "score", "repeated")), strict=True
        )
    ]
    mark = item.mark
    symbols = ["arrow-down" if low else mark.symbol for low in below] if below.any() else mark.symbol
    line = {"color": mark.color, "width": 2 if mark.color == VERMILION else 0}
    return go.Scatter(
        x=rows["number"].tolist(), y=y.tolist(), mode="markers", legendgroup=item.series, text=texts,
        marker={"color": mark.color, "symbol": symbols, "size": 9, "line": line},
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
