"""Paths on paper: one panel for each task, arranged so that its marks are as large as the page allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle

from slasearch.analysis.paths import PathModule, Sharing, TaskPath, TrialPaths
from slasearch.report.figures._path_grid import ROW, SITE_GAP, PathGrid, path_grid, route, size_of_rank
from slasearch.report.labels import slots_label, thousands
from slasearch.report.style import INK, MUTED, PAPER, WIDTH, Mark, finish, new_figure, style

__all__ = ["draw_paths", "draws_numbers"]

_PAGE = 9.6
"""Height in inches up to which a figure may grow before its marks become smaller."""

_LARGEST, _SMALLEST = 0.235, 0.075
"""Width of a mark in inches."""

_WIDEST = 2.0
"""How far marks side by side may stand apart to fill the page, in widths of a mark."""

_ABREAST = 3
"""Panels side by side: in narrower ones the words above a panel have no room."""

_HEAD, _FOOT, _SIDE = 0.62, 0.1, 0.34
"""Inches above, below and beside a panel."""

_TILE, _CLOSED, _LINE = "#f1f3f5", "#c3cad2", "#57606a"
"""Colours of a place, of a candidate that closed, and of the line."""

_SCALES = {"o": 0.93, "s": 0.8, "h": 0.98, "D": 0.68, "P": 0.9, "v": 0.88, "^": 0.88}
"""Sizes at which the shapes look alike."""

_KEYS = 7
"""Kinds in a row of the legend."""


@dataclass(frozen=True)
class _Sheet:
    """How panels stand on the page: rows and columns of them, the width of a mark and the whole height in inches.

    `pitch` is the distance of two marks side by side, in widths of a mark.
    """

    rows: int
    columns: int
    mark: float
    pitch: float
    height: float


def _sheet(paths: TrialPaths) -> _Sheet:
    """The arrangement with the largest marks; among equals the one with the fewest rows."""
    grid, tasks = path_grid(paths), len(paths.tasks)
    found = []
    for columns in range(1, min(tasks, _ABREAST) + 1):
        rows = math.ceil(tasks / columns)
        across = (WIDTH - 0.2 - columns * _SIDE) / (columns * (grid.width + 0.6))
        up = (_PAGE - 1.2 - rows * (_HEAD + _FOOT)) / (rows * grid.height)
        found.append((min(across, max(up, _SMALLEST), _LARGEST), rows, columns, across))
    mark, rows, columns, across = max(found, key=lambda item: (round(item[0], 3), -item[1]))
    pitch = min(max(1.0, across / mark), _WIDEST)
    return _Sheet(rows, columns, mark, pitch, 1.35 + rows * (_HEAD + _FOOT + grid.height * mark))


def draws_numbers(paths: TrialPaths) -> bool:
    """Whether marks are large enough to hold their rank; if not, it is their size."""
    return _sheet(paths).mark * 72 * 0.52 >= 6


def draw_paths(paths: TrialPaths, marks: dict[str, Mark], text: str) -> Figure:
    """The figure: a panel for each task, with `text` as the note below them.

    Args:
        paths: What is drawn.
        marks: How each kind of the pool is drawn.
        text: The note.
    """
    sheet = _sheet(paths)
    grid = path_grid(paths, sheet.pitch)
    with style():
        figure, axes = new_figure(sheet.height, sheet.rows, sheet.columns)
        for index, ax in enumerate(axes):
            if index >= len(paths.tasks):
                ax.set_axis_off()
                continue
            _frame(ax, grid, sheet, labels=index // sheet.columns == sheet.rows - 1)
            _title(ax, paths.tasks[index].task, sheet, several=len(paths.tasks) > 1)
            if index % sheet.columns == 0:
                ax.set_ylabel("Layer")
        _legend(figure, paths, marks)
        finish(figure, text)
        most = max(path.slots for path in paths.tasks)
        for ax, path in zip(axes, paths.tasks, strict=False):
            _Panel(ax, paths, grid, marks).draw(path, most)
    return figure


def _frame(ax: Axes, grid: PathGrid, sheet: _Sheet, *, labels: bool) -> None:
    """Axes and ticks of one panel; what is drawn inside needs the settled layout."""
    ax.grid(visible=False)
    ax.set_xlim(-0.3, grid.width + 0.3)
    ax.set_ylim(0, grid.height)
    ax.set_aspect("equal", anchor="NW")
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    every = max(1, math.ceil(0.15 / (sheet.mark * ROW)))
    shown = list(grid.rows)[::every]
    ax.set_yticks([grid.rows[layer] for layer in shown], [str(layer) for layer in shown])
    centres = [(left + right) / 2 for left, right in grid.sites.values()]
    ax.set_xticks(centres, list(grid.sites) if labels else [""] * len(centres))
    rooms = [(right - left + SITE_GAP) * sheet.mark for left, right in grid.sites.values()]
    if any(0.072 * len(site) > room for site, room in zip(grid.sites, rooms, strict=True)):
        steep = min(rooms) < 0.25
        for label in ax.get_xticklabels():
            label.set(rotation=90 if steep else 40, rotation_mode="anchor", ha="right", va="center" if steep else "top")


def _title(ax: Axes, task: str, sheet: _Sheet, *, several: bool) -> None:
    """The task's name, with room below it for what `_Panel` writes there."""
    room = int((WIDTH / sheet.columns - _SIDE) / 0.1)
    ax.set_title(task if len(task) <= room else f"{task[: room - 1]}…", pad=36 if several else 22)


