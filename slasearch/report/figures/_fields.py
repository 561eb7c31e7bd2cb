"""What figures over searched fields share: axes of a field for paper and screen, and names that fit.

A field is drawn on the axis on which it was sampled: places are levels, their decadic logarithms, or positions of
choices. Both forms draw on these places, with the same ticks.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from slasearch.analysis.coordinates import DesignResponse, response_words
from slasearch.analysis.curves import Level, Scale
from slasearch.report.labels import factor_label, level_label, short_factor

__all__ = [
    "SPOKEN",
    "FieldAxis",
    "by_response",
    "choice_keys",
    "choice_names",
    "field_axis",
    "response_stem",
    "response_title",
    "set_field_axis",
    "set_panel_axis",
    "wrapped",
]


class _Answer(Protocol):
    @property
    def response(self) -> DesignResponse: ...


R = TypeVar("R", bound=_Answer)

SPOKEN = 6
"""Fields or pairs that an alternative text names with their numbers; a listener does not wait for twenty."""

_LONGEST_CHOICE = 20
"""Longer choices are cut off on an axis; tables have them whole."""

_MANY = 6
_LINE = 12
"""Of more choices than this, each has one line of so many letters on an axis."""


@dataclass(frozen=True)
class FieldAxis:
    """An axis over a field: its label with the unit, where each level lies, and ticks with their labels.

    `letters` is the room along the axis, in letters of its label.
    """

    label: str
    scale: Scale
    places: tuple[float, ...]
    ticks: tuple[float, ...]
    tick_labels: tuple[str, ...]
    letters: int

    @property
    def edges(self) -> list[float]:
        """Ends of the cells around the places, one more than places."""
        if len(self.places) == 1:
            return [self.places[0] - 0.5, self.places[0] + 0.5]
        middles = [(left + right) / 2 for left, right in pairwise(self.places)]
        return [2 * self.places[0] - middles[0], *middles, 2 * self.places[-1] - middles[-1]]

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of an axis with lines: a little room beside the outer levels, half a cell beside choices."""
        if self.scale == "category" or len(self.places) == 1:
            return self.edges[0], self.edges[-1]
        room = 0.03 * (self.places[-1] - self.places[0])
        return self.places[0] - room, self.places[-1] + room


def field_axis(field: str, levels: Sequence[Level], scale: Scale, letters: int = 40) -> FieldAxis:
    """The axis of a field over ascending levels (choices as they come), with as many ticks as have room."""
    label = factor_label(field)
    if scale == "category":
        positions = tuple(float(index) for index in range(len(levels)))
        return FieldAxis(label, scale, positions, positions, choice_names(levels), letters)
    numbers = [float(level) for level in levels]
    place = math.log10 if scale == "log" else float
    places = tuple(place(number) for number in numbers)
    tried = _log_ticks(numbers) if scale == "log" else []
    for ticks in [*tried, *_linear_ticks(numbers)]:
        found, names = tuple(place(tick) for tick in ticks), tuple(_short(tick) for tick in ticks)
        if _have_room(found, names, (places[-1] - places[0]) / letters):
            break
    return FieldAxis(label, scale, places, found, names, letters)


def choice_names(levels: Sequence[Level], most: int = _LONGEST_CHOICE) -> tuple[str, ...]:
    """What choices are called on an axis, each in at most so many letters.

    They are cut off, unless some could then not be told apart, or many would lie on each other: then they are A, B, C,
    and `choice_keys` says what these are.
    """
    labels = [level_label(level) for level in levels]
    if _lettered(labels, most):
        return tuple(_letter(place) for place in range(len(labels)))
    return tuple(_cut(label, most) for label in labels)


def choice_keys(fields: Iterable[tuple[str, Sequence[Level]]], most: int = _LONGEST_CHOICE) -> list[str]:
    """What letters stand for in a figure: a text for each field whose choices are called by them, each once."""
    found = {}
    for field, levels in fields:
        labels = [level_label(level) for level in levels]
        if _lettered(labels, most):
            meant = ", ".join(f"{_letter(place)}\u00a0=\u00a0{label}" for place, label in enumerate(labels))
            found[field] = f"{short_factor(field)}: {meant}"
    return list(found.values())


def _lettered(labels: Sequence[str], most: int) -> bool:
    crowded = len(labels) > _MANY and max(map(len, labels)) > min(most, _LINE)
    return crowded or len({_cut(label, most) for label in labels}) < len(labels)


def _cut(label: str, most: int) -> str:
    return label if len(label) <= most else f"{label[: most - 1].rstrip()}…"


