"""Maps of a response over two fields, all on one colour scale; cells that are too unsure to read are hatched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from slasearch.analysis.shape import ResponseSurface
from slasearch.report.figures._base import Panel, panel_figure
from slasearch.report.figures._fields import FieldAxis, field_axis, set_field_axis, set_panel_axis, wrapped
from slasearch.report.labels import level_label, short_factor, thousands
from slasearch.report.style import INK, MUTED, PAPER, compact, count_ticks, finish, legend_above, new_figure, style

__all__ = ["SurfaceMaps", "draw_maps", "map_panels"]

_SCALE, _HATCH = "cividis", "////"
_VEIL = 0.5
"""How much paper lies over colours that are too unsure to read."""


@dataclass(frozen=True)
class SurfaceMaps:
    """All surfaces of one response; `counts` draws it on a logarithmic colour scale.

    Cells without a mean stay empty, and cells without an interval are never hatched.
    """

    surfaces: tuple[ResponseSurface, ...]
    label: str
    counts: bool

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Both ends of the colour scale: the lowest and the highest average of all maps."""
        means = np.concatenate([np.ravel(surface.mean) for surface in self.surfaces])
        return float(np.nanmin(means)), float(np.nanmax(means))

    @cached_property
    def faded(self) -> list[NDArray[np.bool_]]:
        """Of each map the cells whose 95 % interval, twice the half width, spans more than half of the scale."""
        low, high = self.ends
        scale = np.log(high / low) if self.counts else high - low
        half = [np.asarray(surface.unsure, np.float64) for surface in self.surfaces]
        return [(np.log(one) if self.counts else one) > scale / 4 for one in half]

    def best(self, index: int) -> tuple[int, int]:
        """Row and column of a map's best cell: the highest average, of sizes the lowest."""
        return self._extreme(index, highest=not self.counts)

    def worst(self, index: int) -> tuple[int, int]:
        """Row and column of a map's worst cell."""
        return self._extreme(index, highest=self.counts)

    def _extreme(self, index: int, *, highest: bool) -> tuple[int, int]:
        mean = np.asarray(self.surfaces[index].mean)
        row, column = np.unravel_index(int(np.nanargmax(mean) if highest else np.nanargmin(mean)), mean.shape)
        return int(row), int(column)

    def axes(self, index: int, across: int = 40, up: int = 40) -> tuple[FieldAxis, FieldAxis]:
        """The x and the y axis of a map, with room for so many letters along them."""
        one = self.surfaces[index]
        return (
            field_axis(one.x_field, one.x_levels, one.x_scale, across),
            field_axis(one.y_field, one.y_levels, one.y_scale, up),
        )


