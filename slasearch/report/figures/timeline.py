"""Time line: when every attempt at a trial ran and on which worker; pauses of the study are cut out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from slasearch.analysis.ledger import PAUSE, Ledger
from slasearch.report.figures._base import LegendItem, Panel, ReportFigure, note, panel_figure, thinned
from slasearch.report.figures._timeline_rows import TimelineRows, timeline_rows
from slasearch.report.labels import percent
from slasearch.report.results import Results
from slasearch.report.style import INK, PAPER, finish, legend_above, new_figure, plain_ticks, series_marks, style
from slasearch.search.job import PHASES

__all__ = ["figures", "time_unit"]

MOST = 1_500
"""With more attempts than this, neighbours of one phase on a row are drawn as one bar."""

_PIXELS = 700
_MARKS = 300
_ENDS = {"pruned": ("v", "triangle-down"), "failed": ("X", "x"), "lost": ("X", "x")}


@dataclass(frozen=True)
class _Chart:
    """What both forms draw: bars and marks at the ends in the axis' unit, and the rows on which they lie."""

    rows: TimelineRows
    bars: pd.DataFrame
    ends: pd.DataFrame
    breaks: tuple[float, ...]
    legend: tuple[LegendItem, ...]
    x_label: str
    note: str


def figures(results: Results) -> list[ReportFigure]:
    """The time line; none where nothing has started."""
    ledger = results.ledger
    if ledger is None:
        return []
    seconds, unit = time_unit(ledger.wall_seconds)
    rows = timeline_rows(ledger)
    bars = _bars(ledger, rows, seconds)
    marks = series_marks(PHASES)
    legend = tuple(
        LegendItem(phase, phase, marks[phase], line=False) for phase in PHASES if (bars["phase"] == phase).any()
    )
    pauses = len(ledger.sessions) - 1
    text = note(
        _use(ledger, seconds, unit),
        rows.note,
        f"pauses of more than {PAUSE / 60:g} min are cut out (dashed): {pauses}" if pauses else "",
        f"neighbours of one phase are drawn as one bar; at most {_MARKS} failed trials are marked"
        if _dense(ledger)
        else "",
        *ledger.warnings,
        "all phases: " + results.counts.text(),
    )
    chart = _Chart(
        rows=rows,
        bars=bars,
        ends=_ends(ledger, rows, seconds),
        breaks=tuple(_breaks(ledger, seconds)),
        legend=legend,
        x_label=f"{'Running time, pauses cut out' if pauses else 'Time since the first start'} ({unit})",
        note=text,
    )
    return [
        ReportFigure(
            name="timeline",
            section="history",
            title="When trials ran",
            caption=f"Each bar is one attempt at a trial on its {rows.title.lower()}, from start to end.",
            note=text,
            alt=_spoken(ledger, seconds, unit),
            table=ledger.timeline,
            draw=lambda: _draw(chart),
            panels=lambda: (Panel("", _panel(chart), wide=True),),
            legend=legend,
        )
    ]


def time_unit(seconds: float) -> tuple[float, str]:
    """Seconds in the unit in which so long a time is drawn, and its name."""
    for limit, length, name in ((300.0, 1.0, "s"), (3 * 3600.0, 60.0, "min"), (72 * 3600.0, 3600.0, "h")):
        if seconds < limit:
            return length, name
    return 86400.0, "days"


def _use(ledger: Ledger, seconds: float, unit: str) -> str:
    """`worker use: 87 % of 4 slots over 2.3 h`; nothing where no time has passed."""
    if not ledger.wall_seconds:
        return ""
    slots = max(session.slots for session in ledger.sessions)
    most = "at most " if len({session.slots for session in ledger.sessions}) > 1 else ""
    return (
        f"worker use: {percent(ledger.use)} of {most}{slots} slot{'s' if slots > 1 else ''} over "
        f"{ledger.wall_seconds / seconds:.3g} {unit}"
    )


