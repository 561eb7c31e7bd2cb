"""Time line: when every attempt at a trial ran and on which slot; pauses of the study are cut out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from slasearch.analysis.ledger import PAUSE, Ledger
from slasearch.report.figures._base import LegendItem, Panel, ReportFigure, note, panel_figure, thinned
from slasearch.report.labels import percent
from slasearch.report.results import Results
from slasearch.report.style import INK, MUTED, PAPER, finish, new_figure, plain_ticks, series_marks, style
from slasearch.search.job import PHASES

__all__ = ["figures", "time_unit"]

MOST = 1_500
"""With more attempts than this, neighbours of one phase on a slot are drawn as one bar."""

_PIXELS = 700
_MARKS = 300
_ENDS = {"pruned": ("v", "triangle-down"), "failed": ("X", "x"), "lost": ("X", "x")}


def figures(results: Results) -> list[ReportFigure]:
    """The time line; none where nothing has started."""
    ledger = results.ledger
    if ledger is None:
        return []
    seconds, unit = time_unit(ledger.wall_seconds)
    bars, ends = _bars(ledger, seconds), _ends(ledger, seconds)
    marks = series_marks(PHASES)
    legend = tuple(
        LegendItem(phase, phase, marks[phase], line=False) for phase in PHASES if (bars["phase"] == phase).any()
    )
    pauses = len(ledger.sessions) - 1
    text = note(
        _use(ledger, seconds, unit),
        "a slot is a place where one trial at a time ran, packed from start and end times",
        f"pauses of more than {PAUSE / 60:g} min are cut out (dashed): {pauses}" if pauses else "",
        f"neighbours of one phase are drawn as one bar; at most {_MARKS} failed trials are marked"
        if _dense(ledger)
        else "",
        *ledger.warnings,
        "all phases: " + results.counts.text(),
    )
    return [
        ReportFigure(
            name="timeline",
            section="history",
            title="When trials ran",
            caption="Each bar is one attempt at a trial on its slot, from start to end.",
            note=text,
            alt=_spoken(ledger, seconds, unit),
            table=ledger.timeline,
            draw=lambda: _draw(ledger, bars, ends, legend, f"Time since the first start ({unit})", text),
            panels=lambda: (
                Panel("", _panel(ledger, bars, ends, legend, f"Time since the first start ({unit})"), wide=True),
            ),
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
    """Times since the first start without the pauses, in the axis' unit; a pause leaves a gap of 2 % of the axis."""
    gap, first = 0.02 * ledger.wall_seconds, ledger.sessions[0].start
    shifts, place = {}, 0.0
    for number, session in enumerate(ledger.sessions, start=1):
        shifts[number] = place - (session.start - first)
        place += session.span + gap
    return (times + sessions.map(shifts)) / seconds


def _bars(ledger: Ledger, seconds: float) -> pd.DataFrame:
    """What is drawn: `slot, phase, left, right, text`, in the axis' unit."""
    rows = ledger.timeline.sort_values(["session", "slot", "start"], kind="stable")
    rows = rows.assign(
        left=_on_axis(ledger, rows["start"], rows["session"], seconds),
        right=_on_axis(ledger, rows["end"], rows["session"], seconds),
    )
    alike = (rows[["session", "slot", "phase"]] == rows[["session", "slot", "phase"]].shift()).all(axis=1)
    near = rows["left"] - rows["right"].shift() <= ledger.wall_seconds / seconds / _PIXELS
    first = ~(alike & near) if _dense(ledger) else pd.Series(True, index=rows.index)
    groups = rows.groupby(first.cumsum().to_numpy(), sort=False)
    bars = groups.agg(
        slot=("slot", "first"), phase=("phase", "first"), left=("left", "min"), right=("right", "max"),
        attempts=("trial_id", "size"), number=("number", "first"), outcome=("outcome", "first"),
    )  # fmt: skip
    columns = (bars[name].tolist() for name in ("attempts", "number", "phase", "outcome"))
    texts = [
        f"{attempts} trials ({phase})" if attempts > 1 else f"trial {number:g} ({phase}), {outcome}"
        for attempts, number, phase, outcome in zip(*columns, strict=True)
    ]
    return bars.assign(text=texts)


def _ends(ledger: Ledger, seconds: float) -> pd.DataFrame:
    """Where attempts ended without a complete trial: `slot, place, outcome, text`."""
    rows = ledger.timeline[ledger.timeline["outcome"].isin(list(_ENDS))]
    if _dense(ledger):
        rows = rows[rows["outcome"] != "pruned"]
        rows = rows[thinned(np.zeros(len(rows), dtype=np.bool_), _MARKS)]
    texts = [
        f"trial {number:g} ({phase}), {outcome}"
        for number, phase, outcome in zip(rows["number"], rows["phase"], rows["outcome"], strict=True)
    ]
    return rows[["slot", "outcome"]].assign(place=_on_axis(ledger, rows["end"], rows["session"], seconds), text=texts)


