"""What was found of the shape of a response over a design: where along a field it is best, and where over two.

Only what is told is said: the interval at the best place lies apart from that at the worst, and two fields are said to
act together only where the interval of their share of variance lies above 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.coordinates import DesignResponse
from slasearch.analysis.shape import ResponseLine, ResponseSurface
from slasearch.records import DIRECTIONS
from slasearch.report.finding import NAMED, Finding
from slasearch.report.labels import number, short_factor, spoken_level, thousands, with_ends
from slasearch.report.results import Results
from slasearch.report.share_findings import design_caution

__all__ = ["shape_findings"]

Floats = NDArray[np.float64]


def shape_findings(results: Results) -> Iterator[Finding]:
    """For each response where pairs of fields that act together are best, then where its strongest fields are."""
    together = _together(results)
    for surface in results.surfaces:
        known = together.get((surface.response, frozenset((surface.x_field, surface.y_field))), surface.together)
        if known is not False:
            yield from _surface(surface, together=bool(known))
    for response in dict.fromkeys(line.response for line in results.lines):
        told = [found for line in results.lines if line.response == response and (found := _line(line))]
        for _, text in sorted(told, key=lambda item: -item[0])[:NAMED]:
            yield Finding("Shape", text)
    said = [*(one.warnings for one in results.surfaces), *(one.warnings for one in results.lines)]
    for warning in dict.fromkeys(chain.from_iterable(said)):
        yield design_caution(results, warning)


def _together(results: Results) -> dict[tuple[DesignResponse, frozenset[str]], bool]:
    """Whether the share of variance of each pair is told from nothing; some designs say nothing of pairs."""
    return {(item.response, frozenset(pair.fields)): pair.low > 0 for item in results.sobol for pair in item.second}


@dataclass(frozen=True)
class _Values:
    """A response at some places with the ends of its intervals; NaN where nothing is known."""

    response: DesignResponse
    mean: Floats
    low: Floats
    high: Floats

    @property
    def upwards(self) -> bool:
        return DIRECTIONS[self.response] == "maximize"

    @property
    def best(self) -> int:
        """Index into the places, one after another."""
        return int(np.nanargmax(self.mean) if self.upwards else np.nanargmin(self.mean))

    @property
    def worst(self) -> int:
        return int(np.nanargmin(self.mean) if self.upwards else np.nanargmax(self.mean))

    def better(self, one: int, other: int) -> bool:
        """Whether the interval at one place lies apart from that at another, on the better side."""
        low, high = self.low.ravel(), self.high.ravel()
        return bool(low[one] > high[other] if self.upwards else high[one] < low[other])

    def text(self, place: int) -> str:
        """`0.842 [0.835, 0.849]`."""
        write = thousands if self.response == "exported_parameters" else number
        return with_ends(write, *(float(values.ravel()[place]) for values in (self.mean, self.low, self.high)))

    def words(self) -> tuple[str, str, str]:
        """What is best, and what the ends are called: `the score is`, `best`, `lowest`."""
        if self.response == "exported_parameters":
            return "exported parameters are", "fewest", "most"
        return f"the {self.response} is", "best", "lowest"


def _line(line: ResponseLine) -> tuple[float, str] | None:
    """How far the response moves along a field, and a sentence on it; None where that is not told."""
    values = _Values(line.response, *(np.array(ends) for ends in (line.mean, line.low, line.high)))
    best, worst = values.best, values.worst
    if not values.better(best, worst):
        return None
    levels = [spoken_level(level) for level in line.levels]
    at_end = line.scale != "category" and best in (0, len(levels) - 1)
    name, (what, good, bad) = short_factor(line.field), values.words()
    text = (
        f"{name[:1].upper()}{name[1:]}: averaged over the other fields {what} {good} at {levels[best]}, "
        f"{'an end of its range, ' if at_end else ''}{values.text(best)}, and {bad} at {levels[worst]}, "
        f"{values.text(worst)}"
    )
    first, last = _alike(values) if line.scale != "category" else (best, best)
    if first < last:
        text += f"; from {levels[first]} to {levels[last]} its interval reaches that of the best"
    return float(abs(values.mean[best] - values.mean[worst])), f"{text}."


def _alike(values: _Values) -> tuple[int, int]:
    """The places around the best one whose intervals reach that of the best."""
    best = first = last = values.best
    while first > 0 and not values.better(best, first - 1):
        first -= 1
    while last + 1 < len(values.mean) and not values.better(best, last + 1):
        last += 1
    return first, last


def _surface(surface: ResponseSurface, *, together: bool) -> Iterator[Finding]:
    values = _over_two(surface)
    if np.isnan(values.low).all() or not values.better(values.best, values.worst):
        return
    pair = f"{short_factor(surface.x_field)} and {short_factor(surface.y_field)}"
    what, good, bad = values.words()
    begin = f"{pair[:1].upper()}{pair[1:]} act together:" if together else f"Over {pair}"
    text = (
        f"{begin} {what} {good} at {_place(surface, values.best)}, {values.text(values.best)}, "
        f"and {bad} at {_place(surface, values.worst)}, {values.text(values.worst)}"
    )
    moved = _moved(surface)
    yield Finding("Interactions", f"{text}{f'; {moved}' if moved else ''}.")


def _over_two(surface: ResponseSurface) -> _Values:
    mean, half = np.array(surface.mean), np.array(surface.unsure)
    factors = surface.response == "exported_parameters"
    ends = (mean / half, mean * half) if factors else (mean - half, mean + half)
    return _Values(surface.response, mean, *ends)


def _place(surface: ResponseSurface, place: int) -> str:
    """`0.05 and 0.003`: a cell's levels, in the order in which the fields are named."""
    row, column = divmod(place, len(surface.x_levels))
    return f"{spoken_level(surface.x_levels[column])} and {spoken_level(surface.y_levels[row])}"


def _moved(surface: ResponseSurface) -> str:
    """How the best level of one field moves with the other, from one end to its other; empty where that is not told."""
    values = _over_two(surface)
    cells = [values.mean, values.low, values.high]
    for along, other, levels, others, turn in (
        (surface.x_field, surface.y_field, surface.x_levels, surface.y_levels, False),
        (surface.y_field, surface.x_field, surface.y_levels, surface.x_levels, True),
    ):
        rows = [part.T if turn else part for part in cells]
        ends = [_Values(surface.response, *(part[place] for part in rows)) for place in (0, -1)]
        if any(np.isnan(end.mean).any() for end in ends):
            continue
        one, last = (end.best for end in ends)
        if ends[0].better(one, last) and ends[1].better(last, one):
            return (
                f"the best {short_factor(along)} is {spoken_level(levels[one])} where {short_factor(other)} is "
                f"{spoken_level(others[0])}, and {spoken_level(levels[last])} where it is {spoken_level(others[-1])}"
            )
    return ""