def draw_maps(maps: SurfaceMaps, text: str) -> Figure:
    """The printed form: two maps a row, three of many, with one colour bar."""
    count = len(maps.surfaces)
    columns = 1 if count == 1 else 2 if count <= 6 else 3
    rows = -(-count // columns)
    height, letters = {1: (3.4, 60), 2: (2.6, 30), 3: (2.2, 20)}[columns]
    low, high = maps.ends
    with style():
        figure, axes = new_figure(1.1 + rows * height, rows, columns)
        norm = LogNorm(low, high) if maps.counts and high > low else Normalize(low, high)
        for index, ax in enumerate(axes[:count]):
            mesh = _draw_map(ax, maps, index, norm, letters)
        for ax in axes[count:]:
            ax.set_axis_off()
        _draw_bar(figure, axes, maps, mesh)
        _draw_legend(figure, maps)
        finish(figure, text)
    return figure


def _draw_map(ax: Axes, maps: SurfaceMaps, index: int, norm: Normalize, letters: int) -> QuadMesh:
    across, up = maps.axes(index, letters, 26)
    ax.grid(visible=False)
    # Pixels inside SVG and PDF: between vector cells the paper would shine through.
    mesh = ax.pcolormesh(across.edges, up.edges, maps.surfaces[index].mean, cmap=_SCALE, norm=norm, rasterized=True)
    if maps.faded[index].any():
        veil = _cells(across.edges, up.edges, maps.faded[index])
        ax.add_patch(PathPatch(veil, facecolor=PAPER, alpha=_VEIL, linewidth=0, zorder=2))
        hatch = PathPatch(veil, fill=False, edgecolor=INK, hatch=_HATCH, linewidth=0, zorder=2.5)
        hatch.set_hatch_linewidth(0.5)
        ax.add_patch(hatch)
    row, column = maps.best(index)
    ax.scatter(
        [across.places[column]], [up.places[row]], s=110, marker="*", color=PAPER, edgecolors=INK, linewidths=1,
        zorder=4,
    )  # fmt: skip
    set_field_axis(ax, "x", across, cells=True)
    set_field_axis(ax, "y", up, cells=True)
    return mesh


def _cells(x: list[float], y: list[float], chosen: NDArray[np.bool_]) -> Path:
    """One path around all chosen cells, so that a hatch runs through them."""
    corners: list[tuple[float, float]] = []
    for row, column in zip(*np.nonzero(chosen), strict=True):
        left, right, low, high = x[column], x[column + 1], y[row], y[row + 1]
        corners += [(left, low), (right, low), (right, high), (left, high), (left, low)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(corners) // 5)
    return Path(corners, codes)


def _draw_bar(figure: Figure, axes: list[Axes], maps: SurfaceMaps, mesh: QuadMesh) -> None:
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=28)
    bar.set_label(wrapped(maps.label, 28))
    bar.outline.set_visible(False)
    if maps.counts:
        bar.set_ticks(count_ticks(*maps.ends))
        bar.minorticks_off()
        bar.ax.yaxis.set_major_formatter(FuncFormatter(compact))


def _draw_legend(figure: Figure, maps: SurfaceMaps) -> None:
    star = Line2D([], [], linestyle="", marker="*", markersize=11, markerfacecolor=PAPER, markeredgecolor=INK)
    handles: list[Line2D | Patch] = [star]
    labels = ["fewest on average" if maps.counts else "best on average"]
    if any(faded.any() for faded in maps.faded):
        handles.append(Patch(facecolor=PAPER, edgecolor=MUTED, hatch=_HATCH, linewidth=0.5))
        labels.append("too unsure to read")
    legend_above(figure, handles, labels)


def map_panels(maps: SurfaceMaps) -> tuple[Panel, ...]:
    """The interactive form: a chart for each map."""
    return tuple(Panel(_title(surface), _panel(maps, index)) for index, surface in enumerate(maps.surfaces))


def _title(surface: ResponseSurface) -> str:
    name = f"{short_factor(surface.x_field)} × {short_factor(surface.y_field)}"
    return f"{name[:1].upper()}{name[1:]}"


def _panel(maps: SurfaceMaps, index: int) -> go.Figure:
    across, up = maps.axes(index)
    figure = panel_figure(across.label, up.label, height=360)
    x, y = list(across.places), list(up.places)
    mean = np.asarray(maps.surfaces[index].mean, np.float64)
    bar: dict[str, object] = {"thickness": 12, "outlinewidth": 0}
    bar["title"] = {"text": maps.label.partition(" (")[0], "side": "top", "font": {"size": 12}}
    if maps.counts:
        ticks = count_ticks(*maps.ends)
        bar |= {"tickvals": np.log10(ticks).tolist(), "ticktext": [compact(tick) for tick in ticks]}
    low, high = np.log10(maps.ends) if maps.counts else maps.ends
    figure.add_trace(
        go.Heatmap(
            x=x, y=y, z=(np.log10(mean) if maps.counts else mean).tolist(), zmin=float(low), zmax=float(high),
            colorscale=_SCALE, colorbar=bar, text=_hover(maps, index), hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    rows, columns = np.nonzero(maps.faded[index])
    if len(rows):
        veil = np.where(maps.faded[index], 1.0, np.nan)
        figure.add_trace(
            go.Heatmap(
                x=x, y=y, z=[[None if np.isnan(value) else value for value in row] for row in veil.tolist()],
                colorscale=[[0, PAPER], [1, PAPER]], showscale=False, opacity=_VEIL, hoverinfo="skip",
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=[x[column] for column in columns], y=[y[row] for row in rows], mode="markers", hoverinfo="skip",
                marker={"symbol": "line-ne", "size": 7, "line": {"color": INK, "width": 1}},
            )
        )  # fmt: skip
    row, column = maps.best(index)
    marker = {"symbol": "star", "size": 14, "color": PAPER, "line": {"color": INK, "width": 1.2}}
    figure.add_trace(go.Scatter(x=[x[column]], y=[y[row]], mode="markers", marker=marker, hoverinfo="skip"))
    set_panel_axis(figure, "x", across, cells=True)
    set_panel_axis(figure, "y", up, cells=True)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False)
    return figure


def _hover(maps: SurfaceMaps, index: int) -> list[list[str]]:
    one = maps.surfaces[index]
    return [
        [
            f"{short_factor(one.x_field)} {level_label(x)}<br>{short_factor(one.y_field)} {level_label(y)}<br>"
            + (thousands(mean) if maps.counts else f"{mean:.4g}")
            + ("" if math.isnan(unsure) else f" ×÷ {unsure:.2f}" if maps.counts else f" ± {unsure:.2g}")
            for x, mean, unsure in zip(one.x_levels, means, half, strict=True)
        ]
        for y, means, half in zip(one.y_levels, one.mean, one.unsure, strict=True)
    ]
