"""Gaussian noise on the weights of a trained adapter: how far its score depends on the last digits of what was learned.

    W' = W + σ · RMS(W) · ε,    ε ~ N(0, I)

for each tensor W of each slot. Heads and backbone stay. ε depends on the condition's seed, the slot and the tensor, not
on σ: a higher level goes further in the same direction. All tasks see the same noise.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, Floats, WeightCondition, register_condition

__all__ = ["WeightNoise"]


@register_condition(
    "weight_noise",
    ConditionFacts(
        family="weights",
        level="noise strength σ",
        units="rms",
        maximum=10.0,
        severities=(0.05, 0.1, 0.2, 0.5, 1.0),
        where=("eval",),
        default_scale=None,
        summary="Gaussian noise on every adapter weight; the level is σ in units of the RMS of each tensor",
        equation="W' = W + σ·RMS(W)·ε, ε ~ N(0, I), for each tensor W of the adapter, open gates folded in",
        source="slasearch",
        ours="noise on the adapter alone, not on heads or backbone (of `full_fine_tuning` on all that it trained), "
        "and in evaluation only",
    ),
)
class WeightNoise(WeightCondition):
    """Normal noise of standard deviation σ·RMS on every weight."""

    def noise(self, shape: tuple[int, ...], level: float, rng: np.random.Generator) -> Floats:
        """σ·ε of the tensor's shape."""
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(level)
