"""Morris screening: elementary effects of each field, to find those that do nothing (Morris 1991, Campolongo 2007)."""

from __future__ import annotations

from dataclasses import dataclass

from slasearch.analysis.coordinates import DesignResponse

__all__ = ["Effect", "MorrisScreening"]


@dataclass(frozen=True)
class Effect:
    """One field's elementary effects, in units of the response over the whole range of the field.

    `mu_star` is the mean of their sizes with its 95 % bootstrap interval, `mu` their mean with sign, `sigma` their
    standard deviation: large where the effect depends on the other fields or bends.
    """

    field: str
    mu_star: float
    low: float
    high: float
    mu: float
    sigma: float


@dataclass(frozen=True)
class MorrisScreening:
    """Effects of all fields on one response, in the order of the study file, from `trajectories` of `n` trials."""

    response: DesignResponse
    effects: tuple[Effect, ...]
    trajectories: int
    n: int
    method: str
    warnings: tuple[str, ...] = ()