def _spoken(ledger: Ledger, seconds: float, unit: str) -> str:
    parts = [f"{phase} {count}" for phase, count in ledger.timeline["phase"].value_counts(sort=False).items()]
    return (
        f"Bars of {ledger.n} attempts at trials over {ledger.wall_seconds / seconds:.3g} {unit}: {', '.join(parts)}. "
        f"{_use(ledger, seconds, unit).capitalize()}."
    )


def _dense(ledger: Ledger) -> bool:
    return ledger.n > MOST


def _on_axis(ledger: Ledger, times: pd.Series[float], sessions: pd.Series[int], seconds: float) -> pd.Series[float]:
    """Times since the first start without the pauses, in the axis' unit."""
    first = ledger.sessions[0].start
    shifts, place = {}, 0.0
    for number, session in enumerate(ledger.sessions, start=1):
        shifts[number] = place - (session.start - first)
        place += session.span
    return (times + sessions.map(shifts)) / seconds


def _bars(ledger: Ledger, on: TimelineRows, seconds: float) -> pd.DataFrame:
    """What is drawn: `row, phase, left, right, text`, in the axis' unit."""
    rows = ledger.timeline.assign(row=on.row).sort_values(["session", "row", "start"], kind="stable")
    rows = rows.assign(
        left=_on_axis(ledger, rows["start"], rows["session"], seconds),
        right=_on_axis(ledger, rows["end"], rows["session"], seconds),
    )
    alike = (rows[["session", "row", "phase"]] == rows[["session", "row", "phase"]].shift()).all(axis=1)
    near = rows["left"] - rows["right"].shift() <= ledger.wall_seconds / seconds / _PIXELS
    first = ~(alike & near) if _dense(ledger) else pd.Series(True, index=rows.index)
    groups = rows.groupby(first.cumsum().to_numpy(), sort=False)
    bars = groups.agg(
        row=("row", "first"), phase=("phase", "first"), left=("left", "min"), right=("right", "max"),
        attempts=("trial_id", "size"), number=("number", "first"), outcome=("outcome", "first"),
    )  # fmt: skip
    columns = (bars[name].tolist() for name in ("attempts", "number", "phase", "outcome"))
    texts = [
        f"{attempts} trials ({phase})" if attempts > 1 else f"trial {number:g} ({phase}), {outcome}"
        for attempts, number, phase, outcome in zip(*columns, strict=True)
    ]
    places = [f", worker {on.names[row - 1]}" if on.is_worker(row) else "" for row in bars["row"]]
    return bars.assign(text=[f"{text}{place}" for text, place in zip(texts, places, strict=True)])


def _ends(ledger: Ledger, on: TimelineRows, seconds: float) -> pd.DataFrame:
    """Where attempts ended without a complete trial: `row, place, outcome, text`."""
    rows = ledger.timeline.assign(row=on.row)
    rows = rows[rows["outcome"].isin(list(_ENDS))]
    if _dense(ledger):
        rows = rows[rows["outcome"] != "pruned"]
        rows = rows[thinned(np.zeros(len(rows), dtype=np.bool_), _MARKS)]
    texts = [
        f"trial {number:g} ({phase}), {outcome}"
        for number, phase, outcome in zip(rows["number"], rows["phase"], rows["outcome"], strict=True)
    ]
    return rows[["row", "outcome"]].assign(place=_on_axis(ledger, rows["end"], rows["session"], seconds), text=texts)


def _breaks(ledger: Ledger, seconds: float) -> list[float]:
    """Places on the axis where a pause is cut out."""
    return [float(end) / seconds for end in np.cumsum([session.span for session in ledger.sessions])[:-1]]


