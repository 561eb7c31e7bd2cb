"""Many lines of trials in a few shades: the best trial, and quarters of the others by score, the best darkest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slasearch.report.figures._base import LegendItem
from slasearch.report.style import VERMILION, Mark, legend_above

__all__ = ["class_legend", "draw_class_legend", "draw_lines", "line_traces"]

_CLASSES = (
    ("best", "best trial", VERMILION, 2.6),
    ("first", "best quarter", "#08306b", 1.3),
    ("second", "second quarter", "#2171b5", 1.0),
    ("third", "third quarter", "#6baed6", 0.9),
    ("last", "last quarter", "#c6dbef", 0.9),
)
"""Series, label, colour (those that the page swaps on a dark screen) and width of each class."""

_MANY = 150
_DENSE = 50_000
"""More points than this are drawn as pixels inside SVG and PDF: a picture of fine lines takes megabytes."""

Lines = Sequence[Sequence[tuple[float, float]]]
"""The points of each line, the line of the best trial first."""


def _classes(count: int) -> list[list[int]]:
    """Places of the lines of each class, when the best of `count` comes first."""
    quarters = [1 + (index - 1) * 4 // max(1, count - 1) if index else 0 for index in range(count)]
    return [[index for index in range(count) if quarters[index] == number] for number in range(len(_CLASSES))]


def class_legend(count: int) -> tuple[LegendItem, ...]:
    """The classes that so many lines have."""
    return tuple(
        LegendItem(series, label, Mark(color, "o", "circle", width))
        for (series, label, color, width), members in zip(_CLASSES, _classes(count), strict=True)
        if members
    )


def draw_class_legend(figure: Figure, legend: Sequence[LegendItem]) -> None:
    """The classes above a printed figure."""
    handles = [Line2D([], [], color=item.mark.color, linewidth=max(2.0, item.mark.width)) for item in legend]
    legend_above(figure, handles, [item.label for item in legend], most=3)


def draw_lines(ax: Axes, lines: Lines) -> None:
    """All lines in print, better ones over worse ones, thinner where there are many."""
    thin = 1.0 if len(lines) <= _MANY else 0.6
    for number, members in enumerate(_classes(len(lines))):
        _, _, color, width = _CLASSES[number]
        found = LineCollection(
            [lines[index] for index in members],
            colors=color,
            linewidths=width if number == 0 else thin * width,
            alpha=1.0 if number == 0 else 0.75,
            zorder=4 - 0.3 * number,
            rasterized=sum(map(len, lines)) > _DENSE,
        )
        ax.add_collection(found)


def line_traces(lines: Lines, texts: Sequence[Sequence[str]]) -> Iterator[go.Scatter]:
    """One trace for each class, the best last; `texts` are shown on hovering, one for each point of each line."""
    for (series, _, color, width), members in reversed(list(zip(_CLASSES, _classes(len(lines)), strict=True))):
        if not members:
            continue
        gap: list[Any] = [None]
        yield go.Scatter(
            x=list(chain.from_iterable([*(x for x, _ in lines[index]), *gap] for index in members)),
            y=list(chain.from_iterable([*(y for _, y in lines[index]), *gap] for index in members)),
            text=list(chain.from_iterable([*texts[index], ""] for index in members)),
            mode="lines", legendgroup=series, opacity=1.0 if series == "best" else 0.75,
            line={"color": color, "width": width}, hovertemplate="%{text}<extra></extra>",
            connectgaps=False,
        )  # fmt: skip
