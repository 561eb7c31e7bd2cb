"""What Morris screening found: which fields move a response, which act with others or bend, and which do nothing.

Where no point has two seed pairs, what a field does is not told from what seeds do: fields then stand in their order,
and no more is said of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.morris import Effect, MorrisScreening, Way
from slasearch.report.finding import NAMED, Finding, listed, some
from slasearch.report.labels import number, sentences, short_factor, with_ends
from slasearch.report.results import Results

__all__ = ["screening_findings"]

BENDS = 0.5
"""Share of μ* from which on a spread σ says that a field acts with others or bends (Garcia Sanchez et al. 2014)."""
_SIGNIFICANT = 0.05


def screening_findings(results: Results) -> Iterator[Finding]:
    """A sentence for each response that was screened."""
    for item in results.screenings:
        yield Finding("Sensitivity", _screening(item))
    for warning in dict.fromkeys(warning for item in results.screenings for warning in item.warnings):
        yield Finding("Sensitivity", sentences(warning), "caution")


def _screening(item: MorrisScreening) -> str:
    ordered = sorted(item.effects, key=lambda one: -one.mu_star)
    parts = _ranked(ordered, item) if ordered[0].p_moves is None else _tested(ordered, item)
    return f"{'; '.join(parts)}. {_basis(item)}"


def _tested(ordered: list[Effect], item: MorrisScreening) -> Iterator[str]:
    told = [one for one in ordered if _told(one.p_moves)]
    rest = [short_factor(one.field) for one in ordered if one not in told]
    bent = [one for one in told if _told(one.p_bends) and one.sigma >= BENDS * one.mu_star]
    yield _moves(told, item)
    if bent:
        ratios = [f"{short_factor(one.field)} (σ/μ* {one.sigma / one.mu_star:.1f})" for one in bent]
        yield f"acting with others or bending: {some(ratios)}"
    elif told:
        yield "none is told to act with others or to bend"
    if told and rest:
        yield f"not told to do anything beyond what seeds do: {some(rest)}"


def _ranked(ordered: list[Effect], item: MorrisScreening) -> Iterator[str]:
    """The largest effects without a claim, and fields that changed nothing at all."""
    sized = item.response == "exported_parameters"
    moved = [one for one in ordered if one.mu_star > 0]
    still = [short_factor(one.field) for one in ordered if one.mu_star == 0]
    if moved:
        by = [f"{short_factor(one.field)} {_size(one, sized=sized)}" for one in moved]
        unit = ", as factors" if sized else ""
        yield f"Mean sizes of effects on the {_what(item)}{unit}, what seeds do in them: {some(by)}"
    if still:
        yield f"{'n' if moved else 'N'}o effect in any trajectory: {some(still)}"


def _told(p: float | None) -> bool:
    return p is not None and p < _SIGNIFICANT


def _what(item: MorrisScreening) -> str:
    return "size" if item.response == "exported_parameters" else item.response


_WORDS: dict[Way, tuple[str, str]] = {
    "up": ("raises", "multiplies"),
    "down": ("lowers", "divides"),
    "both": ("changes", "changes"),
}
"""What a field does to a score, and to a size."""


def _moves(told: list[Effect], item: MorrisScreening) -> str:
    """`Over its whole range, learning rate raises the score by 0.120 [0.090, 0.150] on average, …`."""
    sized, what = item.response == "exported_parameters", _what(item)
    if not told:
        return f"No field is told to move the {what}"
    parts = []
    for place, one in enumerate(told[:NAMED]):
        by = "by a factor of" if sized and one.way == "both" else "by"
        thing = "it" if place else f"the {what}"
        parts.append(f"{short_factor(one.field)} {_WORDS[one.way][sized]} {thing} {by} {_size(one, sized=sized)}")
    if len(told) > NAMED:
        most = told[NAMED].mu_star
        less = f"a factor of at most {math.exp(most):.2f}" if sized else f"at most {number(most)}"
        parts.append(f"{len(told) - NAMED} more change it by {less}")
    over = " or from one choice to another" if any(one.choice for one in told) else ""
    return f"On average{', each' if len(parts) > 1 else ''} over its whole range{over}, {listed(parts)}"


def _size(one: Effect, *, sized: bool) -> str:
    """μ* with the ends of its interval; effects on the logarithm of a size are factors."""
    ends = (one.mu_star, one.low, one.high)
    return with_ends(lambda value: f"{math.exp(value):.2f}", *ends) if sized else with_ends(number, *ends)


def _basis(item: MorrisScreening) -> str:
    trials = f"{item.trajectories} Morris trajectories, {item.n} trials"
    if item.effects[0].p_moves is None:
        few = "one seed pair" if item.repeats == 1 else "so few repeats"
        return f"({trials}; with {few} nothing is told from what seeds do.)"
    sized = item.response == "exported_parameters"
    floor = max(one.floor for one in item.effects)
    alone = f"a factor of {math.exp(floor):.2f}" if sized else number(floor)
    return f"({trials}, means over {pairs_of_seeds(item.repeats)}; seeds alone would change it by {alone}.)"
