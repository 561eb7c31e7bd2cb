"""What Morris screening found: which fields move a response, which act with others or bend, and which do nothing.

The mean size of effects is above 0 whatever a field does, as scores of any two settings differ: what seeds alone make
of it is, for normal noise of standard deviation s, r seed pairs and steps of Δ,

    E|e₁ − e₂| / Δ = 2s / (Δ √(π r)),    and of σ  √2 s / (Δ √r).

A field is told to move a response if its interval lies above that; of choices, whose effects are not divided by Δ,
above Δ times that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from slasearch.analysis.coordinates import DesignResponse, design_coordinates
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.morris import Effect, MorrisScreening, Way
from slasearch.report.finding import NAMED, Finding, listed, some
from slasearch.report.labels import number, sentences, short_factor, with_ends
from slasearch.report.results import Results
from slasearch.space.design import morris_step

__all__ = ["screening_findings", "seed_noise"]

BENDS = 0.5
"""Share of μ* from which on a spread σ says that a field acts with others or bends (Garcia Sanchez et al. 2014)."""


def screening_findings(results: Results) -> Iterator[Finding]:
    """A sentence for each response that was screened."""
    for item in results.screenings:
        yield Finding("Sensitivity", _screening(item, seed_noise(results.frames, item.response)))
    for warning in dict.fromkeys(warning for item in results.screenings for warning in item.warnings):
        yield Finding("Sensitivity", sentences(warning), "caution")


def seed_noise(frames: StudyFrames, response: DesignResponse) -> tuple[float, float, int] | None:
    """What seeds alone do to effects on a Morris design, and over how many seed pairs points are averaged.

    To μ* and to σ, of choices Δ times as much.

    From what is left of each trial's response without its point's and its seed pair's own mean, over points that have
    every repeat; of sizes that of the logarithm. None with one seed pair.
    """
    design = frames.config.phases.design
    found = design_coordinates(frames, response, ("morris",), what="Noise of seeds")
    table = pd.DataFrame({"point": found.points, "repeat": found.repeats, "value": found.values})
    wide = table.pivot_table(index="point", columns="repeat", values="value").dropna()
    points, repeats = wide.shape
    if design is None or points < 2 or repeats < 2:
        return None
    rest = wide.sub(wide.mean(axis=1), axis=0) - wide.mean() + wide.to_numpy().mean()
    spread = math.sqrt(float((rest**2).to_numpy().sum()) / ((points - 1) * (repeats - 1)))
    step = morris_step(design)
    return 2 * spread / (step * math.sqrt(math.pi * repeats)), math.sqrt(2 / repeats) * spread / step, repeats


def _screening(item: MorrisScreening, noise: tuple[float, float, int] | None) -> str:
    floor, spread = noise[:2] if noise else (0.0, 0.0)
    ordered = sorted(item.effects, key=lambda one: -one.mu_star)
    unit = {one.field: item.step if one.choice else 1.0 for one in ordered}
    told = [one for one in ordered if one.low > unit[one.field] * floor]
    rest = [short_factor(one.field) for one in ordered if one not in told]
    bent = [one for one in told if one.sigma**2 - (unit[one.field] * spread) ** 2 >= (BENDS * one.mu_star) ** 2]
    parts = [_moves(told, item.response)]
    if bent:
        ratios = [f"{short_factor(one.field)} (σ/μ* {one.sigma / one.mu_star:.1f})" for one in bent]
        parts.append(f"acting with others or bending: {some(ratios)}")
    elif told:
        parts.append("none is told to act with others or to bend")
    if told and rest:
        beyond = " beyond what seeds do" if noise else ""
        parts.append(f"not told to do anything{beyond}: {some(rest)}")
    return f"{'; '.join(parts)}. {_basis(item, noise)}"


_WORDS: dict[Way, tuple[str, str]] = {
    "up": ("raises", "multiplies"),
    "down": ("lowers", "divides"),
    "both": ("changes", "changes"),
}
"""What a field does to a score, and to a size."""


def _moves(told: list[Effect], response: DesignResponse) -> str:
    """`Over its whole range, learning rate raises the score by 0.120 [0.090, 0.150] on average, …`."""
    sized = response == "exported_parameters"
    what = "size" if sized else response
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
    return f"On average{', each' if len(parts) > 1 else ''} over its whole range, {listed(parts)}"


def _size(one: Effect, *, sized: bool) -> str:
    """μ* with the ends of its interval; effects on the logarithm of a size are factors."""
    ends = (one.mu_star, one.low, one.high)
    return with_ends(lambda value: f"{math.exp(value):.2f}", *ends) if sized else with_ends(number, *ends)


def _basis(item: MorrisScreening, noise: tuple[float, float, int] | None) -> str:
    trials = f"{item.trajectories} Morris trajectories, {item.n} trials"
    if noise is None:
        return f"({trials}; with one seed pair, so what seeds do is in these numbers.)"
    floor, _, repeats = noise
    sized = item.response == "exported_parameters"
    alone = f"a factor of {math.exp(floor):.2f}" if sized else number(floor)
    return f"({trials}, means over {pairs_of_seeds(repeats)}; seeds alone would change it by {alone}.)"