def _draw(chart: _Chart) -> Figure:
    count, (ticks, names) = len(chart.rows.names), chart.rows.ticks
    with style():
        figure, (ax,) = new_figure(1.6 + min(4.5, 0.34 * count + 0.3))
        for item in chart.legend:
            _draw_phase(ax, chart.bars[chart.bars["phase"] == item.series], item, edge=_edge(chart))
        for outcome, (marker, _) in _ENDS.items():
            ends = chart.ends[chart.ends["outcome"] == outcome]
            ax.scatter(ends["place"], ends["row"], s=34, marker=marker, color=INK, edgecolors=PAPER, linewidths=0.8,
                       zorder=4)  # fmt: skip
        for place in chart.breaks:
            ax.axvline(place, color=INK, linewidth=1, linestyle=(0, (3, 3)), zorder=3.5)
        ax.set_ylim(count + 0.6, 0.4)
        ax.set_xlim(left=0)
        ax.set_xlabel(chart.x_label)
        ax.set_ylabel(chart.rows.title)
        ax.set_yticks(ticks, names)
        ax.grid(visible=False, axis="y")
        plain_ticks(ax, "x", 8)
        _draw_legend(figure, chart)
        finish(figure, chart.note)
    return figure


def _edge(chart: _Chart) -> float:
    """Width of the line around each bar: of many none, or they would be nothing but lines."""
    return 0.8 if len(chart.bars) < 200 else 0.0


def _draw_phase(ax: Axes, bars: pd.DataFrame, item: LegendItem, *, edge: float) -> None:
    for row in sorted(set(bars["row"].tolist())):
        mine = bars[bars["row"] == row]
        spans = list(zip(mine["left"].tolist(), (mine["right"] - mine["left"]).tolist(), strict=True))
        ax.broken_barh(spans, (row - 0.38, 0.76), facecolors=item.mark.color, zorder=3,
                       edgecolors=PAPER if edge else "none", linewidth=edge)  # fmt: skip


def _draw_legend(figure: Figure, chart: _Chart) -> None:
    handles: list[Patch | Line2D] = [Patch(color=item.mark.color) for item in chart.legend]
    labels = [item.label for item in chart.legend]
    for outcomes, label in ((("pruned",), "pruned"), (("failed", "lost"), "failed or lost")):
        if chart.ends["outcome"].isin(outcomes).any():
            marker, _ = _ENDS[outcomes[0]]
            handles.append(Line2D([], [], color=INK, marker=marker, linestyle="", markersize=6, markeredgecolor=PAPER))
            labels.append(label)
    legend_above(figure, handles, labels, most=6, columnspacing=1.2)


def _panel(chart: _Chart) -> go.Figure:
    count, (ticks, names) = len(chart.rows.names), chart.rows.ticks
    figure = panel_figure(chart.x_label, chart.rows.title, height=130 + min(520, 34 * count))
    for item in chart.legend:
        bars = chart.bars[chart.bars["phase"] == item.series]
        figure.add_trace(
            go.Bar(
                orientation="h", base=bars["left"].tolist(), x=(bars["right"] - bars["left"]).tolist(),
                y=bars["row"].tolist(), width=0.76, legendgroup=item.series, text=bars["text"].tolist(),
                textposition="none", hovertemplate="%{text}<extra></extra>",
                marker={"color": item.mark.color, "line": {"color": PAPER, "width": _edge(chart)}},
            )
        )  # fmt: skip
    for outcome, (_, symbol) in _ENDS.items():
        ends = chart.ends[chart.ends["outcome"] == outcome]
        figure.add_trace(
            go.Scatter(
                x=ends["place"].tolist(), y=ends["row"].tolist(), mode="markers", text=ends["text"].tolist(),
                marker={"color": INK, "symbol": symbol, "size": 9, "line": {"color": PAPER, "width": 1}},
                hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    for place in chart.breaks:
        figure.add_vline(x=place, line={"color": INK, "width": 1, "dash": "dash"})
    figure.update_yaxes(tickvals=ticks, ticktext=names, range=[count + 0.6, 0.4], showgrid=False, ticks="")
    figure.update_layout(barmode="overlay")
    return figure
