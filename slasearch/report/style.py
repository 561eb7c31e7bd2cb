"""How figures look: one palette that colour-blind readers can tell apart, sizes that survive half width, no dates.

Colours are Okabe and Ito's (2008). Every series also has its own marker, so that no reading depends on colour alone.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from slasearch.analysis.frames import MEAN

__all__ = [
    "ACCENT",
    "DARK",
    "DENSE",
    "FORMATS",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "VERMILION",
    "WIDTH",
    "Mark",
    "broken",
    "compact",
    "compact_axis",
    "count_ticks",
    "finish",
    "legend_above",
    "level_ticks",
    "new_figure",
    "plain_ticks",
    "role_marks",
    "save",
    "series_marks",
    "set_title",
    "state_marks",
    "style",
]

INK, MUTED, GRID, PAPER = "#1f2328", "#656d76", "#d8dee4", "#ffffff"
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
ACCENT = BLUE
WIDTH = 7.2
"""Width of every figure in inches; at half of it the smallest text is still 4.5 pt."""

DENSE = 5_000
"""More points than this are drawn as pixels inside SVG and PDF."""

DARK = {
    INK: "#e6edf3", MUTED: "#9198a1", GRID: "#2d333b", PAPER: "#12171e", BLUE: "#3d9be0", VERMILION: "#f2793a",
    "rgba(31,35,40,": "rgba(230,237,243,", "#b4bac1": "#4a525b",
    "#f7fbff": "#18222d", "#c6dbef": "#1e3f60", "#6baed6": "#2f77ad", "#2171b5": "#69b1e6", "#08306b": "#d9ecfb",
}  # fmt: skip
"""Colours of the interactive figures and what stands for them on a dark screen."""

FORMATS = ("png", "svg", "pdf")
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "savefig.dpi": 200,
    "svg.hashsalt": "slasearch",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Mark:
    """How a series is drawn, in matplotlib's words (`marker`) and in plotly's (`symbol`).

    `dashes` of its line are lengths on and off in units of its width; without any the line is solid.
    """

    color: str
    marker: Any
    symbol: str
    width: float = 1.8
    dashes: tuple[float, ...] = ()

    @property
    def line(self) -> Any:
        """Its line as matplotlib takes it."""
        return (0, self.dashes) if self.dashes else "-"

    @property
    def dash(self) -> str:
        """Its line as plotly and SVG take it."""
        return ",".join(f"{self.width * length:.3g}" for length in self.dashes) or "solid"


_LONG, _SHORT, _DOTS, _MIXED, _DOUBLE = (8, 2), (4, 1.5), (1, 1.2), (6, 1.5, 1, 1.5), (6, 1.5, 1, 1.5, 1, 1.5)
_MARKS = (
    Mark(BLUE, "o", "circle"),
    Mark(VERMILION, "s", "square"),
    Mark(GREEN, "^", "triangle-up"),
    Mark(PINK, "D", "diamond"),
    Mark(ORANGE, "v", "triangle-down"),
    Mark(SKY, "P", "cross"),
    Mark(BLUE, "X", "x", dashes=_SHORT),
    Mark(VERMILION, "p", "pentagon", dashes=_SHORT),
    Mark(GREEN, "<", "triangle-left", dashes=_SHORT),
    Mark(PINK, "h", "hexagon", dashes=_SHORT),
    Mark(ORANGE, ">", "triangle-right", dashes=_SHORT),
    Mark(SKY, "*", "star", dashes=_SHORT),
)
_ROLE_MARKS = {
    "winner": Mark(BLUE, "o", "circle", 2.4),
    "control:lora": Mark(VERMILION, "s", "square"),
    "control:lora_gradient": Mark(VERMILION, (4, 1, 45), "star-square", dashes=_SHORT),
    "control:lora_r8": Mark(VERMILION, "p", "pentagon", dashes=_DOTS),
    "control:adalora": Mark(VERMILION, "<", "triangle-left", dashes=_MIXED),
    "control:adalora_pool": Mark(VERMILION, ">", "triangle-right", dashes=_DOUBLE),
    "control:lora_xs": Mark(VERMILION, "d", "diamond-tall", dashes=_LONG),
    "control:prefix": Mark(PINK, "v", "triangle-down"),
    "control:prefix_gated": Mark(PINK, (6, 1, 0), "hexagram", dashes=_SHORT),
    "control:bottleneck": Mark(PINK, "P", "cross", dashes=_DOTS),
    "control:bitfit": Mark(PINK, "X", "x", dashes=_MIXED),
    "control:fusion": Mark(PINK, "h", "hexagon", dashes=_LONG),
    "control:all_open": Mark(ORANGE, "8", "octagon"),
    "control:shared": Mark(ORANGE, "H", "hexagon2", dashes=_SHORT),
    "control:random": Mark(GREEN, "^", "triangle-up"),
    "control:random_best": Mark(GREEN, "*", "star", dashes=_SHORT),
    "control:linear_probe": Mark(MUTED, "D", "diamond"),
    "control:full_fine_tuning": Mark(INK, (4, 1, 0), "star-diamond"),
}
"""Relatives share a colour: LoRAs, modules of other sorts, whole or shared pools, random structures, the two ends.