def _legend(figure: Figure, paths: TrialPaths, marks: dict[str, Mark]) -> None:
    """Kinds in rows, and below them what the inside of a mark says."""
    keys: list[tuple[Artist, str]] = [
        (Line2D([], [], linestyle="", marker=mark.marker, color=mark.color, markersize=8), kind)
        for kind, mark in marks.items()
    ]
    rows = [keys[start : start + _KEYS] for start in range(0, len(keys), _KEYS)]
    if len(paths.tasks) > 1:
        rows.append([(_key(sharing), words) for sharing, words in _words(paths).items()])
    columns = max(len(row) for row in rows)
    blank = (Line2D([], [], linestyle=""), "")
    filled = [[*row, *[blank] * (columns - len(row))] for row in rows]
    handles, labels = zip(*(row[column] for column in range(columns) for row in filled), strict=True)
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=1.3, handletextpad=0.5)


def _key(sharing: Sharing) -> Artist:
    look = {"markerfacecolor": _fill(MUTED, sharing), "markeredgecolor": MUTED, "markeredgewidth": 1.2}
    return Line2D([], [], linestyle="", marker="o", markersize=8, **look)  # type: ignore[arg-type]


def _words(paths: TrialPaths) -> dict[Sharing, str]:
    return {"all": "shared by all", "some": "by some" if len(paths.tasks) > 2 else "in part", "own": "its own"}


def _fill(color: str, sharing: Sharing) -> str:
    """The inside of a mark: the colour itself, a pale one, or paper."""
    if sharing == "all":
        return color
    if sharing == "own":
        return PAPER
    parts = (int(color[index : index + 2], 16) for index in (1, 3, 5))
    return "#" + "".join(f"{round(255 - 0.32 * (255 - part)):02x}" for part in parts)


