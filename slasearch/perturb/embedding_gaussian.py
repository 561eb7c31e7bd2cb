"""Gaussian noise on token embeddings.

    e'_i = e_i + m_i · σ · RMS(e) · ε_i,    ε_i ~ N(0, I),    m_i = 1 if u_i < level, else 0

The level is the share of tokens that are disturbed, σ (`scale`) how strongly each is.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, EmbeddingCondition, Floats, register_condition

__all__ = ["EmbeddingGaussian"]


@register_condition(
    "embedding_gaussian",
    ConditionFacts(
        family="embedding",
        level="share of tokens",
        maximum=1.0,
        where=("train", "eval"),
        default_scale=1.0,
        summary="Gaussian noise on the embeddings of a share of the tokens; scale is σ in units of the embedding's RMS",
        equation="e' = e + σ·RMS(e)·ε, ε ~ N(0, I), for each token with u < level",
        source="slasearch",
    ),
)
class EmbeddingGaussian(EmbeddingCondition):
    """Normal noise of standard deviation `scale` on every disturbed token."""

    def noise(self, length: int, dim: int, level: float, scale: float, rng: np.random.Generator) -> Floats:
        """`length x dim`: a row is σ·ε if its token is disturbed, else 0."""
        disturbed = rng.random(length) < level
        noise = rng.standard_normal((length, dim), dtype=np.float32)
        noise *= np.where(disturbed, np.float32(scale), np.float32(0))[:, None]
        return noise
