"""Paths on the screen: one interactive chart for each task."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from slasearch.analysis.paths import PathModule, Sharing, TaskPath, TrialPaths
from slasearch.analysis.structure import Steadiness, WinnerPaths
from slasearch.report.figures._base import Panel, panel_figure, tint
from slasearch.report.figures._path_grid import PathGrid, path_grid, route, size_of_rank
from slasearch.report.labels import percent, slots_label, thousands
from slasearch.report.style import INK, MUTED, PAPER, Mark

__all__ = ["path_panels"]

_WIDE = 15
"""From so many columns on a chart takes the whole width of the page."""

_WITH_NUMBERS = 13
"""Width in pixels from which a mark holds a number."""

_WORDS: dict[Sharing, str] = {"all": "shared by all tasks", "some": "shared by some, or in part", "own": "its own"}


def path_panels(item: WinnerPaths, marks: dict[str, Mark]) -> tuple[Panel, ...]:
    """A chart for each task, in the order of the study file."""
    grid = path_grid(item.paths)
    wide = grid.width > _WIDE
    return tuple(
        Panel(_title(path), _chart(item, path, steadiness, grid, marks, wide=wide), wide=wide)
        for path, steadiness in zip(item.paths.tasks, item.steadiness, strict=True)
    )


def _title(path: TaskPath) -> str:
    return f"{path.task} · {slots_label(path.slots)}, {thousands(path.parameters)} parameters"


def _chart(
    item: WinnerPaths, path: TaskPath, steadiness: Steadiness, grid: PathGrid, marks: dict[str, Mark], *, wide: bool
) -> go.Figure:
    size = min(22, (480 if wide else 330) / grid.width)
    figure = panel_figure("", "Layer", height=round(70 + 1.25 * size * grid.height))
    _bands(figure, grid)
    _closed(figure, item.paths, grid, size)
    line = route(grid, path.modules)
    if line:
        x, y = zip(*line, strict=True)
        figure.add_trace(
            go.Scatter(x=list(x), y=list(y), mode="lines", hoverinfo="skip", line={"color": MUTED, "width": 2})
        )
    largest = max((module.rank or 1 for one in item.paths.tasks for module in one.modules), default=1)
    for kind, mark in marks.items():
        mine = [module for module in path.modules if module.kind == kind]
        if mine:
            _modules(figure, mine, grid, mark, size, largest, [_hover(module, steadiness, item.n) for module in mine])
    centres = [(left + right) / 2 for left, right in grid.sites.values()]
    every = max(1, math.ceil(16 / (1.25 * size * 1.55)))
    rows = dict(list(grid.rows.items())[::every])
    figure.update_xaxes(
        range=[-0.4, grid.width + 0.4], tickvals=centres, ticktext=list(grid.sites), showgrid=False, ticks="",
        showline=False,
    )  # fmt: skip
    figure.update_yaxes(
        range=[-0.1, grid.height + 0.1], tickvals=list(rows.values()), ticktext=[str(layer) for layer in rows],
        showgrid=False, ticks="", showline=False,
    )  # fmt: skip
    return figure


def _bands(figure: go.Figure, grid: PathGrid) -> None:
    """A pale column behind each site."""
    for left, right in grid.sites.values():
        figure.add_shape(
            type="rect", x0=left - 0.1, x1=right + 0.1, y0=0, y1=1, yref="paper", layer="below", line={"width": 0},
            fillcolor=tint(INK, 0.04),
        )  # fmt: skip


def _closed(figure: go.Figure, paths: TrialPaths, grid: PathGrid, size: float) -> None:
    """A faint dot for every candidate."""
    dots = sorted((grid.columns[site, kind], grid.rows[layer]) for layer, site, kind in paths.pool)
    x, y = zip(*dots, strict=True)
    marker = {"color": "#b4bac1", "size": max(3, 0.2 * size), "symbol": "circle"}
    figure.add_trace(go.Scatter(x=list(x), y=list(y), mode="markers", hoverinfo="skip", marker=marker))


def _modules(
    figure: go.Figure,
    modules: list[PathModule],
    grid: PathGrid,
    mark: Mark,
    size: float,
    largest: int,
    texts: list[str],
) -> None:
    x, y = (list(values) for values in zip(*(grid.at(module) for module in modules), strict=True))
    numbers = size >= _WITH_NUMBERS
    small = [1.0 if numbers or module.rank is None else size_of_rank(module.rank, largest) for module in modules]
    sizes = [size * share for share in small]
    fills = {"all": mark.color, "some": tint(mark.color, 0.3), "own": PAPER}
    for colors, line in (
        ([PAPER] * len(x), {"width": 0}),
        ([fills[module.sharing] for module in modules], {"color": mark.color, "width": 1.6}),
    ):
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="markers+text" if numbers and line["width"] else "markers",
                marker={"symbol": mark.symbol, "size": sizes, "color": colors, "line": line, "opacity": 1},
                text=[str(module.rank or "") for module in modules], customdata=texts, legendgroup=modules[0].kind,
                textfont={"size": 11, "color": [PAPER if module.sharing == "all" else INK for module in modules]},
                hovertemplate="%{customdata}<extra></extra>", hoverinfo="text" if line["width"] else "skip",
            )
        )  # fmt: skip


def _hover(module: PathModule, steadiness: Steadiness, n: int) -> str:
    share = sum(steadiness.shares[slot] for slot in module.slots) / len(module.slots)
    runs = f"<br>open in {percent(share)} of {n} runs" if n > 1 else ""
    place = f"layer {module.layer}, {module.site}: {module.text}"
    return f"{place}<br>{thousands(module.parameters)} parameters, {_WORDS[module.sharing]}{runs}"
