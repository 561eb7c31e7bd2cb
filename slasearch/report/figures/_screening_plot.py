"""A plot of a Morris screening, for paper and screen: labels stand beside their points, and those at rest in a line."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slasearch.analysis.morris import Effect, MorrisScreening
from slasearch.report.figures._base import AxisRange, axis_range, panel_figure
from slasearch.report.figures._fields import response_title, wrapped
from slasearch.report.figures._placing import Place, Point, place_labels
from slasearch.report.labels import short_factor
from slasearch.report.style import (
    BLUE,
    INK,
    MUTED,
    PAPER,
    VERMILION,
    Mark,
    finish,
    legend_above,
    new_figure,
    plain_ticks,
    style,
)

__all__ = [
    "RESTS", "WAYS", "ScreeningPlot", "draw_screening", "screening_panel", "screening_plot", "ways_of",
]  # fmt: skip

WAYS = {
    "up": ("raises", Mark(BLUE, "^", "triangle-up")),
    "down": ("lowers", Mark(VERMILION, "v", "triangle-down")),
    "both": ("both ways", Mark(MUTED, "o", "circle")),
}
RESTS = 0.05
"""Fields whose μ* and σ are smaller than this share of the largest lie at the origin: they are named in a line."""

_NAME = 26
"""Letters of a label on one line; longer names take two."""

_FEW = 8
"""With more fields than this each panel takes the whole width of a printed figure."""

_LETTER, _LINE, _NARROW = 6.3, 15.0, 300.0
"""On the screen: width of a letter and height of a line in pixels, and of the plot on a narrow page."""


@dataclass(frozen=True)
class ScreeningPlot:
    """A panel: the effects that have a name at their point, largest first, those at the origin, and both axes."""

    item: MorrisScreening
    named: tuple[Effect, ...]
    resting: tuple[Effect, ...]
    across: AxisRange
    up: AxisRange

    @property
    def title(self) -> str:
        """The response."""
        return response_title(self.item.response)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """All of them, largest first."""
        return tuple(sorted(self.item.effects, key=lambda effect: -effect.mu_star))

    @property
    def at_origin(self) -> str:
        """`at the origin: finish, gate threshold`; empty where each field has its name at its point."""
        names = [short_factor(one.field).replace(" ", "\u00a0") for one in self.resting]
        return f"at the origin: {', '.join(names)}" if names else ""

    @property
    def line_end(self) -> float:
        """Where the line σ = μ* leaves the plot."""
        return min(self.across.high, self.up.high)

    def labels(
        self, sizes: Sequence[Point], width: float, height: float, radius: float
    ) -> list[tuple[Point, Place | None]]:
        """Where named points lie in a plot of that size, from its lower left corner, and where their labels go."""

        def spot(mu_star: float, sigma: float) -> Point:
            x, y = self.across, self.up
            return width * (mu_star - x.low) / (x.high - x.low), height * (sigma - y.low) / (y.high - y.low)

        points, others = ([spot(one.mu_star, one.sigma) for one in found] for found in (self.named, self.resting))
        bars = [(spot(one.low, one.sigma), spot(one.high, one.sigma)) for one in self.effects]
        line = (spot(0, 0), spot(self.line_end, self.line_end))
        places = place_labels(points, sizes, (width, height), [*bars, line], others=others, radius=radius)
        return list(zip(points, places, strict=True))


def screening_plot(item: MorrisScreening) -> ScreeningPlot:
    """The panel of a response."""
    effects = tuple(sorted(item.effects, key=lambda effect: -effect.mu_star))
    most, widest = effects[0].mu_star, max(one.sigma for one in effects)
    resting = tuple(one for one in effects if one.mu_star < RESTS * most and one.sigma <= RESTS * widest)
    return ScreeningPlot(
        item=item,
        named=tuple(one for one in effects if one not in resting),
        resting=resting,
        across=axis_range(
            [0.0, *(one.mu_star for one in effects)], [end for one in effects for end in (one.low, one.high)]
        ),
        # Where nothing interacts σ is 0 but for rounding, which is not to be seen.
        up=axis_range([0.0, RESTS * most, *(one.sigma for one in effects)]),
    )


def ways_of(plots: Sequence[ScreeningPlot]) -> list[str]:
    """The ways that occur, in the order of the legend."""
    found = {effect.way for plot in plots for effect in plot.effects}
    return [way for way in WAYS if way in found]


def draw_screening(plots: Sequence[ScreeningPlot], text: str) -> Figure:
    """The printed form: a panel for each response, over the whole width where there are many fields."""
    few = max(len(plot.effects) for plot in plots) <= _FEW
    columns = 2 if len(plots) > 1 and few else 1
    rows = -(-len(plots) // columns)
    letters = 100 // columns - 5
    lines = max(len(textwrap.wrap(plot.at_origin, letters)) for plot in plots)
    height = (2.5 if few else 2.6 if len(plots) > 1 else 3.4) + 0.14 * lines
    with style():
        figure, axes = new_figure(1.1 + rows * height, rows, columns)
        for ax, plot in zip(axes, plots, strict=False):
            _draw_points(ax, plot)
            ax.annotate(
                textwrap.fill(plot.at_origin, letters), (0, 0), (0, -36), xycoords="axes fraction",
                textcoords="offset points", va="top", fontsize=8.5, color=MUTED, annotation_clip=False,
            )  # fmt: skip
        _draw_legend(figure, axes, plots)
        finish(figure, text)
        # The layout stands: now there are pixels in which labels can be placed.
        for ax, plot in zip(axes, plots, strict=False):
            _draw_labels(figure, ax, plot)
    return figure


def _draw_points(ax: Axes, plot: ScreeningPlot) -> None:
    ax.plot([0, plot.line_end], [0, plot.line_end], color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1.5)
    for effect in plot.effects:
        mark = WAYS[effect.way][1]
        ax.hlines(effect.sigma, effect.low, effect.high, color=mark.color, linewidth=1.6, alpha=0.45, zorder=3)
        ax.scatter(
            [effect.mu_star], [effect.sigma], s=40, color=mark.color, marker=mark.marker, edgecolors="white",
            linewidths=0.8, zorder=4,
        )  # fmt: skip
    ax.set_xlim(plot.across.low, plot.across.high)
    ax.set_ylim(plot.up.low, plot.up.high)
    plain_ticks(ax, "x", 6)
    plain_ticks(ax, "y", 5)
    ax.set_title(plot.title)
    ax.set_xlabel(_x_label(plot))
    ax.set_ylabel("Spread of effects σ")


def _x_label(plot: ScreeningPlot) -> str:
    return f"Size of effects μ* ({plot.title.lower()})"


def _draw_legend(figure: Figure, axes: Sequence[Axes], plots: Sequence[ScreeningPlot]) -> None:
    marks = [WAYS[way] for way in ways_of(plots)]
    handles = [Line2D([], [], linestyle="", marker=mark.marker, color=mark.color, markersize=6.5) for _, mark in marks]
    handles.append(Line2D([], [], color=MUTED, linewidth=1.1, linestyle=(0, (4, 3))))
    labels = [*(label for label, _ in marks), "σ = μ*"]
    for ax in axes[len(plots) :]:
        ax.set_axis_off()
    if len(axes) > len(plots):
        axes[-1].legend(handles, labels, loc="center left", fontsize=11, borderaxespad=2.0, labelspacing=0.8)
    else:
        legend_above(figure, handles, labels)


def _draw_labels(figure: Figure, ax: Axes, plot: ScreeningPlot) -> None:
    area = ax.get_window_extent()
    texts = [ax.text(0, 0, wrapped(short_factor(one.field), _NAME), fontsize=8.5, ha="center", va="center", zorder=6)
             for one in plot.named]  # fmt: skip
    boxes = [text.get_window_extent() for text in texts]
    sizes = [(box.width, box.height) for box in boxes]
    placed = plot.labels(sizes, area.width, area.height, 4.2 * figure.dpi / 72)
    for text, (spot, place) in zip(texts, placed, strict=True):
        if place is None:
            text.remove()
            continue
        text.set_transform(ax.transAxes)
        text.set_position((place.x / area.width, place.y / area.height))
        if place.led:
            ax.plot(
                [spot[0] / area.width, place.x / area.width], [spot[1] / area.height, place.y / area.height],
                transform=ax.transAxes, color=MUTED, linewidth=0.6, zorder=2.5,
            )  # fmt: skip
            text.set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 0.6})
    unnamed = sum(place is None for _, place in placed)
    if unnamed:
        words = f"{unnamed} without a name: see the table"
        ax.set_title(words, loc="right", fontsize=8.5, color=MUTED, weight="normal")


def screening_panel(plot: ScreeningPlot) -> go.Figure:
    """The interactive form of a panel."""
    below = textwrap.wrap(plot.at_origin, 52)
    inside = 260 + 6 * max(0, len(plot.named) - _FEW)
    figure = panel_figure(_x_label(plot), "Spread of effects σ", height=inside + 70 + round(_LINE) * len(below))
    ends = [0, plot.line_end]
    figure.add_trace(
        go.Scatter(x=ends, y=ends, mode="lines", hoverinfo="skip", line={"color": MUTED, "width": 1.2, "dash": "dash"})
    )
    for way, (label, mark) in WAYS.items():
        mine = [effect for effect in plot.effects if effect.way == way]
        if mine:
            figure.add_trace(_trace(mine, way, label, mark))
    _add_labels(figure, plot, inside)
    if below:
        figure.update_layout(margin_b=58 + round(_LINE) * len(below))
        figure.add_annotation(
            text="<br>".join(below), x=0, y=0, xref="paper", yref="paper", xanchor="left", yanchor="top", yshift=-48,
            showarrow=False, align="left", font={"size": 11, "color": MUTED},
        )  # fmt: skip
    figure.update_xaxes(range=[plot.across.low, plot.across.high])
    figure.update_yaxes(range=[plot.up.low, plot.up.high])
    return figure


def _add_labels(figure: go.Figure, plot: ScreeningPlot, height: float) -> None:
    """Labels as they have room on a narrow page; on a wide one they only have more."""
    names = [wrapped(short_factor(effect.field), _NAME, "<br>") for effect in plot.named]
    lines = [name.split("<br>") for name in names]
    sizes = [(_LETTER * max(map(len, found)), _LINE * len(found)) for found in lines]
    for effect, name, (spot, place) in zip(plot.named, names, plot.labels(sizes, _NARROW, height, 5.0), strict=True):
        if place is not None:
            figure.add_annotation(
                x=effect.mu_star, y=effect.sigma, text=name, ax=place.x - spot[0], ay=spot[1] - place.y,
                showarrow=True, arrowhead=0, arrowwidth=0.8, arrowcolor=MUTED if place.led else "rgba(0,0,0,0)",
                standoff=5, font={"size": 11.5, "color": INK}, borderpad=0,
            )  # fmt: skip


def _trace(effects: Sequence[Effect], way: str, label: str, mark: Mark) -> go.Scatter:
    return go.Scatter(
        x=[one.mu_star for one in effects], y=[one.sigma for one in effects], mode="markers", legendgroup=way,
        marker={"color": mark.color, "symbol": mark.symbol, "size": 10, "line": {"color": PAPER, "width": 1}},
        error_x={
            "type": "data", "array": [max(0.0, one.high - one.mu_star) for one in effects],
            "arrayminus": [max(0.0, one.mu_star - one.low) for one in effects],
            "color": mark.color, "thickness": 1.4, "width": 0,
        },
        customdata=[[short_factor(one.field), one.low, one.high, one.mu] for one in effects],
        hovertemplate="%{customdata[0]}: μ* %{x:.3g} (%{customdata[1]:.3g} to %{customdata[2]:.3g}), "
        f"μ %{{customdata[3]:.3g}}, σ %{{y:.3g}}<extra>{label}</extra>",
    )  # fmt: skip
