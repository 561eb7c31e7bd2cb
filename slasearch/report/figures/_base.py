"""What a figure of a report is: drawn once for paper (matplotlib) and once for the screen (plotly), from one table."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from numpy.typing import NDArray

from slasearch.report.style import GRID, INK, MUTED, Mark, broken

__all__ = [
    "MANY",
    "AxisRange",
    "LegendItem",
    "Panel",
    "ReportFigure",
    "axis_range",
    "note",
    "panel_figure",
    "thinned",
    "tint",
]


MANY = 5
"""With more controls than this figures are drawn for many: lower rows, thinner lines, no runs of controls."""


@dataclass(frozen=True)
class LegendItem:
    """One entry of a legend that all panels of a figure share; `series` is the plotly legend group it switches.

    `line` says whether its markers are joined.
    """

    series: str
    label: str
    mark: Mark
    line: bool = True


@dataclass(frozen=True)
class Panel:
    """One interactive chart: on a wide screen several stand side by side, on a phone one below the other."""

    title: str
    figure: go.Figure
    wide: bool = False


@dataclass(frozen=True)
class ReportFigure:
    """One figure in all its forms.

    `name` is the stem of its files. `caption` says what is seen, `note` how it was measured and what is missing, `alt`
    describes it for those who do not see it. `table` holds every number of the figure. `draw` and `panels` build the
    printed and the interactive form.
    """

    name: str
    section: str
    title: str
    caption: str
    note: str
    alt: str
    table: pd.DataFrame
    draw: Callable[[], Figure]
    panels: Callable[[], tuple[Panel, ...]]
    legend: tuple[LegendItem, ...] = ()


def note(*parts: str, width: int = 108) -> str:
    """A note from its parts, wrapped to the width of a figure; numbers stay with what they count."""
    text = re.sub(r"(\d) (?=[a-z%])", "\\1\u00a0", "\u00a0· ".join(part for part in parts if part))
    return "\n".join(textwrap.wrap(text, width))


@dataclass(frozen=True)
class AxisRange:
    """Both ends of an axis, and whether an interval reaches beyond them."""

    low: float
    high: float
    cut: bool

    @property
    def note(self) -> str:
        """What a footnote says about it."""
        return "intervals that reach beyond the axis are cut off" if self.cut else ""


def axis_range(values: Iterable[float], ends: Iterable[float | None] = ()) -> AxisRange:
    """An axis that holds all values and as much of the intervals as leaves the values at least half of it.

    With two or three seeds an interval can be many times as wide as anything that was measured.
    """
    found = [value for value in values if math.isfinite(value)] or [0.0]
    reach = [end for end in ends if end is not None] or found
    low, high = min(found), max(found)
    room = ((high - low) or abs(high) * 0.1 or 1.0) / 2
    lowest, highest = max(min([low, *reach]), low - room), min(max([high, *reach]), high + room)
    space = 0.06 * max(highest - lowest, 1e-6 * room)
    return AxisRange(lowest - space, highest + space, min(reach) < lowest - space or max(reach) > highest + space)


def thinned(keep: NDArray[np.bool_], most: int = 4_000) -> NDArray[np.bool_]:
    """Which of many points an interactive chart holds: those of `keep`, and of the rest every k-th, so many in all."""
    shown = keep.copy()
    rest = np.flatnonzero(~keep)
    stride = max(1, -(-len(rest) // max(1, most - int(keep.sum()))))
    shown[rest[::stride]] = True
    return shown


def tint(color: str, alpha: float) -> str:
    """A `#rrggbb` colour as plotly's `rgba(...)`."""
    red, green, blue = (int(color[index : index + 2], 16) for index in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def panel_figure(x_title: str, y_title: str, *, height: int = 320) -> go.Figure:
    """An empty interactive chart in the report's style; the page swaps its colours for a dark screen."""
    axis = {
        "gridcolor": GRID, "linecolor": MUTED, "tickcolor": MUTED, "showline": True, "zeroline": False,
        "ticks": "outside", "automargin": True, "title": {"font": {"size": 13}, "standoff": 10},
    }  # fmt: skip
    layout = go.Layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 8, "r": 12, "t": 10, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12.5, "color": INK},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
        showlegend=False,
        dragmode="zoom",
    )
    figure = go.Figure(layout=layout)
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
    figure.update_xaxes(title_text=broken(x_title).replace("\n", "<br>"))
    figure.update_yaxes(title_text=broken(y_title, 30).replace("\n", "<br>"))
    return figure
