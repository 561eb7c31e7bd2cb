"""Performance drops: what share of its clean score each arm loses under each condition, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slasearch.analysis.drops import Drop, PerformanceDrops
from slasearch.analysis.frames import MEAN
from slasearch.analysis.intervals import Estimate
from slasearch.analysis.roles import role_label
from slasearch.report.figures._base import LegendItem, ReportFigure, note
from slasearch.report.figures._drops_axes import (
    DIFFERENCE,
    RATE,
    crowded,
    difference_range,
    in_percent,
    place_of,
    rate_range,
    row_labels,
    rows_height,
    told_apart,
)
from slasearch.report.figures._drops_panel import drops_panels
from slasearch.report.labels import condition_label, percent, series_label
from slasearch.report.results import Results
from slasearch.report.style import (
    INK,
    MUTED,
    Mark,
    broken,
    finish,
    legend_above,
    new_figure,
    plain_ticks,
    role_marks,
    style,
)

__all__ = ["drops_table", "figures"]


def figures(results: Results) -> list[ReportFigure]:
    """One figure for the first winner, its table for all; none without measured conditions and a confirm phase."""
    if not results.drops:
        return []
    item = results.drops[0]
    marks = role_marks(item.roles)
    legend = tuple(LegendItem(role, role_label(role), marks[role], line=False) for role in item.roles)
    rates = [drop for role in item.roles for drop in item.of(role)]
    text = note(
        f"markers: {'means of tasks' if len(results.frames.tasks) > 1 else 'means'}",
        "bars: 95 % t-intervals over seeds" + (" (of controls in the table)" if crowded(item) else ""),
        "right: pairs of seeds; filled: told apart after Holm over all controls and conditions",
        item.method,
        f"winner: trial {item.number} ({item.label})" + ("; all winners are in the table" if results.drops[1:] else ""),
        *item.warnings,
        max(rate_range(rates).note, difference_range(rates).note),
        "confirm: " + results.counts_of("confirm").text(),
    )
    return [
        ReportFigure(
            name="drops",
            section="robustness",
            title="Performance drops",
            caption="What share of its clean test score each arm loses; right, below 0 the searched structures lose "
            "less.",
            note=text,
            alt=f"Drops of the test score, {series_label(MEAN, results.frames.tasks)}. "
            + " ".join(_spoken(item, role) for role in item.roles),
            table=drops_table(results.drops),
            draw=lambda: _draw(item, marks, legend, text),
            panels=lambda: drops_panels(item, marks, results.frames.tasks),
            legend=legend,
        )
    ]


def drops_table(found: Sequence[PerformanceDrops]) -> pd.DataFrame:
    """Tidy: one row for each mean (`what` is `mean`) and each run (`run`); rates are shares of the clean score."""
    rows: list[tuple[object, ...]] = []
    for item in found:
        worst = {item.worst(role, series) for role in item.roles for series in {drop.series for drop in item.drops}}
        for drop in item.drops:
            key = (drop.condition, drop.role, drop.series, item.label)
            place = (item.number, drop.level)
            gap = drop.difference or Estimate(math.nan, None, None, 0)
            rows.append(
                (
                    *key, "mean", drop.verdict if drop.difference else "", *place, drop.rate.mean, drop.rate.low,
                    drop.rate.high, drop.rate.n, gap.mean, gap.low, gap.high, drop.p, drop.p_holm, drop in worst,
                )
            )  # fmt: skip
            rows.extend((*key, "run", "", *place, value, *[None] * 2, 1, *[None] * 5, False) for value in drop.values)
    columns = [
        "condition", "role", "series", "label", "what", "verdict", "winner", "level", "value", "low", "high", "n",
        "difference", "difference_low", "difference_high", "p", "p_holm", "worst",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    numbers = ["value", "low", "high", "difference", "difference_low", "difference_high", "p", "p_holm"]
    return table.astype(dict.fromkeys(numbers, "float64"))


def _spoken(item: PerformanceDrops, role: str) -> str:
    worst = item.worst(role)
    if worst is None:
        return f"{role_label(role)}: no drop can be given."
    where = f"{condition_label(worst.condition)} at {worst.level:g}"
    return f"{role_label(role)}: most under {where}, {percent(worst.rate.mean, 1)}."


def _draw(item: PerformanceDrops, marks: dict[str, Mark], legend: tuple[LegendItem, ...], text: str) -> Figure:
    rates = [drop for role in item.roles for drop in item.of(role)]
    controls = len(item.roles) > 1
    with style():
        figure, axes = new_figure(
            1.75 + 0.2 * (len(legend) // 3) + rows_height(item), 1, 2 if controls else 1, sharey=True
        )
        for drop in rates:
            _draw_rate(axes[0], item, drop, marks[drop.role])
            if drop.difference is not None and drop.difference.n:
                _draw_difference(axes[1], item, drop, marks[drop.role])
        axes[0].set_yticks(range(len(item.conditions)), row_labels(item))
        for ax, shown, label in zip(
            axes, (rate_range(rates), difference_range(rates)), (RATE, DIFFERENCE), strict=False
        ):
            _bands(ax, item)
            ax.axvline(0, color=INK, linewidth=1.1, zorder=1)
            ax.set_xlim(shown.low, shown.high)
            ax.set_ylim(len(item.conditions) - 0.5, -0.5)
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="y", length=0)
            ax.set_xlabel(broken(label))
            plain_ticks(ax, "x", 6)
        handles = [
            Line2D([], [], linestyle="", color=item.mark.color, marker=item.mark.marker, markersize=7)
            for item in legend
        ]
        legend_above(figure, handles, [item.label for item in legend])
        finish(figure, text)
    return figure


def _bands(ax: Axes, item: PerformanceDrops) -> None:
    """A pale band behind every second condition."""
    place = 0
    for number, (_, levels) in enumerate(groupby(item.conditions, key=lambda found: found[0])):
        count = len(list(levels))
        if number % 2:
            ax.axhspan(place - 0.5, place + count - 0.5, color=MUTED, alpha=0.07, linewidth=0)
        place += count


def _area(item: PerformanceDrops) -> float:
    """Of a marker, in square points."""
    return 20.0 if crowded(item) else 34.0


def _draw_rate(ax: Axes, item: PerformanceDrops, drop: Drop, mark: Mark) -> None:
    if not drop.rate.n:
        return
    mean, low, high = in_percent(drop.rate)
    y = place_of(item, drop)
    if low is not None and high is not None and (drop.role == "winner" or not crowded(item)):
        ax.hlines(y, low, high, color=mark.color, linewidth=mark.width, alpha=0.5, zorder=3)
    ax.scatter(
        [mean], [y], s=_area(item), color=mark.color, marker=mark.marker, edgecolors="white", linewidths=0.7, zorder=4
    )


def _draw_difference(ax: Axes, item: PerformanceDrops, drop: Drop, mark: Mark) -> None:
    assert drop.difference is not None
    mean, low, high = in_percent(drop.difference)
    y = place_of(item, drop)
    if low is not None and high is not None and not crowded(item):
        ax.hlines(y, low, high, color=mark.color, linewidth=mark.width, alpha=0.5, zorder=3)
    ax.scatter([mean], [y], s=_area(item), color=mark.color if told_apart(drop) else "white", marker=mark.marker,
               edgecolors=mark.color, linewidths=1.2, zorder=4)  # fmt: skip
