"""Gaussian noise on token embeddings.

    e'_i = e_i + m_i · σ · RMS(E) · ε_i,    ε_i ~ N(0, I),    m_i = 1 if u_i < level, else 0

The level is the share of tokens that are disturbed, σ (`scale`) how strongly each is. E is the backbone's table of
token embeddings, so that one σ means the same on any backbone.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, EmbeddingChange, EmbeddingCondition, register_condition

__all__ = ["EmbeddingGaussian"]


@register_condition(
    "embedding_gaussian",
    ConditionFacts(
        family="embedding",
        level="share of tokens",
        units="share",
        maximum=1.0,
        severities=(0.05, 0.1, 0.15, 0.2, 0.3),
        where=("train", "eval"),
        default_scale=1.0,
        summary="Gaussian noise on the embeddings of a share of the tokens; scale is σ in units of the RMS of the "
        "backbone's table of token embeddings",
        equation="e' = e + σ·RMS(E)·ε, ε ~ N(0, I), for each token with u < level",
        source="slasearch",
        ours="a noise ratio is the share of tokens, σ a field of its own; special tokens are spared",
    ),
)
class EmbeddingGaussian(EmbeddingCondition):
    """Normal noise of standard deviation `scale`·RMS on every disturbed token."""

    def change(
        self, length: int, dim: int, level: float, scale: float, rms: float, rng: np.random.Generator
    ) -> EmbeddingChange:
        """Adds σ·RMS·ε to each disturbed token."""
        disturbed = rng.random(length) < level
        noise = rng.standard_normal((length, dim), dtype=np.float32)
        noise *= np.where(disturbed, np.float32(scale * rms), np.float32(0))[:, None]
        return EmbeddingChange(added=noise)
