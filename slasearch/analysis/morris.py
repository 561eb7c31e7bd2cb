"""Morris screening: elementary effects of each field, to find those that do nothing (Morris 1991, Campolongo 2007).

    d_i = (y(x + Δ·e_i) − y(x)) / Δ'

Δ' is the share of the field's range that its stored value went, with sign: of a whole number of few values not what the
step of the unit cube was. From one choice to another Δ' is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, IntDistribution
from scipy import stats

from slasearch.analysis.blocks import Blocks, complete_blocks
from slasearch.analysis.coordinates import DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.errors import ReportError
from slasearch.space.design import morris_levels, morris_step
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
    """

    field: str
    mu_star: float
    low: float
    high: float
    mu: float
    sigma: float
    choice: bool = False

    @property
    def way(self) -> Way:
        """`up` and `down` where most of a range's effects go one way, else `both`; choices have no order."""
        if self.choice or abs(self.mu) < ONE_WAY * self.mu_star or self.mu == 0:
            return "both"
        return "up" if self.mu > 0 else "down"


@dataclass(frozen=True)
class MorrisScreening:
    """Effects of all fields on one response, in the order of the study file, from `trajectories` of `n` trials.

    `step` is Δ, the share of a field's range that a step of a trajectory goes.
    """

    response: DesignResponse
    effects: tuple[Effect, ...]
    trajectories: int
    n: int
    method: str
    warnings: tuple[str, ...] = ()
    step: float = 1.0


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
    blocks = complete_blocks(found, design.points, called="trajectories")
    if blocks.count < _FEWEST:
        raise ReportError(
            f"Morris screening: expected at least {_FEWEST} complete trajectories of {found.block} points each, got "
            f"{blocks.count}. Run the study further, or look at its failures with `slasearch trials`."
        )
    seeds = f", means over {pairs_of_seeds(blocks.repeats)}" if blocks.repeats > 1 else ""
    return MorrisScreening(
        response=response,
        effects=tuple(
            _effect(field, _elementary(blocks, field, column, found.block), np.random.default_rng(frames.config.seed))
            for column, field in enumerate(found.fields)
        ),
        trajectories=blocks.count,
        n=blocks.n,
        method=(
            f"elementary effects on the {response_words(response)} over {blocks.count} Morris trajectories of "
            f"{morris_levels(design)} levels{seeds}; 95 % bootstrap intervals"
        ),
        warnings=blocks.warnings,
        step=morris_step(design),
    )


def _elementary(blocks: Blocks, field: Parameter, column: int, size: int) -> NDArray[np.float64]:
    """The field's effect in each trajectory."""
    went = np.diff(blocks.unit[:, column].reshape(-1, size))
    went[abs(went) < _STILL] = 0
    changed = np.diff(blocks.values.reshape(-1, size))
    if isinstance(field.distribution, CategoricalDistribution):
        went = np.sign(went)
    elif isinstance(field.distribution, IntDistribution):
        count = field.distribution.high - field.distribution.low + 1
        went *= count / max(1, count - 1)  # n values lie in the middles of n cells: from first to last it is (n − 1)/n
    found: NDArray[np.float64] = np.divide(changed, went, out=np.zeros_like(changed), where=went != 0).sum(axis=1)
    return found


def _effect(field: Parameter, effects: NDArray[np.float64], generator: np.random.Generator) -> Effect:
    sizes = abs(effects)
    means = generator.choice(sizes, (_RESAMPLES, len(sizes))).mean(axis=1)
    half = stats.norm.ppf(0.975) * means.std(ddof=1)
    return Effect(
        field=field.name,
        mu_star=float(sizes.mean()),
        low=float(sizes.mean() - half),
        high=float(sizes.mean() + half),
        mu=float(effects.mean()),
        sigma=float(effects.std(ddof=1)),
        choice=isinstance(field.distribution, CategoricalDistribution),
    )
