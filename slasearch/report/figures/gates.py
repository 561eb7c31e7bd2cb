"""Gate heat map: for each task which places stay open, layer by layer, as a share over slots and seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from slasearch.analysis.structure import GateMap
from slasearch.report.figures._base import Panel, ReportFigure, note, panel_figure
from slasearch.report.labels import percent
from slasearch.report.results import Results
from slasearch.report.style import INK, finish, new_figure, style

__all__ = ["figures", "gate_table"]

_SCALE = "Blues"
_SCALE_PLOTLY = [[0.0, "#f7fbff"], [0.25, "#c6dbef"], [0.5, "#6baed6"], [0.75, "#2171b5"], [1.0, "#08306b"]]


def figures(results: Results) -> list[ReportFigure]:
    """The heat map; none without stored gates."""
    gates = results.gates
    if gates is None:
        return []
    text = note(
        "share of a place's slots that stay open, mean over runs",
        "empty: no slot in the pool",
        f"trial {gates.number}: {gates.method}",
        *gates.warnings,
    )
    return [
        ReportFigure(
            name="gates",
            section="structure",
            title="Which places stay open",
            caption="Rows are layers, the input at the bottom; columns are places and kinds of module.",
            note=text,
            alt=_spoken(gates, results.open_shares()),
            table=gate_table(gates),
            draw=lambda: _draw(gates, text),
            panels=lambda: tuple(
                Panel(_title(gates, index), _panel(gates, index)) for index in range(len(gates.tasks))
            ),
        )
    ]


def gate_table(gates: GateMap) -> pd.DataFrame:
    """Tidy: one row for each task, layer and place that has a slot."""
    index = pd.MultiIndex.from_product([gates.tasks, gates.layers, gates.places], names=["task", "layer", "place"])
    columns = {"open_share": gates.frequency.ravel(), "openness": gates.openness.ravel()}
    return pd.DataFrame(columns, index=index).dropna(subset=["open_share"]).assign(n=gates.n).reset_index()


def _spoken(gates: GateMap, shares: dict[str, float]) -> str:
    parts = [
        f"{task}: {percent(shares[task])} of all slots open, most at {_most_open(gates, cells)}"
        for task, cells in zip(gates.tasks, gates.frequency, strict=True)
    ]
    return "Heat map of open gates. " + "; ".join(parts) + "."


def _most_open(gates: GateMap, cells: NDArray[np.float64]) -> str:
    """The place with the largest share; of several that have it, how many there are."""
    best = np.argwhere(cells == np.nanmax(cells))
    if len(best) > 1:
        return f"{len(best)} places alike ({percent(float(np.nanmax(cells)))})"
    ((layer, place),) = best
    return f"layer {gates.layers[layer]} {gates.places[place]}"


def _draw(gates: GateMap, text: str) -> Figure:
    rows, columns = len(gates.tasks), 1
    cell = min(0.34, 2.6 / max(1, len(gates.layers)))
    height = 1.7 + rows * (cell * len(gates.layers) + 0.45) + 0.055 * max(len(place) for place in gates.places)
    with style():
        figure, axes = new_figure(height, rows, columns, sharex=True)
        for index, ax in enumerate(axes):
            image = _draw_task(ax, gates, index)
        axes[-1].set_xticks(range(len(gates.places)), gates.places, rotation=40, ha="right", rotation_mode="anchor")
        bar = figure.colorbar(image, ax=axes, pad=0.015, aspect=30, shrink=min(1.0, 0.5 + 0.2 * rows))
        bar.set_label("Share of open slots")
        bar.outline.set_visible(False)
        finish(figure, text)
    return figure


def _draw_task(ax: Axes, gates: GateMap, index: int) -> AxesImage:
    cells = gates.frequency[index]
    ax.grid(visible=False)
    ax.set_facecolor("#f3f4f6")
    image = ax.imshow(cells, cmap=_SCALE, vmin=0, vmax=1, origin="lower", aspect="auto", interpolation="nearest")
    ax.set_xticks(np.arange(cells.shape[1] - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(cells.shape[0] - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5, visible=True)
    ax.tick_params(which="both", length=0)
    ax.set_yticks(range(len(gates.layers)), [str(layer) for layer in gates.layers])
    ax.set_ylabel("Layer")
    ax.set_title(_title(gates, index))
    for spine in ax.spines.values():
        spine.set_visible(False)
    if cells.size <= 120:
        _write_shares(ax, cells)
    return image


def _title(gates: GateMap, index: int) -> str:
    stability = dict(gates.stability)[gates.tasks[index]]
    agreement = "" if stability is None else f" · runs agree {stability:.2f} (Jaccard)"
    return f"{gates.tasks[index]}{agreement}"


def _write_shares(ax: Axes, cells: NDArray[np.float64]) -> None:
    for (row, column), share in np.ndenumerate(cells):
        if not math.isnan(share):
            ax.text(
                column, row, _short(share), ha="center", va="center",
                fontsize=8, color="white" if share > 0.55 else INK,
            )  # fmt: skip


def _short(share: float) -> str:
    """`0`, `.33`, `1`: what fits into a cell."""
    return f"{share:g}" if share in (0.0, 1.0) else f"{share:.2f}"[1:]


def _panel(gates: GateMap, index: int) -> go.Figure:
    figure = panel_figure("", "Layer", height=130 + 34 * len(gates.layers))
    cells = gates.frequency[index]
    figure.add_trace(
        go.Heatmap(
            z=[[None if math.isnan(value) else value for value in row] for row in cells.tolist()],
            x=list(gates.places), y=[str(layer) for layer in gates.layers], zmin=0, zmax=1,
            colorscale=_SCALE_PLOTLY, xgap=2, ygap=2, colorbar={"thickness": 10, "outlinewidth": 0},
            hovertemplate="layer %{y}, %{x}: %{z:.2f} open<extra></extra>", hoverongaps=False,
        )
    )  # fmt: skip
    figure.update_xaxes(showgrid=False, ticks="", showline=False, tickangle=-40)
    figure.update_yaxes(showgrid=False, ticks="", showline=False, type="category")
    return figure
