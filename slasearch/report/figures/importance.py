"""Importance bars: which searched fields lead to the best trials, beside what chance alone would give."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from slasearch.analysis.importance import Importance
from slasearch.report.figures._base import Panel, ReportFigure, note, panel_figure
from slasearch.report.labels import short_factor
from slasearch.report.results import Results
from slasearch.report.style import ACCENT, INK, MUTED, finish, legend_above, new_figure, style

__all__ = ["figures", "importance_table"]

_OBJECTIVES = {"score": "score", "exported_parameters": "few parameters", "robustness": "robustness"}


def figures(results: Results) -> list[ReportFigure]:
    """One figure with a panel for each objective; none with too few trials."""
    found = results.importances
    if not found:
        return []
    text = note(
        found[0].method,
        "black line: what chance gives: in 95 of 100 shuffles of the scores every field stays below its line",
        *dict.fromkeys(warning for item in found for warning in item.warnings),
        "search: " + results.counts_of("design", "optimise").text(),
    )
    return [
        ReportFigure(
            name="importance",
            section="importance",
            title="What leads to the best trials (PED-ANOVA)",
            caption="Importance of each searched field for reaching the top quantile, as a share of the importance of "
            "all fields, not of variance.",
            note=text,
            alt=" ".join(_spoken(item) for item in found),
            table=importance_table(found),
            draw=lambda: _draw(found, text),
            panels=lambda: tuple(Panel(_title(item), _panel(item)) for item in found),
        )
    ]


def importance_table(found: tuple[Importance, ...]) -> pd.DataFrame:
    """Tidy: one row for each objective and field."""
    rows = [
        (item.objective, field.name, field.share, field.chance, field.above_chance, item.quantile, field.n)
        for item in found
        for field in item.fields
    ]
    columns = ["objective", "field", "share", "chance_95", "above_chance", "quantile", "n"]
    return pd.DataFrame(rows, columns=columns)


def _title(item: Importance) -> str:
    return f"Best {item.quantile * 100:.0f} % by {_OBJECTIVES[item.objective]}"


def _spoken(item: Importance) -> str:
    fields = ", ".join(
        f"{short_factor(field.name)} {field.share:.0%} ({'above' if field.above_chance else 'within'} chance)"
        for field in item.fields
    )
    return f"{_title(item)}: {fields}."


def _shown_chance(chance: float) -> float:
    """Chance may exceed every share; the axis ends at 1."""
    return min(chance, 1.0)


def _draw(found: tuple[Importance, ...], text: str) -> Figure:
    most = max(len(item.fields) for item in found)
    with style():
        figure, axes = new_figure(1.3 + len(found) * (0.45 + 0.28 * most), len(found), 1, sharex=True)
        for ax, item in zip(axes, found, strict=True):
            for row, field in enumerate(item.fields):
                ax.barh(row, field.share, height=0.62, color=ACCENT if field.above_chance else MUTED,
                        alpha=1.0 if field.above_chance else 0.45)  # fmt: skip
                ax.vlines(_shown_chance(field.chance), row - 0.4, row + 0.4, color=INK, linewidth=2)
            ax.set_yticks(range(len(item.fields)), [short_factor(field.name) for field in item.fields])
            ax.set_ylim(len(item.fields) - 0.5, -0.5)
            ax.set_xlim(0, 1.02)
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="y", length=0)
            ax.set_title(_title(item))
        axes[-1].set_xlabel("Importance for reaching the top (share)")
        handles = [Patch(color=ACCENT), Patch(color=MUTED, alpha=0.45), Line2D([], [], color=INK, linewidth=2)]
        legend_above(figure, handles, ["above chance", "within chance", "chance (95 %)"])
        finish(figure, text)
    return figure


def _panel(item: Importance) -> go.Figure:
    figure = panel_figure("Importance for reaching the top (share)", "", height=110 + 34 * len(item.fields))
    names = [short_factor(field.name) for field in item.fields]
    figure.add_trace(
        go.Bar(
            x=[field.share for field in item.fields], y=names, orientation="h",
            marker={"color": [ACCENT if field.above_chance else "#b4bac1" for field in item.fields]},
            customdata=[[field.chance, field.n] for field in item.fields],
            hovertemplate="%{y}: %{x:.0%}, chance up to %{customdata[0]:.0%} (n = %{customdata[1]})<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=[_shown_chance(field.chance) for field in item.fields], y=names, mode="markers", hoverinfo="skip",
            marker={"symbol": "line-ns", "size": 18, "line": {"color": INK, "width": 2.5}},
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_xaxes(range=[0, 1.03])
    return figure
