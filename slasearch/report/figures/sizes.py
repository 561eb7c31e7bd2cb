"""Score against size, method by method: each study one size, and a panel for all studies of the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slasearch.analysis.by_size import SizedArm
from slasearch.analysis.measure import Measure
from slasearch.analysis.roles import role_label
from slasearch.report.figures._base import note
from slasearch.report.style import (
    Mark,
    compact_axis,
    count_ticks,
    finish,
    legend_above,
    new_figure,
    plain_ticks,
    role_marks,
    save,
    set_title,
    style,
)
from slasearch.storage.places import disk_errors

__all__ = ["write_sizes"]


def write_sizes(arms: Sequence[SizedArm], measure: Measure, path: Path) -> None:
    """Draws the figure into a file of one of `slasearch.report.style.FORMATS`. Arms without parameters are level lines.

    Raises:
        StorageError: The disk refuses.
    """
    with style(), disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        save(_drawn(arms, measure), path, path.suffix.removeprefix("."))


def _drawn(arms: Sequence[SizedArm], measure: Measure) -> Figure:
    roles = list(dict.fromkeys(arm.name.role for arm in arms))
    marks = role_marks(roles)
    panels = list(dict.fromkeys(arm.tasks for arm in arms))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(0.9 + 2.9 * rows, rows, columns)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, tasks in zip(axes, panels, strict=False):
        _draw_panel(ax, [arm for arm in arms if arm.tasks == tasks], marks)
        if len(panels) > 1:
            set_title(ax, ", ".join(tasks), columns)
    handles = [
        Line2D([], [], color=mark.color, marker=mark.marker, markersize=6, linewidth=mark.width, linestyle=mark.line)
        for mark in marks.values()
    ]
    legend_above(figure, handles, list(map(role_label, roles)), handlelength=4)
    finish(figure, _note(arms, measure))
    return figure


def _note(arms: Sequence[SizedArm], measure: Measure) -> str:
    runs = sorted({arm.score.n for arm in arms})
    several = max(len(arm.tasks) for arm in arms) > 1
    return note(
        f"markers: mean scores over {' or '.join(map(str, runs))} runs",
        "the mean over tasks" if several else "",
        "bars: 95 % t-intervals over runs",
        measure.words,
    )


def _draw_panel(ax: Axes, arms: Sequence[SizedArm], marks: dict[str, Mark]) -> None:
    for role, mark in marks.items():
        found = [arm for arm in arms if arm.name.role == role]
        for arm in (arm for arm in found if not arm.parameters.mean):
            ax.axhline(arm.score.mean, color=mark.color, linewidth=mark.width, linestyle=(0, (4, 2)), zorder=2)
        sized = [arm for arm in found if arm.parameters.mean]
        places, scores = [arm.parameters.mean for arm in sized], [arm.score.mean for arm in sized]
        ax.plot(places, scores, color=mark.color, linewidth=mark.width, linestyle=mark.line, alpha=0.75, zorder=3)
        for place, arm in zip(places, sized, strict=True):
            if arm.score.low is not None and arm.score.high is not None:
                ax.vlines(place, arm.score.low, arm.score.high, color=mark.color, linewidth=1.2, alpha=0.6, zorder=2.5)
        ax.scatter(
            places, scores, s=48, color=mark.color, marker=mark.marker, edgecolors="white", linewidths=0.8, zorder=4
        )
    sizes = [arm.parameters.mean for arm in arms if arm.parameters.mean]
    if sizes:
        ax.set_xscale("log")
        ends = min(sizes) / 1.4, max(sizes) * 1.4
        ax.set_xticks(count_ticks(*ends))
        ax.minorticks_off()
        ax.set_xlim(*ends)
    compact_axis(ax, "x")
    plain_ticks(ax)
    ax.set_xlabel("Exported parameters")
    ax.set_ylabel("Score")
