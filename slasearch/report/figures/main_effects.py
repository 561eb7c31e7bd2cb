"""Main effects of a design as a forest: what each level of a field adds, with intervals."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from slasearch.analysis.main_effects import FieldEffect, LevelEffect, MainEffects
from slasearch.report.figures._base import AxisRange, Panel, ReportFigure, axis_range, note, panel_figure
from slasearch.report.figures._fields import SPOKEN, response_title
from slasearch.report.labels import level_label, short_factor
from slasearch.report.results import Results
from slasearch.report.style import ACCENT, INK, MUTED, finish, new_figure, style

__all__ = ["figures", "main_effects_table"]

_LONGEST = 40


def figures(results: Results) -> list[ReportFigure]:
    """One figure with a panel for each response; none without a space-filling design."""
    found = results.main_effects
    if not found:
        return []
    ranges = [_range(item) for item in found]
    text = note(
        "markers: what a level adds to its field's mean, others averaged out, in an additive model (least squares)",
        "bars: 95 % t-intervals",
        "filled: told from nothing after Holm's correction over the fields",
        "ranges: both ends of a line along the sampled axis",
        "; ".join(f"{response_title(item.response).lower()}: {item.n} points, {_left(item)}" for item in found),
        *dict.fromkeys(warning for item in found for warning in item.warnings),
        *dict.fromkeys(shown.note for shown in ranges),
        "design: " + results.counts_of("design").text(),
    )
    return [
        ReportFigure(
            name="main_effects",
            section="importance",
            title="What each level adds (main effects)",
            caption="Right of the line a level adds so much to its field's mean, whatever the other fields are.",
            note=text,
            alt="Main effects. " + " ".join(_spoken(item) for item in found),
            table=main_effects_table(found),
            draw=lambda: _draw(found, ranges, text),
            panels=lambda: tuple(
                Panel(response_title(item.response), _panel(item, shown))
                for item, shown in zip(found, ranges, strict=True)
            ),
        )
    ]


def main_effects_table(found: tuple[MainEffects, ...]) -> pd.DataFrame:
    """Tidy: one row for each response, field and level."""
    rows = [
        (item.response, field.name, level_label(level.level), level.estimate, level.low, level.high, level.n,
         field.p, field.p_holm, item.n, item.r2)
        for item in found
        for field in item.fields
        for level in field.levels
    ]  # fmt: skip
    columns = ["response", "field", "level", "effect", "low", "high", "n", "p", "p_holm", "points", "r2"]
    return pd.DataFrame(rows, columns=columns)


def _left(item: MainEffects) -> str:
    return f"{item.free} degrees of freedom left, R² {item.r2:.2f}, residuals ± {item.deviation:.3g}"


def _rows(item: MainEffects) -> list[tuple[str, FieldEffect, LevelEffect]]:
    return [
        (_shortened(f"{short_factor(field.name)}: {level_label(level.level)}"), field, level)
        for field in item.fields
        for level in field.levels
    ]


def _shortened(label: str) -> str:
    """Lists differ in how they end as often as in how they begin."""
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 15]}…{label[-14:]}"


def _range(item: MainEffects) -> AxisRange:
    levels = [level for _, _, level in _rows(item)]
    return axis_range(
        (0.0, *(level.estimate for level in levels)), [end for level in levels for end in (level.low, level.high)]
    )


def _spoken(item: MainEffects) -> str:
    fields = "; ".join(
        f"{short_factor(field.name)} (p {field.p_holm:.2g}): "
        + ", ".join(f"{level_label(level.level)} {level.estimate:+.3g}" for level in field.levels)
        for field in item.fields[:SPOKEN]
    )
    return f"{response_title(item.response)}: {fields}."


def _draw(found: tuple[MainEffects, ...], ranges: list[AxisRange], text: str) -> Figure:
    most = max(len(_rows(item)) for item in found)
    with style():
        figure, axes = new_figure(1.2 + len(found) * (0.5 + 0.19 * most), len(found), 1)
        for ax, item, shown in zip(axes, found, ranges, strict=True):
            rows = _rows(item)
            for row, (_, field, level) in enumerate(rows):
                ax.hlines(row, level.low, level.high, color=ACCENT if field.told else MUTED, linewidth=1.6)
                ax.plot(level.estimate, row, "o", markersize=5, color=ACCENT if field.told else INK,
                        markerfacecolor=ACCENT if field.told else "white")  # fmt: skip
                if row and rows[row - 1][1] is not field:
                    ax.axhline(row - 0.5, color=MUTED, linewidth=0.4, alpha=0.5)
            ax.axvline(0, color=INK, linewidth=1)
            ax.set_yticks(range(len(rows)), [label for label, _, _ in rows])
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.set_xlim(shown.low, shown.high)
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="y", length=0)
            ax.set_title(response_title(item.response))
        axes[-1].set_xlabel("What the level adds")
        finish(figure, text)
    return figure


def _panel(item: MainEffects, shown: AxisRange) -> go.Figure:
    rows = _rows(item)
    figure = panel_figure("What the level adds", "", height=110 + 22 * len(rows))
    colors = [ACCENT if field.told else MUTED for _, field, _ in rows]
    figure.add_trace(
        go.Scatter(
            x=[level.estimate for _, _, level in rows], y=list(range(len(rows))), mode="markers",
            text=[f"{short_factor(field.name)}: {level_label(level.level)}" for _, field, level in rows],
            marker={"color": colors, "size": 9},
            error_x={
                "type": "data", "symmetric": False, "color": MUTED, "thickness": 1.6, "width": 0,
                "array": [level.high - level.estimate for _, _, level in rows],
                "arrayminus": [level.estimate - level.low for _, _, level in rows],
            },
            customdata=[[level.low, level.high, level.n, field.p_holm] for _, field, level in rows],
            hovertemplate="%{text}: %{x:+.4g} (%{customdata[0]:+.4g} to %{customdata[1]:+.4g}), n = %{customdata[2]}, "
            "p = %{customdata[3]:.2g} (Holm)<extra></extra>",
        )
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    labels = [label for label, _, _ in rows]  # as ticks: two lists may be cut to the same words
    ticks = {"tickvals": list(range(len(rows))), "ticktext": labels, "range": [len(rows) - 0.5, -0.5]}
    figure.update_yaxes(showgrid=False, ticks="", **ticks)
    figure.update_xaxes(range=[shown.low, shown.high])
    return figure
