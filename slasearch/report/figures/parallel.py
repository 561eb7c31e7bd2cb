"""Parallel coordinates: what the trials of the search chose, and what came out, one line for each.

Axes lie below each other, so that names and values have room on a phone and at half the width of a page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.distributions import IntDistribution

from slasearch.analysis.curves import Level
from slasearch.analysis.frames import StudyFrames
from slasearch.records import DIRECTIONS
from slasearch.report.figures._base import LegendItem, Panel, ReportFigure, note, panel_figure, thinned
from slasearch.report.figures._classes import class_legend, draw_class_legend, draw_lines, line_traces
from slasearch.report.figures._fields import choice_keys, choice_names
from slasearch.report.labels import level_label, short_factor, short_number, thousands
from slasearch.report.results import Results
from slasearch.report.settings import best_settings, by_settings
from slasearch.report.style import INK, MUTED, PAPER, compact, finish, new_figure, style
from slasearch.space.parameters import Parameter, parameters

__all__ = ["figures"]

MOST, ALWAYS = 400, 100
"""So many lines are drawn at most, and so many of the best always."""

_UNUSED = -0.07
"""Where a line passes an axis whose field the trial does not use."""

_SPREAD = 0.6
"""Share of a choice's width over which lines through it are spread."""

_FEW = 12
"""Whole numbers of so few values are spread like choices."""

_NAMES = {"score": "Score", "exported_parameters": "Exported parameters", "robustness": "Robustness"}


