"""Morris screening: elementary effects of each field, to find those that do nothing (Morris 1991, Campolongo 2007).

    d_i = (y(x + Δ·e_i) − y(x)) / Δ'

Δ' is the share of the field's range that its stored value went, with sign: of a whole number of few values not what the
step of the unit cube was. From one choice to another Δ' is 1.

The mean size of effects is above 0 whatever a field does, as the scores of any two trainings differ. Seeds of variance
s² add at most their own mean size to it, the floor √(2/π)·s·E g for effects of variance g²s² (|d| ≤ E|d + ε| ≤
|d| + E|ε|), so the t-interval of the sizes reaches lower by the floor. With one seed pair s is unknown: the interval
then begins at 0.

Whether a field moves the response is tested without a model of the noise, whose variance may differ between points. The
effect d_tr in trajectory t under seed pair r of a field that does nothing is as likely −d_tr. So signs are flipped, and
Σ_t (Σ_r d_tr)² is compared with its values under all flips (a randomisation test: Fisher 1935, section 21).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, IntDistribution

from slasearch.analysis.blocks import Blocks, complete_blocks
from slasearch.analysis.coordinates import Coordinates, DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.intervals import holm, t_interval
from slasearch.analysis.points import points_of
from slasearch.errors import ReportError
from slasearch.space.design import morris_levels
from slasearch.space.parameters import Parameter

__all__ = ["ONE_WAY", "Effect", "MorrisScreening", "Way", "morris_screening", "screening_of"]

Floats = NDArray[np.float64]
Way = Literal["up", "down", "both"]

ONE_WAY = 0.5
"""Share of μ* from which on μ says that a field moves the response one way."""

_FEWEST = 2
_FLIPS = 4999
_EXACT = 12
"""Signs of which all combinations are tried; of more signs `_FLIPS` combinations are drawn."""
_STILL = 1e-9
"""Coordinates that are nearer are one: a logarithm taken there and back moves them by rounding."""


@dataclass(frozen=True)
class Effect:
    """One field's elementary effects, in units of the response over the whole range of the field.

    `mu_star` is the mean of their sizes with a 95 % interval for that of the response without noise, `mu` their mean
    with sign, `sigma` their standard deviation: large where the effect depends on the other fields or bends. `choice`:
    the field is a list of choices, and its effects are changes from one to another, of no direction.

    `floor` is the μ* that seeds alone would give, 0 where it is unknown. `p_moves` tests that the field does nothing,
    `p_bends` that its effects are all alike; both after Holm over the fields, None where no point has two seed pairs.
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
    return screening_of(found, response, planned=design.points, levels=morris_levels(design), seed=frames.config.seed)


def screening_of(
    found: Coordinates, response: DesignResponse, *, planned: int, levels: int, seed: int
) -> MorrisScreening:
    """The same of the trials of a design with `planned` trajectories; `seed` is that of the randomisation test."""
    points = points_of(found)
    blocks = complete_blocks(found, points, planned, called="trajectories")
    if blocks.count < _FEWEST:
        raise ReportError(
            f"Morris screening: expected at least {_FEWEST} complete trajectories of {found.block} points each, got "
            f"{blocks.count}. Run the study further, or look at its failures with `slasearch trials`."
        )
    seeds = f", means over {pairs_of_seeds(blocks.repeats)}" if blocks.repeats > 1 else ""
    places = blocks.places.reshape(-1, found.block)
    gaps = points.gap_variance(places[:, :-1], places[:, 1:])
    steps = np.diff(points.trials[places], axis=1)
    generator = np.random.default_rng(seed)
    effects = [
        _effect(field, _effects_of(blocks, gaps, steps, field, column), points.variance, generator)
        for column, field in enumerate(found.fields)
    ]
    moves, bends = holm([one.p_moves for one in effects]), holm([one.p_bends for one in effects])
    return MorrisScreening(
        response=response,
        effects=tuple(replace(one, p_moves=p, p_bends=q) for one, p, q in zip(effects, moves, bends, strict=True)),
        trajectories=blocks.count,
        n=blocks.n,
        method=(
            f"elementary effects on the {response_words(response)} over {blocks.count} Morris trajectories of "
            f"{levels} levels{seeds}; 95 % t-intervals, widened below by the noise of seeds"
        ),
        warnings=blocks.warnings,
        repeats=blocks.repeats,
    )