def _letter(place: int) -> str:
    """From `A` to `Z`, then `AA`, `AB` and so on."""
    return (_letter(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)


def _have_room(places: Sequence[float], names: Sequence[str], letter: float) -> bool:
    """Whether labels at these places stay apart where one letter is so wide."""
    pairs = zip(pairwise(places), pairwise(names), strict=True)
    return all(
        right - left >= letter * (2 + (len(one) + len(next_one)) / 2) for (left, right), (one, next_one) in pairs
    )


def _linear_ticks(numbers: Sequence[float]) -> list[list[float]]:
    """Round numbers, from many to few; at last both ends."""
    low, high = min(numbers), max(numbers)
    whole = all(number.is_integer() for number in numbers)
    room = 1e-9 * (high - low)
    tried = []
    for most in (5, 4, 3, 2, 1):
        found = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=whole).tick_values(low, high) if high > low else ()
        tried.append([0.0 if abs(tick) < room else float(tick) for tick in found if low - room <= tick <= high + room])
    return [*(ticks for ticks in tried if len(ticks) > 1), [low, high] if high > low else [low]]


def _log_ticks(numbers: Sequence[float]) -> list[list[float]]:
    """1-2-5, 1-3 and whole decades, then every second, third, … decade: those with two to six ticks."""
    low, high = min(numbers) * (1 - 1e-9), max(numbers) * (1 + 1e-9)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tried = [[step * 10.0**power for power in powers for step in steps] for steps in ((1, 2, 5), (1, 3), (1,))]
    tried += [[10.0**power for power in powers if power % every == 0] for every in (2, 3, 4, 6)]
    inside = [[tick for tick in ticks if low <= tick <= high] for ticks in tried]
    return [ticks for ticks in inside if 1 < len(ticks) <= 6]


def _short(value: float) -> str:
    """`0.001`, `1e-5`: a number on a narrow axis."""
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def set_field_axis(ax: Axes, which: str, axis: FieldAxis, *, cells: bool = False, size: float = 10) -> None:
    """Draws the axis of a printed panel, its label in that size; with `cells` it ends where the cells end."""
    low, high = (axis.edges[0], axis.edges[-1]) if cells else axis.ends
    label = wrapped(axis.label, axis.letters)
    if which == "y":
        ax.set_yticks(axis.ticks, [_lines(name) for name in axis.tick_labels])
        ax.set_ylim(low, high)
        ax.set_ylabel(label, fontsize=size)
        return
    names = [textwrap.fill(name, max(4, axis.letters // len(axis.ticks) - 1), break_long_words=False)
             for name in axis.tick_labels]  # fmt: skip
    longest = [max(map(len, name.split("\n"))) for name in names]
    apart = axis.letters / len(names)
    upright = axis.scale == "category" and any((one + other) / 2 + 1 > apart for one, other in pairwise(longest))
    if upright:
        ax.set_xticks(axis.ticks, [_lines(name) for name in axis.tick_labels], rotation=90)
    else:
        ax.set_xticks(axis.ticks, names)
    ax.set_xlim(low, high)
    ax.set_xlabel(label, fontsize=size)


def _lines(name: str) -> str:
    return textwrap.fill(name, _LINE, break_long_words=False)


def set_panel_axis(figure: go.Figure, which: str, axis: FieldAxis, *, cells: bool = False) -> None:
    """The same axis of an interactive chart."""
    ends = [axis.edges[0], axis.edges[-1]] if cells else list(axis.ends)
    update = figure.update_yaxes if which == "y" else figure.update_xaxes
    update(
        tickvals=list(axis.ticks),
        ticktext=[_lines(name).replace("\n", "<br>") for name in axis.tick_labels],
        range=ends,
    )


def wrapped(label: str, width: int, join: str = "\n") -> str:
    """A label on as many lines as it needs; its unit, and the second field of a pair, begin a line."""
    if len(label) <= width:
        return label
    parts = label.replace(" (", "\n(").replace(" × ", " ×\n").split("\n")
    return join.join(line for part in parts for line in textwrap.wrap(part, width, break_long_words=False))


def by_response(found: Iterable[R]) -> list[tuple[DesignResponse, tuple[R, ...]]]:
    """Results by response, both in the order in which they come."""
    grouped: dict[DesignResponse, list[R]] = {}
    for item in found:
        grouped.setdefault(item.response, []).append(item)
    return [(response, tuple(items)) for response, items in grouped.items()]


def response_title(response: DesignResponse) -> str:
    """`Score`, `Log size`: a panel's title."""
    words = response_words(response)
    return f"{words[:1].upper()}{words[1:]}"


def response_stem(response: DesignResponse) -> str:
    """What a response is called in the names of files."""
    return "size" if response == "exported_parameters" else response
