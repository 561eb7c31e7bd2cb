"""Morris screening: elementary effects of each field, to find those that do nothing (Morris 1991, Campolongo 2007).

    d_i = (y(x + Δ·e_i) − y(x)) / Δ'

Δ' is the share of the field's range that its stored value went, with sign: of a whole number of few values not what the
step of the unit cube was. From one choice to another Δ' is 1.

The mean size of effects is above 0 whatever a field does, as the scores of any two trainings differ. Where points have
several seed pairs, it is known what seeds alone make of it: d_i is then normal, of variance g_i² s² for trials of
variance s², and the mean of (d_i / g_i)² beside s² follows an F distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, IntDistribution
from scipy import stats

from slasearch.analysis.blocks import Blocks, complete_blocks
from slasearch.analysis.coordinates import DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.intervals import holm
from slasearch.analysis.points import DesignPoints, points_of
from slasearch.errors import ReportError
from slasearch.space.design import morris_levels
from slasearch.space.parameters import Parameter

__all__ = ["ONE_WAY", "Effect", "MorrisScreening", "Way", "morris_screening"]

Way = Literal["up", "down", "both"]

ONE_WAY = 0.5
"""Share of μ* from which on μ says that a field moves the response one way."""

_FEWEST = 2
_RESAMPLES = 1000
_STILL = 1e-9
"""Coordinates that are nearer are one: a logarithm taken there and back moves them by rounding."""


@dataclass(frozen=True)
class Effect:
    """One field's elementary effects, in units of the response over the whole range of the field.

    `mu_star` is the mean of their sizes with its 95 % bootstrap interval, `mu` their mean with sign, `sigma` their
    standard deviation: large where the effect depends on the other fields or bends. `choice`: the field is a list of
    choices, and its effects are changes from one to another, of no direction.

    `floor` is the μ* that seeds alone would give. `p_moves` is of a field that does nothing, `p_bends` of effects that
    are all alike but for seeds; both after Holm over the fields, None where no point has two seed pairs.
    """

    field: str
    mu_star: float
    low: float
    high: float
    mu: float
    sigma: float
    choice: bool = False
    floor: float = 0.0
    p_moves: float | None = None
    p_bends: float | None = None

    @property
    def way(self) -> Way:
        """`up` and `down` where most of a range's effects go one way, else `both`; choices have no order."""
        if self.choice or abs(self.mu) < ONE_WAY * self.mu_star or self.mu == 0:
            return "both"
        return "up" if self.mu > 0 else "down"


@dataclass(frozen=True)
class MorrisScreening:
    """Effects of all fields on one response, in the order of the study file, from `trajectories` of `n` trials.

    Each point is a mean over at most `repeats` seed pairs.
    """

    response: DesignResponse
    effects: tuple[Effect, ...]
    trajectories: int
    n: int
    method: str
    warnings: tuple[str, ...] = ()
    repeats: int = 1


def morris_screening(frames: StudyFrames, response: DesignResponse = "score") -> MorrisScreening:
    """Elementary effects on a Morris design, in the space in which the fields were sampled.

    A trajectory with a point that has no result is left out; seed repeats of a point are averaged.

    Args:
        frames: The study.
        response: `score` (validation, undisturbed, mean over tasks), `exported_parameters` or `robustness`.

    Raises:
        ReportError: The study has no Morris design, or fewer than 2 complete trajectories.
    """
    found = design_coordinates(frames, response, ("morris",), what="Morris screening")
    design = frames.config.phases.design
    assert design is not None
    assert design.points is not None
    points = points_of(found)
    blocks = complete_blocks(found, points, design.points, called="trajectories")
    if blocks.count < _FEWEST:
        raise ReportError(
            f"Morris screening: expected at least {_FEWEST} complete trajectories of {found.block} points each, got "
            f"{blocks.count}. Run the study further, or look at its failures with `slasearch trials`."
        )
    seeds = f", means over {pairs_of_seeds(blocks.repeats)}" if blocks.repeats > 1 else ""
    places = blocks.places.reshape(-1, found.block)
    gaps = points.gap_variance(places[:, :-1], places[:, 1:])
    effects = [
        _effect(field, *_elementary(blocks, gaps, field, column), np.random.default_rng(frames.config.seed))
        for column, field in enumerate(found.fields)
    ]
    return MorrisScreening(
        response=response,
        effects=_tested(effects, points),
        trajectories=blocks.count,
        n=blocks.n,
        method=(
            f"elementary effects on the {response_words(response)} over {blocks.count} Morris trajectories of "
            f"{morris_levels(design)} levels{seeds}; 95 % bootstrap intervals"
        ),
        warnings=blocks.warnings,
        repeats=blocks.repeats,
    )


