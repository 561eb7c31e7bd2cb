"""NEFTune: uniform noise on every token embedding (Jain et al. 2023, arXiv 2310.05914).

    e'_i = e_i + α/√(L·d) · ε_i,    ε_i ~ U(−1, 1)^d

L is the number of tokens of the example, special ones included, d the width of an embedding. The level is α, and the
noise is in the embeddings' own units: what an α does depends on how large a backbone's embeddings are.
"""

from __future__ import annotations

import math

import numpy as np

from slasearch.perturb._base import ConditionFacts, EmbeddingChange, EmbeddingCondition, register_condition

__all__ = ["NefTune"]


@register_condition(
    "neftune",
    ConditionFacts(
        family="embedding",
        level="noise strength α",
        units="absolute",
        maximum=100.0,
        severities=(1.0, 2.5, 5.0, 10.0, 15.0),
        where=("train", "eval"),
        default_scale=None,
        summary="uniform noise on every token embedding; the level is α, in the embeddings' own units, not in units of "
        "their RMS (the paper trains with α = 5, 10 or 15)",
        equation="e' = e + α/√(L·d)·ε, ε ~ U(−1, 1), L tokens of the example with special ones, d the embedding width",
        source="Jain et al. 2023, arXiv 2310.05914",
        ours="special tokens are spared; L leaves padding out, so that noise does not depend on the batch; it can be "
        "measured under too, where the paper only trains",
    ),
)
class NefTune(EmbeddingCondition):
    """Uniform noise whose expected length does not grow with the text."""

    def change(
        self, length: int, dim: int, level: float, scale: float, rms: float, rng: np.random.Generator
    ) -> EmbeddingChange:
        """Adds α/√(L·d)·ε to every token."""
        noise = 2 * rng.random((length, dim), dtype=np.float32) - 1
        noise *= np.float32(level / math.sqrt(length * dim))
        return EmbeddingChange(added=noise)