@dataclass(frozen=True)
class _Effects:
    """A field's effects in T trajectories.

    Args:
        means: `T`, over seed pairs; 0 where the field went nowhere.
        gains: `T`, their standard deviation by seeds in units of that of a trial.
        single: `t x r`, under each seed pair, in the t trajectories in which the field went anywhere; NaN where one of
            both points has no trial of that pair.
    """

    means: Floats
    gains: Floats
    single: Floats


def _effects_of(blocks: Blocks, gaps: Floats, steps: Floats, field: Parameter, column: int) -> _Effects:
    """Effects of one field from all steps: `gaps` is `T x k`, variances in units of a trial's, `steps` `T x k x r`."""
    went = np.diff(blocks.unit[:, column].reshape(blocks.count, -1))
    went[abs(went) < _STILL] = 0
    changed, still = np.diff(blocks.values.reshape(blocks.count, -1)), _STILL * np.ptp(blocks.values)
    changed[abs(changed) < still] = 0
    if isinstance(field.distribution, CategoricalDistribution):
        went = np.sign(went)
    elif isinstance(field.distribution, IntDistribution):
        count = field.distribution.high - field.distribution.low + 1
        went *= count / max(1, count - 1)  # n values lie in the middles of n cells: from first to last it is (n − 1)/n
    effects, gains = (
        np.divide(above, went, out=np.zeros_like(changed), where=went != 0).sum(axis=1)
        for above in (changed, np.sqrt(gaps))
    )
    single = steps[went != 0] / went[went != 0][:, None]
    return _Effects(effects, abs(gains), np.where(abs(single) < still, 0.0, single))


def _effect(field: Parameter, found: _Effects, variance: float, generator: np.random.Generator) -> Effect:
    """One field's effect, with p-values before Holm. `variance` is that of a trial by seeds, NaN where unknown."""
    known = math.isfinite(variance)
    floor = math.sqrt(2 / math.pi * variance) * float(found.gains.mean()) if known else 0.0
    size = t_interval(abs(found.means))
    half = size.half_width or 0.0
    count = np.isfinite(found.single).sum(axis=0)
    apart = found.single - np.nansum(found.single, axis=0) / np.maximum(count, 1)
    return Effect(
        field=field.name,
        mu_star=size.mean,
        low=max(0.0, size.mean - half - floor) if known or not half else 0.0,
        high=size.mean + half,
        mu=math.fsum(found.means) / len(found.means),
        sigma=float(found.means.std(ddof=1)),
        choice=isinstance(field.distribution, CategoricalDistribution),
        floor=floor,
        p_moves=_p_of_zero(found.single, variance, generator) if known else None,
        p_bends=_p_of_zero(apart, variance, generator) if known else None,
    )


def _p_of_zero(effects: Floats, variance: float, generator: np.random.Generator) -> float:
    """Two-sided p of `t x r` effects that are only noise, which is symmetric about 0; NaN where there is none.

    One sign of each trajectory stays: flipping all of them changes no square.
    """
    known = np.isfinite(effects)
    values = np.where(known, effects, 0.0)
    if abs(values).max(initial=0.0) <= _STILL:
        return 1.0
    if variance == 0:
        return 0.0
    free = known.copy()
    free[np.arange(len(known)), known.argmax(axis=1)] = False
    count = int(free.sum())
    if count <= _EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=count)))
    else:
        signs = np.concatenate([np.ones((1, count)), generator.choice((1.0, -1.0), (_FLIPS, count))])
    flipped = np.broadcast_to(values, (len(signs), *values.shape)).copy()
    flipped[:, free] *= signs
    squares = (flipped.sum(axis=2) ** 2).sum(axis=1)
    return float(np.mean(squares >= squares[0] * (1 - _STILL)))