def _elementary(
    blocks: Blocks, gaps: NDArray[np.float64], field: Parameter, column: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The field's effect in each trajectory, and g there: its deviation by seeds, in units of that of a trial.

    `gaps` has the variances of all steps, `trajectories x k`, in units of that of a trial.
    """
    went = np.diff(blocks.unit[:, column].reshape(blocks.count, -1))
    went[abs(went) < _STILL] = 0
    changed = np.diff(blocks.values.reshape(blocks.count, -1))
    changed[abs(changed) < _STILL * np.ptp(blocks.values)] = 0
    if isinstance(field.distribution, CategoricalDistribution):
        went = np.sign(went)
    elif isinstance(field.distribution, IntDistribution):
        count = field.distribution.high - field.distribution.low + 1
        went *= count / max(1, count - 1)  # n values lie in the middles of n cells: from first to last it is (n − 1)/n
    effects, gains = (
        np.divide(above, went, out=np.zeros_like(changed), where=went != 0).sum(axis=1)
        for above in (changed, np.sqrt(gaps))
    )
    return effects, abs(gains)


@dataclass(frozen=True)
class _Found:
    """An effect before it is tested: d and g of the trajectories in which the field went anywhere."""

    effect: Effect
    effects: NDArray[np.float64]
    gains: NDArray[np.float64]


def _effect(
    field: Parameter, effects: NDArray[np.float64], gains: NDArray[np.float64], generator: np.random.Generator
) -> _Found:
    sizes = abs(effects)
    means = generator.choice(sizes, (_RESAMPLES, len(sizes))).mean(axis=1)
    half = stats.norm.ppf(0.975) * means.std(ddof=1)
    effect = Effect(
        field=field.name,
        mu_star=float(sizes.mean()),
        low=float(sizes.mean() - half),
        high=float(sizes.mean() + half),
        mu=float(effects.mean()),
        sigma=float(effects.std(ddof=1)),
        choice=isinstance(field.distribution, CategoricalDistribution),
    )
    return _Found(effect, effects[gains > 0], gains[gains > 0])


def _tested(found: list[_Found], points: DesignPoints) -> tuple[Effect, ...]:
    """Effects with what seeds alone would make of them; as they are where no point is repeated."""
    if not points.freedom:
        return tuple(one.effect for one in found)
    variance, free = points.variance, points.freedom
    moves = holm([_p(one.effects / one.gains, len(one.gains), variance, free) for one in found])
    bends = holm([_p(_apart(one) / one.gains, len(one.gains) - 1, variance, free) for one in found])
    floors = [math.sqrt(2 / math.pi * variance) * float(np.mean(one.gains)) for one in found]
    return tuple(
        replace(one.effect, floor=floor, p_moves=p, p_bends=q)
        for one, floor, p, q in zip(found, floors, moves, bends, strict=True)
    )


def _apart(one: _Found) -> NDArray[np.float64]:
    """How far each effect is from their mean, in which those count most that seeds move least."""
    apart = one.effects - np.average(one.effects, weights=one.gains**-2)
    return np.where(np.abs(apart) > _STILL * np.abs(one.effects).max(), apart, 0.0)


def _p(standard: NDArray[np.float64], count: int, variance: float, free: int) -> float:
    """How likely values are by chance: `count` free squares beside a variance that is known with `free` degrees."""
    square = float(standard @ standard)
    if variance == 0:
        return 0.0 if square > 0 else 1.0
    return float(stats.f.sf(square / count / variance, count, free))
