"""Cost ledger: what each phase cost in time on workers, what of it was lost, and how many LoRA runs that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from slasearch.analysis.ledger import CostEntry, Ledger
from slasearch.report.figures._base import LegendItem, Panel, ReportFigure, note, panel_figure
from slasearch.report.figures.timeline import time_unit
from slasearch.report.labels import percent, runs_label
from slasearch.report.results import Results
from slasearch.report.style import PAPER, finish, legend_above, new_figure, plain_ticks, series_marks, style

__all__ = ["figures", "ledger_table"]

_PARTS = {
    "train": "training",
    "failed": "failed",
    "evaluate": "evaluation",
    "lost": "lost and repeated",
    "pruned": "pruned",
    "other": "other work",
}
"""What time went to, in the order that gives pruned and failed trials the colours they have elsewhere."""

_STACKED = ("train", "evaluate", "other", "pruned", "failed", "lost")
_HATCHES = {"pruned": "////", "failed": "xxxx", "lost": "...."}
_PATTERNS = {"pruned": "/", "failed": "x", "lost": "."}


@dataclass(frozen=True)
class _Row:
    """One bar: its label, seconds by part, and how many LoRA runs they are."""

    label: str
    seconds: dict[str, float]
    runs: float | None

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def figures(results: Results) -> list[ReportFigure]:
    """The ledger; none where nothing has started."""
    ledger = results.ledger
    if ledger is None:
        return []
    rows = _rows(ledger)
    seconds, unit = time_unit(max(row.total for row in rows))
    legend = _legend(rows)
    text = note(
        ledger.method,
        f"in all {_amount(ledger.device_seconds, ledger)}",
        f"of which pruned, failed and lost {_amount(ledger.lost_seconds, ledger)}",
        _unit_note(ledger),
        *ledger.warnings,
        "all phases: " + results.counts.text(),
    )
    return [
        ReportFigure(
            name="ledger",
            section="history",
            title="What it cost",
            caption="Time on workers by phase, and what it went to.",
            note=text,
            alt="Bars of time on workers. " + " ".join(f"{row.label}: {_amount(row.total, ledger)}." for row in rows),
            table=ledger_table(ledger),
            draw=lambda: _draw(rows, legend, seconds, unit, text),
            panels=lambda: (Panel("", _panel(rows, legend, seconds, unit), wide=True),),
            legend=legend,
        )
    ]


def ledger_table(ledger: Ledger) -> pd.DataFrame:
    """One row for each phase, part and outcome, and last their sum; times in s."""
    rows = [
        (
            entry.phase, entry.part, entry.outcome, entry.attempts, entry.device_seconds, entry.train_seconds,
            entry.evaluate_seconds, entry.other_seconds, entry.tokens,
        )
        for entry in ledger.entries
    ]  # fmt: skip
    columns = [
        "phase", "part", "outcome", "attempts", "device_seconds", "train_seconds", "evaluate_seconds", "other_seconds",
        "train_tokens",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    table.loc[len(table)] = ["all", "all", "all", *table[columns[3:]].sum()]
    table = table.astype({"attempts": "int64"})
    return table.assign(lora_runs=table["device_seconds"] / (ledger.lora_seconds or math.nan))


def _rows(ledger: Ledger) -> list[_Row]:
    """A bar for each phase, of `confirm` one for winners and one for controls; with several one for all, too."""
    found: dict[str, dict[str, float]] = {}
    for entry in ledger.entries:
        label = f"confirm: {entry.part}" if entry.phase == "confirm" else entry.phase
        seconds = found.setdefault(label, dict.fromkeys(_PARTS, 0.0))
        for part, value in _parts(entry).items():
            seconds[part] += value
    if len(found) > 1:
        found["all"] = {part: sum(seconds[part] for seconds in found.values()) for part in _PARTS}
    return [_Row(label, seconds, ledger.in_lora_runs(sum(seconds.values()))) for label, seconds in found.items()]


def _parts(entry: CostEntry) -> dict[str, float]:
    """What the entry's time went to; that of attempts that still run is other work.

    A trial's own clock may tell a little more than passed between its start and its end: bars add up to the latter.
    """
    if entry.outcome != "complete":
        return {entry.outcome if entry.outcome != "running" else "other": entry.device_seconds}
    told = entry.train_seconds + entry.evaluate_seconds
    share = min(1.0, entry.device_seconds / told) if told else 1.0
    return {
        "train": share * entry.train_seconds,
        "evaluate": share * entry.evaluate_seconds,
        "other": entry.other_seconds,
    }


def _amount(seconds: float, ledger: Ledger) -> str:
    """`3.2 h (41 LoRA runs)`."""
    length, unit = time_unit(seconds)
    runs = ledger.in_lora_runs(seconds)
    return f"{seconds / length:.3g} {unit}" + ("" if runs is None else f" ({runs_label(runs)} LoRA runs)")


def _unit_note(ledger: Ledger) -> str:
    """What a LoRA run is, as a unit."""
    if ledger.lora_seconds is None or ledger.lora_range is None:
        return ""
    shortest, longest = ledger.lora_range
    return (
        f"a LoRA run: {ledger.lora_seconds:.3g} s, the median of {ledger.lora_runs} confirmed ones "
        f"({shortest:.3g} to {longest:.3g} s)"
    )


def _legend(rows: list[_Row]) -> tuple[LegendItem, ...]:
    marks = series_marks(tuple(_PARTS))
    return tuple(
        LegendItem(part, _PARTS[part], marks[part], line=False)
        for part in _STACKED
        if any(row.seconds[part] for row in rows)
    )


def _of_row(row: _Row, part: str) -> str:
    """`63 % of optimise`."""
    return f"{percent(row.seconds[part] / (row.total or 1.0))} of {row.label}"


def _said(row: _Row, seconds: float, unit: str) -> str:
    """What stands at the end of a bar."""
    runs = "" if row.runs is None else f" = {runs_label(row.runs)} LoRA run{'' if runs_label(row.runs) == '1' else 's'}"
    return f"{row.total / seconds:.3g} {unit}{runs}"


def _draw(rows: list[_Row], legend: tuple[LegendItem, ...], seconds: float, unit: str, text: str) -> Figure:
    with style():
        figure, (ax,) = new_figure(1.7 + 0.36 * len(rows))
        for place, row in enumerate(rows):
            left = 0.0
            for item in legend:
                width = row.seconds[item.series] / seconds
                ax.barh(place, width, left=left, height=0.66, color=item.mark.color, edgecolor=PAPER, linewidth=0.8,
                        hatch=_HATCHES.get(item.series), zorder=3)  # fmt: skip
                left += width
            ax.annotate(_said(row, seconds, unit), (left, place), (5, 0), textcoords="offset points", va="center",
                        fontsize=9)  # fmt: skip
        ax.set_yticks(range(len(rows)), [row.label for row in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        # Room for what stands at the end of the longest bar.
        ax.set_xlim(0, 1.42 * (max(row.total for row in rows) or 1.0) / seconds)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(f"Time on workers ({unit})")
        plain_ticks(ax, "x", 8)
        handles = [
            Patch(facecolor=item.mark.color, edgecolor=PAPER, hatch=_HATCHES.get(item.series), linewidth=0)
            for item in legend
        ]
        legend_above(figure, handles, [item.label for item in legend], most=3)
        finish(figure, text)
    return figure


def _panel(rows: list[_Row], legend: tuple[LegendItem, ...], seconds: float, unit: str) -> go.Figure:
    figure = panel_figure(f"Time on workers ({unit})", "", height=110 + 46 * len(rows))
    # On a phone there is no room at the end of the longest bar: totals stand below the names.
    labels = [f"{row.label}<br>{_said(row, seconds, unit)}" for row in rows]
    for item in legend:
        figure.add_trace(
            go.Bar(
                orientation="h", x=[row.seconds[item.series] / seconds for row in rows], y=labels, width=0.66,
                legendgroup=item.series, customdata=[_of_row(row, item.series) for row in rows],
                marker={
                    "color": item.mark.color, "line": {"color": PAPER, "width": 0.8},
                    "pattern": {
                        "shape": _PATTERNS.get(item.series, ""), "fgcolor": PAPER, "size": 6, "fillmode": "overlay",
                    },
                },
                hovertemplate=f"{item.label}: %{{x:.3g}} {unit}, %{{customdata}}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_xaxes(rangemode="tozero")
    figure.update_layout(barmode="stack")
    return figure
