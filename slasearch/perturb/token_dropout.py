"""Token dropout: the embedding of a share of the tokens is set to zero (after Gal & Ghahramani 2016, arXiv 1512.05287).

    e'_i = m_i · e_i,    m_i = 0 if u_i < level, else 1

Unlike a word that is left out, the token keeps its place: position and type embeddings are added as ever, and attention
still sees it. What is left is not scaled up.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, EmbeddingChange, EmbeddingCondition, register_condition

__all__ = ["TokenDropout"]


@register_condition(
    "token_dropout",
    ConditionFacts(
        family="embedding",
        level="share of tokens",
        units="share",
        maximum=1.0,
        severities=(0.05, 0.1, 0.2, 0.3, 0.5),
        where=("train", "eval"),
        default_scale=None,
        summary="sets the token embedding of a share of the tokens to zero; their positions stay",
        equation="e' = 0 for each token with u < level, else e",
        source="Gal & Ghahramani 2016, arXiv 1512.05287",
        ours="each token by itself, where the paper drops every occurrence of a word type; nothing is scaled up; "
        "special tokens are spared",
    ),
)
class TokenDropout(EmbeddingCondition):
    """Zeroes token embeddings."""

    def change(
        self, length: int, dim: int, level: float, scale: float, rms: float, rng: np.random.Generator
    ) -> EmbeddingChange:
        """Factor 0 on each disturbed token, else 1."""
        return EmbeddingChange(factor=(rng.random(length) >= level).astype(np.float32))
