"""The searched structure against its controls: paired differences on the test split, with intervals."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from slasearch.analysis.compare import Comparison, Comparisons
from slasearch.analysis.frames import MEAN
from slasearch.analysis.roles import role_label
from slasearch.report.figures._base import (
    MANY,
    AxisRange,
    LegendItem,
    Panel,
    ReportFigure,
    axis_range,
    note,
    panel_figure,
)
from slasearch.report.labels import arm_label, margin_rule, p_label, series_label, thousands
from slasearch.report.results import Results
from slasearch.report.style import (
    INK,
    MUTED,
    PAPER,
    Mark,
    finish,
    legend_above,
    new_figure,
    plain_ticks,
    series_marks,
    style,
)

__all__ = ["comparison_table", "figures"]


def figures(results: Results) -> list[ReportFigure]:
    """One figure with a panel for each winner, or with many controls one for each winner; none without controls."""
    found = tuple(item for item in results.comparisons if item.differences)
    if not found:
        return []
    if max(len(item.controls) for item in found) <= MANY:
        return [_figure(results, found, "comparison")]
    names = ["comparison", *(f"comparison_{item.number}" for item in found[1:])]
    return [_figure(results, (item,), name) for item, name in zip(found, names, strict=True)]


def _figure(results: Results, comparisons: tuple[Comparisons, ...], name: str) -> ReportFigure:
    tasks = results.frames.tasks
    marks = series_marks(tasks)
    # Of one task the mean is the task itself, and only it carries the adjusted p.
    names = {name: name for name in (MEAN, *tasks)} if len(tasks) > 1 else {MEAN: tasks[0]}
    legend = tuple(LegendItem(series, series_label(series, tasks), marks[series]) for series in names)
    shown = _x_range(comparisons)
    text = note(
        "markers: mean differences",
        "bars: 95 % t-intervals over pairs",
        "small points: pairs",
        "paired by seed, test split",
        "; ".join(dict.fromkeys(clause for item in comparisons for clause in item.terms)),
        *margin_rule(comparisons),
        *dict.fromkeys(warning for item in comparisons for warning in item.warnings),
        shown.note,
        "confirm: " + results.counts_of("confirm").text(),
        "tune: " + results.counts_of("tune").text() if results.counts_of("tune").total else "",
    )
    return ReportFigure(
        name=name,
        section="comparison",
        title="Searched structures minus control",
        caption="Right of the line the searched structures score higher, left of it the control does.",
        note=text,
        alt=f"Differences of test scores, {legend[0].label}. " + " ".join(_spoken(item) for item in comparisons),
        table=comparison_table(comparisons, names),
        draw=lambda: _draw(comparisons, legend, text, shown),
        panels=lambda: tuple(Panel(_title(item), _panel(item, legend, shown)) for item in comparisons),
        legend=legend,
    )


def comparison_table(comparisons: tuple[Comparisons, ...], names: Mapping[str, str]) -> pd.DataFrame:
    """Tidy: one row for each difference (`what` is `mean`) and for each pair (`pair`) of the series in `names`."""
    rows: list[tuple[object, ...]] = []
    for item in comparisons:
        for one in (one for one in item.differences if one.series in names):
            key = (item.number, item.label, one.control, names[one.series])
            ends = (one.difference.mean, one.difference.low, one.difference.high, one.difference.n)
            rows.append((*key, "mean", *ends, one.p, one.p_holm, one.evidence.standing))
            rows.extend((*key, "pair", pair, None, None, 1, None, None, "") for pair in one.pairs)
    columns = [
        "winner", "label", "control", "series", "what", "value", "low", "high", "n", "p", "p_holm", "verdict",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(["value", "low", "high", "p", "p_holm"], "float64"))


def _title(item: Comparisons) -> str:
    return f"Trial {item.number} ({item.label}), {thousands(item.winner.parameters.mean)} parameters"


def _spoken(item: Comparisons) -> str:
    parts = [
        f"{role_label(one.control)} {one.difference.text(signed=True)}, {one.evidence.standing}"
        for one in item.differences
        if one.series == MEAN
    ]
    return f"Trial {item.number} against " + "; ".join(parts) + "."


def _row_label(item: Comparisons, control: str) -> str:
    arm = next(arm for arm in item.controls if arm.role == control)
    return f"{arm_label(arm)}\n{thousands(arm.parameters.mean)} parameters"


def _row_height(item: Comparisons, legend: tuple[LegendItem, ...]) -> float:
    """Height of a control's row in inches: three lines of text, or two where there are many."""
    return 0.82 if len(item.controls) <= MANY else max(0.47, 0.11 * len(legend))