def _breaks(ledger: Ledger, seconds: float) -> list[float]:
    """Places on the axis where a pause is cut out."""
    gap = 0.02 * ledger.wall_seconds
    ends = np.cumsum([session.span + gap for session in ledger.sessions])[:-1]
    return [(float(end) - gap / 2) / seconds for end in ends]


def _draw(
    ledger: Ledger, bars: pd.DataFrame, ends: pd.DataFrame, legend: tuple[LegendItem, ...], x_label: str, text: str
) -> Figure:
    slots = int(bars["slot"].max())
    with style():
        figure, (ax,) = new_figure(1.6 + min(4.5, 0.34 * slots + 0.3))
        for item in legend:
            _draw_phase(ax, bars[bars["phase"] == item.series], item, edge=_edge(bars))
        for outcome, (marker, _) in _ENDS.items():
            rows = ends[ends["outcome"] == outcome]
            ax.scatter(rows["place"], rows["slot"], s=34, marker=marker, color=INK, edgecolors=PAPER, linewidths=0.8,
                       zorder=4)  # fmt: skip
        seconds, _ = time_unit(ledger.wall_seconds)
        for place in _breaks(ledger, seconds):
            ax.axvline(place, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        ax.set_ylim(slots + 0.6, 0.4)
        ax.set_xlim(left=0)
        ax.set_xlabel(x_label)
        ax.set_ylabel("Slot")
        ax.set_yticks(_slot_ticks(slots))
        ax.grid(visible=False, axis="y")
        plain_ticks(ax, "x", 8)
        _draw_legend(figure, legend, ends)
        finish(figure, text)
    return figure


def _edge(bars: pd.DataFrame) -> float:
    """Width of the line around each bar: of many none, or they would be nothing but lines."""
    return 0.8 if len(bars) < 200 else 0.0


def _slot_ticks(slots: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000) if slots <= 12 * step)
    return [slot for slot in range(1, slots + 1) if slot == 1 or slot % step == 0]


def _draw_phase(ax: Axes, bars: pd.DataFrame, item: LegendItem, *, edge: float) -> None:
    for slot in range(1, int(bars["slot"].max()) + 1):
        rows = bars[bars["slot"] == slot]
        spans = list(zip(rows["left"].tolist(), (rows["right"] - rows["left"]).tolist(), strict=True))
        ax.broken_barh(spans, (slot - 0.38, 0.76), facecolors=item.mark.color, zorder=3,
                       edgecolors=PAPER if edge else "none", linewidth=edge)  # fmt: skip


def _draw_legend(figure: Figure, legend: tuple[LegendItem, ...], ends: pd.DataFrame) -> None:
    handles: list[Patch | Line2D] = [Patch(color=item.mark.color) for item in legend]
    labels = [item.label for item in legend]
    for outcomes, label in ((("pruned",), "pruned"), (("failed", "lost"), "failed or lost")):
        if ends["outcome"].isin(outcomes).any():
            marker, _ = _ENDS[outcomes[0]]
            handles.append(Line2D([], [], color=INK, marker=marker, linestyle="", markersize=6, markeredgecolor=PAPER))
            labels.append(label)
    figure.legend(handles, labels, loc="outside upper left", ncols=min(6, len(handles)), columnspacing=1.2)


def _panel(
    ledger: Ledger, bars: pd.DataFrame, ends: pd.DataFrame, legend: tuple[LegendItem, ...], x_label: str
) -> go.Figure:
    slots = int(bars["slot"].max())
    figure = panel_figure(x_label, "Slot", height=130 + min(520, 34 * slots))
    for item in legend:
        rows = bars[bars["phase"] == item.series]
        figure.add_trace(
            go.Bar(
                orientation="h", base=rows["left"].tolist(), x=(rows["right"] - rows["left"]).tolist(),
                y=rows["slot"].tolist(), width=0.76, legendgroup=item.series, text=rows["text"].tolist(),
                textposition="none", hovertemplate="%{text}<extra></extra>",
                marker={"color": item.mark.color, "line": {"color": PAPER, "width": _edge(bars)}},
            )
        )  # fmt: skip
    for outcome, (_, symbol) in _ENDS.items():
        rows = ends[ends["outcome"] == outcome]
        figure.add_trace(
            go.Scatter(
                x=rows["place"].tolist(), y=rows["slot"].tolist(), mode="markers", text=rows["text"].tolist(),
                marker={"color": INK, "symbol": symbol, "size": 9, "line": {"color": PAPER, "width": 1}},
                hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    seconds, _ = time_unit(ledger.wall_seconds)
    for place in _breaks(ledger, seconds):
        figure.add_vline(x=place, line={"color": MUTED, "width": 1, "dash": "dash"})
    figure.update_yaxes(tickvals=_slot_ticks(slots), range=[slots + 0.6, 0.4], showgrid=False, ticks="")
    figure.update_layout(barmode="overlay")
    return figure
