"""Fewer points for the screen: a browser draws some thousands, while the files beside the page have every one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

__all__ = ["MOST_POINTS", "thin"]

MOST_POINTS = 4_000
"""Points of one series in an interactive chart."""

_ALONG = ("x", "y", "z", "text", "hovertext", "customdata", "ids")


def thin(figure: go.Figure, most: int = MOST_POINTS) -> tuple[int, int]:
    """Leaves so many points of each long series: every k-th, of a line the ends and corners first.

    Returns:
        How many points the series that were thinned show now, and how many they have; `(0, 0)` if all are shown.
    """
    shown = total = 0
    for trace in figure.data:
        count = _length(trace)
        if count <= most:
            continue
        kept = _kept(trace, count, most)
        _take(trace, kept, count)
        if trace.mode is None or "markers" in trace.mode:
            shown, total = shown + len(kept), total + count
    return shown, total


def _length(trace: Any) -> int:
    """Points of a scatter; other kinds (bars, heat maps) are small as they are."""
    return len(trace.x) if trace.type == "scatter" and trace.x is not None else 0


def _kept(trace: Any, count: int, most: int) -> NDArray[np.int64]:
    places: NDArray[np.int64] = np.arange(count)
    if trace.mode == "lines":
        y = np.asarray(trace.y, dtype=np.float64)
        same = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
        places = places[np.concatenate([[True], ~same, [True]])]
        if np.isnan(y).any():  # several lines in one series: without a gap between them they would be joined
            return places
    stride = -(-len(places) // most)
    kept: NDArray[np.int64] = places[::stride]
    return kept if kept[-1] == places[-1] else np.append(kept, places[-1])


def _take(trace: Any, kept: NDArray[np.int64], count: int) -> None:
    _each(trace, _ALONG, kept, count)
    if trace.marker is not None:
        _each(trace.marker, ("color", "size", "opacity", "symbol"), kept, count)
        _each(trace.marker.line, ("color", "width"), kept, count)
    for error in (trace.error_x, trace.error_y):
        _each(error, ("array", "arrayminus"), kept, count)


def _each(holder: Any, names: Sequence[str], kept: NDArray[np.int64], count: int) -> None:
    for name in names:
        values = getattr(holder, name, None)
        if isinstance(values, (tuple, list, np.ndarray)) and len(values) == count:
            holder[name] = [values[index] for index in kept]