class _Panel:
    """Draws one task into axes whose place on the page is settled, so that marks can be as large as their places."""

    def __init__(self, ax: Axes, paths: TrialPaths, grid: PathGrid, marks: dict[str, Mark]) -> None:
        self.ax, self.paths, self.grid, self.marks = ax, paths, grid, marks
        self.unit = ax.get_window_extent().height / ax.figure.dpi * 72 / grid.height
        self.height = self.unit * grid.height
        self.mark = 0.96 * self.unit
        self.numbers = draws_numbers(paths)
        self.largest = max((module.rank or 1 for path in paths.tasks for module in path.modules), default=1)

    def draw(self, path: TaskPath, most: int) -> None:
        """Draws a task's path; `most` is the largest number of slots of any task."""
        self._tiles()
        line = route(self.grid, path.modules)
        if line:
            self._line(line)
        for module in path.modules:
            self._mark(module)
        self._heading(path, most)

    def _tiles(self) -> None:
        """The places, and a dot for each kind that could stand there."""
        places = {(layer, site) for layer, site, _ in self.paths.pool}
        for layer, site in sorted(places):
            left, right = self.grid.sites[site]
            self.ax.add_patch(
                FancyBboxPatch(
                    (left + 0.1, self.grid.rows[layer] - 0.48), right - left - 0.2, 0.96,
                    boxstyle="round,pad=0.17,rounding_size=0.25", facecolor=_TILE, edgecolor="none", zorder=1,
                )
            )  # fmt: skip
        dots = sorted((self.grid.columns[site, kind], self.grid.rows[layer]) for layer, site, kind in self.paths.pool)
        x, y = zip(*dots, strict=True)
        self.ax.scatter(x, y, s=(0.16 * self.mark) ** 2, color=_CLOSED, linewidths=0, zorder=2)

    def _line(self, line: list[tuple[float, float]]) -> None:
        x, y = zip(*line, strict=True)
        self.ax.plot(x, y, color=_LINE, linewidth=max(0.9, 0.11 * self.mark), alpha=0.75, zorder=3, clip_on=False,
                     solid_joinstyle="round")  # fmt: skip
        self.ax.annotate(
            "", (x[-1], y[-1] + 0.28), (x[-1], y[-1] - 0.1), zorder=3, annotation_clip=False,
            arrowprops={"arrowstyle": "-|>", "color": _LINE, "lw": 0, "mutation_scale": 0.75 * self.mark,
                        "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip

    def _mark(self, module: PathModule) -> None:
        mark = self.marks[module.kind]
        size = self.mark * _SCALES.get(mark.marker, 0.9)
        if not self.numbers and module.rank is not None:
            size *= size_of_rank(module.rank, self.largest)
        x, y = self.grid.at(module)
        fill = _fill(mark.color, module.sharing)
        self.ax.scatter(
            x, y, s=size**2, marker=mark.marker, color=fill, edgecolors=mark.color,
            linewidths=max(0.7, 0.085 * self.mark), zorder=4,
        )  # fmt: skip
        if self.numbers and module.rank is not None:
            self.ax.text(
                x, y, str(module.rank), ha="center", va="center_baseline", color=_ink(fill), zorder=5,
                fontsize=min(9.0, self.mark * (0.56, 0.46, 0.34)[min(2, len(str(module.rank)) - 1)]),
            )  # fmt: skip

    def _heading(self, path: TaskPath, most: int) -> None:
        """How large the path is, and a bar of its slots by who else passes them."""
        text = f"{slots_label(path.slots)} · {thousands(path.parameters)} parameters"
        text = text if path.slots else "no slot: head only"
        above = 1 + (22 if len(self.paths.tasks) > 1 else 8) / self.height
        self.ax.annotate(text, (0, above), xycoords="axes fraction", fontsize=8.5, color=MUTED)
        if len(self.paths.tasks) == 1:
            return
        left, whole = 0.0, 1 / max(1, most)
        for sharing in _words(self.paths):
            count = path.sharing[sharing]
            if not count:
                continue
            fill = _fill(MUTED, sharing)
            self.ax.add_patch(
                Rectangle(
                    (left, 1 + 7 / self.height), count * whole, 11 / self.height, transform=self.ax.transAxes,
                    facecolor=fill, edgecolor=MUTED, linewidth=0.9, clip_on=False, zorder=4,
                )
            )  # fmt: skip
            if count * whole * self.unit * (self.grid.width + 0.6) > 6 * len(str(count)) + 3:
                self.ax.text(
                    left + count * whole / 2, 1 + 12.3 / self.height, str(count), transform=self.ax.transAxes,
                    ha="center", va="center_baseline", fontsize=8, color=_ink(fill), zorder=5,
                )  # fmt: skip
            left += count * whole


def _ink(fill: str) -> str:
    """Black or white, whichever can be read on the colour."""
    red, green, blue = ((int(fill[index : index + 2], 16) / 255) ** 2.2 for index in (1, 3, 5))
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.26 else PAPER
