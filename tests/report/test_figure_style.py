"""What all figures share: series that can be told apart, and labels, legends and titles that have room."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.lines import Line2D
from synthetic import RANKS

from slasearch.analysis.curves import Curve, CurvePoint, Series
from slasearch.analysis.intervals import t_interval
from slasearch.registry import CONTROLS, KINDS
from slasearch.report.figures._base import AxisRange, LegendItem
from slasearch.report.figures._path_grid import kind_marks
from slasearch.report.figures.curves import CurveGrid, draw_grid, grid_panels
from slasearch.report.figures.pareto_robustness import _ticks
from slasearch.report.figures.sensitivity import _spoken
from slasearch.report.style import (
    compact,
    count_ticks,
    finish,
    legend_above,
    new_figure,
    role_marks,
    series_marks,
    state_marks,
    style,
)

CHOICES = ('["attn.q", "attn.v"]', '["attn.out"]', '["attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out"]',
           '["ffn.in", "ffn.out"]')  # fmt: skip
TASKS = tuple(f"task {place}" for place in range(9))


def grid_of(tasks: tuple[str, ...], titles: tuple[str, ...] = ("", "")) -> CurveGrid:
    """Two panels side by side over choices with long names."""
    series = tuple(
        Series(task, tuple(CurvePoint(choice, t_interval([0.7, 0.8]), (0.7, 0.8), (1, 2)) for choice in CHOICES))
        for task in tasks
    )
    curve = Curve(RANKS, "score", "category", series, 8, 0, "by hand")
    marks = series_marks(tasks)
    return CurveGrid(
        curves=(curve,) * len(titles),
        titles=titles,
        x_labels=("Sites in the pool",) * len(titles),
        y_label="Score",
        marks=marks,
        legend=tuple(LegendItem(task, task, marks[task]) for task in tasks),
        note="",
        barred=tasks,
    )


def test_the_alternative_text_names_the_highest_level_between_the_ends() -> None:
    values = {"[1]": (0.7, 0.72), "[4]": (0.8, 0.82), "[1, 4]": (0.75, 0.75)}
    points = tuple(CurvePoint(level, t_interval(found), found, (1, 2)) for level, found in values.items())
    curve = Curve(RANKS, "score", "category", (Series("mean", points),), 6, 0, "by hand")
    assert _spoken(curve, "score") == "Ranks in the pool: mean score 0.71 at 1, 0.75 at 1 + 4, highest 0.81 at 4."
    ends = replace(curve, series=(Series("mean", points[:2]),))
    assert _spoken(ends, "score") == "Ranks in the pool: mean score 0.71 at 1, 0.81 at 4."


def test_relatives_have_lines_of_their_own() -> None:
    marks = role_marks(["winner", *(f"control:{name}" for name in CONTROLS.names())]).values()
    assert len({(mark.color, mark.line) for mark in marks}) == len(marks)
    assert len({(mark.color, mark.dash) for mark in marks}) == len(marks)


def test_twelve_tasks_have_marks_of_their_own() -> None:
    marks = series_marks([f"task {place}" for place in range(12)]).values()
    assert len({(mark.color, mark.symbol) for mark in marks}) == 13
    assert len({(mark.color, str(mark.marker), mark.line) for mark in marks}) == 13


def test_every_mark_has_its_own_form_in_the_page() -> None:
    """What a legend of the page shows is what its chart draws."""
    marks = [*role_marks(["winner", *(f"control:{name}" for name in CONTROLS.names())]).values()]
    marks += [*state_marks().values(), *series_marks(TASKS).values(), *kind_marks(KINDS.names()).values()]
    template = files("slasearch.report").joinpath("template.html").read_text("utf8")
    drawn = set(re.findall(r'item\.mark\.symbol == "([a-z0-9-]+)"', template))
    assert {mark.symbol for mark in marks} <= drawn


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (33_600, 38_300),
        (30_300, 38_500),
        (8_400, 9_300),
        (1_630, 2_350),
        (9_050, 9_110),
        (2_000, 40_000),
        (3_700, 10_900),
        (3, 5e7),
    ],
)
def test_an_axis_of_sizes_has_ticks_in_sight_however_short_it_is(low: float, high: float) -> None:
    ticks = count_ticks(low, high)
    assert 2 <= len(ticks) <= 10
    assert low <= ticks[0] < ticks[-1] <= high
    assert all(compact(tick) == compact(float(f"{tick:.6g}")) for tick in ticks)
    assert count_ticks(low, low) == [low]
    half = _ticks(AxisRange(math.log10(low), math.log10(high), cut=False))
    assert 2 <= len(half) <= 6
    assert set(half) <= set(ticks)


def test_names_of_choices_do_not_touch() -> None:
    figure = draw_grid(grid_of(TASKS[:2]))
    for axes in figure.axes[:2]:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(boxes) == len(CHOICES)
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    for panel in grid_panels(grid_of(TASKS[:2])):
        assert max(len(line) for name in panel.figure.layout.xaxis.ticktext for line in name.split("<br>")) <= 12


def test_many_series_stand_beside_their_own_choice() -> None:
    grid = grid_of(TASKS)
    axes = draw_grid(grid).axes[0]
    low, high = axes.get_xlim()
    points = [found for found in axes.collections if isinstance(found, PathCollection)]
    places = sorted({round(float(x), 9) for found in points for x, _ in found.get_offsets()})
    assert len(places) == len(CHOICES) * len(TASKS)
    assert low < places[0]
    assert places[-1] < high
    gaps = [right - left for left, right in pairwise(places)]
    assert max(gaps[:8]) < gaps[8], "series of one choice stand closer than those of two"
    lines = [line for found in axes.collections if isinstance(found, LineCollection) for line in found.get_segments()]
    assert 0 < max(line[1][0] - line[0][0] for line in lines) < gaps[0], "means of two series do not touch"
    (panel, _) = grid_panels(grid)
    assert all(low < x < high for trace in panel.figure.data for x in trace.x)


@pytest.mark.parametrize(("length", "columns"), [(5, 4), (16, 2), (40, 1)])
def test_legends_take_as_many_columns_as_fit(length: int, columns: int) -> None:
    with style():
        figure, _ = new_figure(3)
        legend_above(figure, [Line2D([], []) for _ in range(5)], [f"{place}".ljust(length, "m") for place in range(5)])
        finish(figure, "")
    (legend,) = figure.legends
    assert legend.get_window_extent().x1 <= figure.bbox.width
    assert legend._ncols == columns


@pytest.mark.parametrize(
    "title", ["a_task_with_a_name_without_any_end_at_all_" * 2, "Trial 12 (best by score and robustness)"]
)
def test_titles_end_where_their_panel_does(title: str) -> None:
    figure = draw_grid(grid_of(TASKS[:2], (title, title)))
    boxes = [axes.title.get_window_extent() for axes in figure.axes[:2]]
    titles = [axes._left_title.get_window_extent() for axes in figure.axes[:2]]  # type: ignore[attr-defined]
    assert all(box.width == 0 or box.x1 <= figure.bbox.width for box in boxes)
    assert titles[0].x1 < titles[1].x0
    assert titles[1].x1 <= figure.bbox.width