def _draw(comparisons: tuple[Comparisons, ...], legend: tuple[LegendItem, ...], text: str, shown: AxisRange) -> Figure:
    heights = [len(item.controls) * _row_height(item, legend) for item in comparisons]
    with style():
        figure, axes = new_figure(
            1.3 + sum(heights) + 0.45 * len(heights), len(heights), 1, sharex=True, height_ratios=heights
        )
        for ax, item in zip(axes, comparisons, strict=True):
            _draw_winner(ax, item, legend)
        axes[-1].set_xlim(shown.low, shown.high)
        axes[-1].set_xlabel("Difference of test scores (searched structures − control)")
        handles = [
            Line2D([], [], color=mark.mark.color, marker=mark.mark.marker, markersize=6, linewidth=mark.mark.width)
            for mark in legend
        ]
        legend_above(figure, handles, [item.label for item in legend])
        finish(figure, text)
    return figure


def _said(mean: Comparison, joint: str) -> str:
    """The difference, its p and what may be said of it, on three lines or two."""
    return f"{joint.join(filter(None, [mean.difference.text(signed=True), p_label(mean)]))}\n{mean.evidence.standing}"


def _draw_winner(ax: Axes, item: Comparisons, legend: tuple[LegendItem, ...]) -> None:
    ax.axvline(0, color=INK, linewidth=1.1, zorder=1)
    controls = [arm.role for arm in item.controls]
    beside = blended_transform_factory(ax.transAxes, ax.transData)
    for row, control in enumerate(controls):
        if row % 2:
            ax.axhspan(row - 0.5, row + 0.5, color=MUTED, alpha=0.06, linewidth=0)
        for index, entry in enumerate(legend):
            one = item.difference(control, entry.series)
            _draw_difference(ax, one, row + (index - (len(legend) - 1) / 2) * 0.72 / len(legend), entry.mark)
        mean = item.difference(control)
        said = _said(mean, "  " if len(controls) > MANY else "\n")
        ax.text(1.01, row, said, transform=beside, va="center", fontsize=9, linespacing=1.25)
    ax.set_yticks(range(len(controls)), [_row_label(item, control) for control in controls])
    ax.set_ylim(len(controls) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    plain_ticks(ax, "x", 7)
    ax.set_title(_title(item))


def _draw_difference(ax: Axes, one: Comparison, y: float, mark: Mark) -> None:
    if not one.difference.n:
        return
    if one.difference.low is not None and one.difference.high is not None:
        ax.hlines(y, one.difference.low, one.difference.high, color=mark.color, linewidth=mark.width, zorder=3)
    ax.scatter(one.pairs, [y] * len(one.pairs), s=9, color="white", edgecolors=mark.color, linewidths=0.7, zorder=3.5)
    ax.scatter(
        [one.difference.mean], [y], s=38, color=mark.color, marker=mark.marker, edgecolors="white", linewidths=0.8,
        zorder=4,
    )  # fmt: skip


def _x_range(comparisons: tuple[Comparisons, ...]) -> AxisRange:
    """The x axis that all panels share; it holds 0."""
    found = [one for item in comparisons for one in item.differences if one.difference.n]
    ends = [end for one in found for end in (one.difference.low, one.difference.high)]
    return axis_range([0.0, *(pair for one in found for pair in one.pairs)], ends)


def _panel(item: Comparisons, legend: tuple[LegendItem, ...], shown: AxisRange) -> go.Figure:
    controls = [arm.role for arm in item.controls]
    height = 110 + round(110 * _row_height(item, legend)) * len(controls)
    figure = panel_figure("Difference of test scores", "", height=height)
    step = 0.72 / len(legend)
    for index, entry in enumerate(legend):
        name, mark = entry.series, entry.mark
        found = [(row, item.difference(control, name)) for row, control in enumerate(controls)]
        found = [(row, one) for row, one in found if one.difference.n]
        shift = (index - (len(legend) - 1) / 2) * step
        points = [(pair, row + shift) for row, one in found for pair in one.pairs]
        figure.add_trace(
            go.Scatter(
                x=[pair for pair, _ in points], y=[y for _, y in points], mode="markers", legendgroup=name,
                marker={"color": mark.color, "size": 5, "opacity": 0.45}, hoverinfo="skip",
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=[one.difference.mean for _, one in found],
                y=[row + shift for row, _ in found],
                mode="markers",
                legendgroup=name,
                marker={"color": mark.color, "symbol": mark.symbol, "size": 10, "line": {"color": PAPER, "width": 1}},
                error_x={
                    "type": "data",
                    "array": [one.difference.half_width or 0.0 for _, one in found],
                    "color": mark.color,
                    "thickness": mark.width,
                },
                customdata=[
                    [one.difference.text(signed=True), one.difference.n, role_label(one.control)] for _, one in found
                ],
                hovertemplate="%{customdata[2]}: %{customdata[0]} (%{customdata[1]} pairs)"
                f"<extra>{entry.label}</extra>",
            )
        )
    figure.update_yaxes(
        tickvals=list(range(len(controls))),
        ticktext=[_row_label(item, control).replace("\n", "<br>") for control in controls],
        range=[len(controls) - 0.5, -0.5],
        showgrid=False,
        ticks="",
    )
    figure.update_xaxes(range=[shown.low, shown.high])
    figure.add_vline(x=0, line={"color": INK, "width": 1.2})
    return figure