@dataclass(frozen=True)
class _Axis:
    """One axis: its name, the places (0 to 1) of its labels, and where each line passes it, with the value in words."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    places: tuple[float, ...]
    texts: tuple[str, ...]


def figures(results: Results) -> list[ReportFigure]:
    """The lines; none without complete trials of the search that have a score."""
    frames = results.frames
    settings = best_settings(frames)
    if settings.empty:
        return []
    trials = _drawn(frames, int(settings["trial_id"].iloc[0]))
    axes = tuple(_axes(frames, trials))
    complete = int(frames.search_trials("complete")["score"].notna().sum())
    legend = class_legend(len(trials))
    unused = any(place == _UNUSED for axis in axes for place in axis.places)
    text = note(
        f"lines: {len(trials)} of {complete} complete trials"
        + (f", the best {ALWAYS} by score and every so many of the others" if len(trials) < complete else "")
        + ", the best on top",
        "best trial: of the setting that is best by its mean over seed pairs" if by_settings(settings) else "",
        "axes as fields were sampled: logarithmic where they were; size is logarithmic",
        "lines through one choice are spread",
        *(key for field, levels in _choices(frames) for key in choice_keys([(field, levels)], _letters(levels))),
        "left of an axis: the field is not used" if unused else "",
        "search: " + results.counts_of("design", "optimise").text(),
    )
    return [
        ReportFigure(
            name="parallel",
            section="history",
            title="What trials chose, and what came out",
            caption="One line for each trial, from its settings to its results, shaded by the validation score.",
            note=text,
            alt=_spoken(axes, len(trials)),
            table=_table(frames, trials),
            draw=lambda: _draw(axes, legend, text),
            panels=lambda: (Panel("", _panel(axes, trials), wide=True),),
            legend=legend,
        )
    ]


def _drawn(frames: StudyFrames, best: int) -> pd.DataFrame:
    """The trials that are drawn: the best trial of the best setting, then all others by score."""
    complete = (
        frames.search_trials("complete").dropna(subset=["score"]).assign(other=lambda row: row["trial_id"] != best)
    )
    ordered = complete.sort_values(["other", "score", "trial_id"], ascending=[True, False, True], kind="stable")
    return ordered[thinned(np.arange(len(ordered)) < ALWAYS, MOST)]


def _table(frames: StudyFrames, trials: pd.DataFrame) -> pd.DataFrame:
    """One row for each line: `phase, trial_id, number`, the searched fields, the objectives."""
    objectives = [name for name in DIRECTIONS if trials[name].notna().any()]
    return trials[["phase", "trial_id", "number", *objectives]].merge(frames.params, on="trial_id", validate="1:1")


def _spoken(axes: tuple[_Axis, ...], count: int) -> str:
    best = ", ".join(f"{axis.name.lower()} {axis.texts[0]}" for axis in axes)
    return f"Lines of {count} trials over {len(axes)} axes. The best trial: {best}."


def _axes(frames: StudyFrames, trials: pd.DataFrame) -> Iterator[_Axis]:
    """The searched fields in the order of the study file, then the objectives."""
    params = frames.params.set_index("trial_id").loc[trials["trial_id"]]
    for field in parameters(frames.config):
        if field.name in params:
            yield _field_axis(field, params[field.name].tolist())
    for name in DIRECTIONS:
        values = trials[name].to_numpy(np.float64)
        if np.isfinite(values).any():
            yield _objective_axis(name, values)


def _field_axis(field: Parameter, stored: list[object]) -> _Axis:
    used = [value is not None and value == value for value in stored]
    cells = _cells(field)
    places = [
        _UNUSED if not known else field.share(value) + (_jitter(index) / cells if cells else 0.0)
        for index, (value, known) in enumerate(zip(stored, used, strict=True))
    ]
    texts = [level_label(_level(value)) if known else "not used" for value, known in zip(stored, used, strict=True)]
    name = short_factor(field.name)
    return _Axis(name[:1].upper() + name[1:], tuple(_field_ticks(field)), tuple(places), tuple(texts))


def _level(value: object) -> Level:
    return value if isinstance(value, str) else float(value) if isinstance(value, (int, float)) else str(value)


def _cells(field: Parameter) -> int:
    """How many values a field takes, if they are few; 0 for a range."""
    if field.choices:
        return len(field.choices)
    low, high = field.ends
    count = int(high) - int(low) + 1 if isinstance(field.distribution, IntDistribution) else 0
    return count if count <= _FEW else 0


def _jitter(index: int) -> float:
    """From −half to half of the spread, evenly filled by the golden ratio however many lines there are."""
    return _SPREAD * ((0.5 + index * 0.6180339887) % 1.0 - 0.5)


def _choices(frames: StudyFrames) -> Iterator[tuple[str, tuple[Level, ...]]]:
    """The fields that have an axis of choices, with these."""
    for field in parameters(frames.config):
        if field.choices and field.name in frames.params:
            yield field.name, _levels(field)


def _levels(field: Parameter) -> tuple[Level, ...]:
    return tuple(_level(field.encode(choice)) for choice in field.choices)


def _letters(levels: Sequence[Level]) -> int:
    """How many letters each choice has room for along an axis."""
    return max(4, 72 // len(levels))


def _field_ticks(field: Parameter) -> Iterator[tuple[float, str]]:
    """Every choice, or both ends of a range and what lies half way as it was sampled."""
    if field.choices:
        levels = _levels(field)
        for stored, name in zip(map(field.encode, field.choices), choice_names(levels, _letters(levels)), strict=True):
            yield field.share(stored), name
        return
    low, high = field.ends
    for stored in dict.fromkeys((low, field.middle, high)):
        yield field.share(stored), short_number(stored, 3)


def _objective_axis(name: str, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> _Axis:
    sized = name == "exported_parameters"
    shown = np.log10(np.maximum(values, 1.0)) if sized else values
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    places = np.where(np.isfinite(shown), (shown - low) / ((high - low) or 1.0), _UNUSED)
    middle = (low + high) / 2
    ticks = [
        (index / 2, compact(float(f"{10**value:.3g}")) if sized else f"{value:.3f}")
        for index, value in enumerate((low, middle, high))
    ]
    texts = ["missing" if math.isnan(value) else thousands(value) if sized else f"{value:.3f}" for value in values]
    return _Axis(_NAMES[name], tuple(ticks), tuple(places.tolist()), tuple(texts))


def _lines(axes: tuple[_Axis, ...]) -> list[list[tuple[float, float]]]:
    count = len(axes[0].places)
    return [[(axis.places[index], float(row)) for row, axis in enumerate(axes)] for index in range(count)]


# ---------------------------------------------------------------- print and screen


def _draw(axes: tuple[_Axis, ...], legend: tuple[LegendItem, ...], text: str) -> Figure:
    with style():
        figure, (ax,) = new_figure(1.5 + 0.56 * len(axes))
        draw_lines(ax, _lines(axes))
        for row, axis in enumerate(axes):
            _draw_axis(ax, row, axis)
        ax.set_xlim(-0.1, 1.06)
        ax.set_ylim(len(axes) - 0.55, -0.5)
        ax.set_axis_off()
        draw_class_legend(figure, legend)
        finish(figure, text)
    return figure


def _draw_axis(ax: Axes, row: int, axis: _Axis) -> None:
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.82, "boxstyle": "square,pad=0.12"}
    ax.hlines(row, 0, 1, color=INK, linewidth=1.1, zorder=5)
    ax.text(0, row - 0.13, axis.name, fontsize=9.5, weight="bold", va="bottom", ha="left", bbox=box, zorder=6)
    for place, label in axis.ticks:
        ax.vlines(place, row, row + 0.08, color=INK, linewidth=1.1, zorder=5)
        ax.text(place, row + 0.12, label, fontsize=8.5, va="top", ha="center", bbox=box, zorder=6)


def _panel(axes: tuple[_Axis, ...], trials: pd.DataFrame) -> go.Figure:
    figure = panel_figure("", "", height=60 + 62 * len(axes))
    names = [
        f"trial {number:g} ({phase}), score {score:.3f}"
        for number, phase, score in zip(trials["number"], trials["phase"], trials["score"], strict=True)
    ]
    texts = [[f"{name}<br>{axis.name}: {axis.texts[index]}" for axis in axes] for index, name in enumerate(names)]
    figure.add_traces(list(line_traces(_lines(axes), texts)))
    for row, axis in enumerate(axes):
        figure.add_shape(type="line", x0=0, x1=1, y0=row, y1=row, line={"color": INK, "width": 1.2})
        figure.add_annotation(
            x=0, y=row, yshift=13, text=f"<b>{axis.name}</b>", showarrow=False, xanchor="left", bgcolor=PAPER,
            opacity=0.88, borderpad=1, font={"size": 12, "color": INK},
        )  # fmt: skip
        for place, label in axis.ticks:
            figure.add_annotation(
                x=place, y=row, yshift=-11, text=label, showarrow=False, bgcolor=PAPER, opacity=0.88, borderpad=1,
                font={"size": 11, "color": MUTED},
            )  # fmt: skip
    figure.update_xaxes(visible=False, range=[-0.1, 1.06])
    figure.update_yaxes(visible=False, range=[len(axes) - 0.55, -0.55])
    figure.update_layout(hovermode="closest")
    return figure