Their lines have dashes of their own.
"""


def series_marks(tasks: Sequence[str]) -> dict[str, Mark]:
    """A mark for each task (repeating after twelve) and a heavy dark one for the mean."""
    marks = {task: _MARKS[index % len(_MARKS)] for index, task in enumerate(tasks)}
    return {**marks, MEAN: Mark(INK, "o", "circle", 2.6)}


def role_marks(roles: Sequence[str]) -> dict[str, Mark]:
    """A mark for the winner and each control; those without one of their own share a colour."""
    spare = iter([replace(mark, color=SKY) for mark in _MARKS] * (1 + len(roles)))
    return {role: _ROLE_MARKS[role] if role in _ROLE_MARKS else next(spare) for role in roles}


def state_marks() -> dict[str, Mark]:
    """A mark for each state in which a trial ends."""
    return {
        "complete": Mark(BLUE, "o", "circle"),
        "pruned": Mark(ORANGE, "v", "triangle-down"),
        "fail": Mark(VERMILION, "x", "x-thin"),
    }


@contextmanager
def style() -> Iterator[None]:
    """Everything is drawn and saved inside this, whatever the user's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # type: ignore[arg-type]
        yield


def new_figure(height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, list[Axes]]:
    """A figure of full width and its axes, row by row. `height` is in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.04)  # type: ignore[union-attr,call-arg]
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    return figure, list(axes.flat)


def finish(figure: Figure, note: str) -> None:
    """Puts the note under the axes (how many trials, what is missing, what the interval is) and fixes the layout.

    The layout is settled once, so that every format shows the same picture.
    """
    figure.supxlabel(note, fontsize=8.5, color=MUTED, x=0.01, ha="left")
    figure.draw_without_rendering()
    figure.set_layout_engine(None)


def legend_above(
    figure: Figure, handles: Sequence[Any], labels: Sequence[str], most: int = 4, **spacing: float
) -> None:
    """A legend above all axes in at most so many columns, and no more than the figure is wide."""
    for columns in range(min(most, len(labels)), 0, -1):
        legend = figure.legend(handles, labels, loc="outside upper left", ncols=columns, **spacing)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def set_title(axes: Axes, title: str, columns: int) -> None:
    """The title of one of so many panels beside each other, on two lines where it is long."""
    room = int((WIDTH / columns - 0.6) / 0.1)
    cut = title if len(title) <= 2 * room else f"{title[: 2 * room - 1]}…"
    axes.set_title(textwrap.fill(cut, room, max_lines=2, placeholder="…"))


def level_ticks(axes: Axes, levels: Sequence[float], places: Sequence[float]) -> None:
    """Ticks of an x axis at the places of the levels that were run, leaving out those whose labels would touch."""
    ordered = sorted(zip(places, levels, strict=True))
    along = [math.log10(place) if axes.get_xscale() == "log" else place for place, _ in ordered]
    shown: list[int] = []
    for index, place in enumerate(along):
        if not shown or place - along[shown[-1]] >= 0.11 * (along[-1] - along[0]):
            shown.append(index)
    axes.set_xticks([ordered[index][0] for index in shown], [f"{ordered[index][1]:g}" for index in shown])
    axes.xaxis.set_minor_locator(NullLocator())


def broken(label: str, most: int = 34) -> str:
    """A long axis label on two lines, its unit on the second."""
    name, bracket, unit = label.partition(" (")
    return f"{name}\n({unit}" if bracket and len(label) > most else label


def plain_ticks(axes: Axes, which: str = "y", most: int = 6) -> None:
    """At most so many round ticks on a linear axis."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))


def count_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis of counts from `low` to `high`, both above 0: 1, 2 and 5 times powers of ten.

    Over more than three decades powers of ten alone, within a factor of three more of them, and round steps as on a
    linear axis where of these fewer than two are in sight.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps: tuple[float, ...] = (1,) if last - first > 3 else (1, 2, 5)
    if high <= 3 * low:
        steps = (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    found = [tick for tick in ticks if low <= tick <= high]
    if len(found) > 1:
        return found
    even = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in even if low <= tick <= high] or [low]


def compact(value: float, _: object = None) -> str:
    """`950`, `12k`, `1.5M`: parameters on an axis."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def compact_axis(axes: Axes, which: str) -> None:
    """Labels an axis of parameters compactly."""
    (axes.yaxis if which == "y" else axes.xaxis).set_major_formatter(FuncFormatter(compact))


def save(figure: Figure, path: Path, format_name: str) -> None:
    """Writes one picture: the same figure gives the same bytes, whenever and wherever."""
    figure.savefig(path, format=format_name, metadata=_METADATA[format_name])
