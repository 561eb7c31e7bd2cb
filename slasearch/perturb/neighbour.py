"""Tokens replaced by near ones of the backbone's own table of embeddings (after Alzantot et al. 2018, 1804.07998).

    id'_i = N(id_i)_j,    j ~ U{1 … k},    for each ordinary token with u_i < level

N(a) are the k tokens of the same form as a (beginning or continuation of a word) with the largest cosine to it.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, TokenCondition, register_condition
from slasearch.perturb.vocabulary import Int32s, Vocabulary

__all__ = ["Neighbour"]


@register_condition(
    "neighbour",
    ConditionFacts(
        family="token",
        level="share of tokens",
        units="share",
        maximum=1.0,
        severities=(0.05, 0.1, 0.2, 0.3, 0.5),
        where=("train", "eval"),
        default_scale=None,
        summary="replaces a share of the tokens by one of the five nearest in the backbone's own embedding table",
        equation="id' = one of the 5 tokens of the same form with the largest cosine to E_id, each equally likely, for "
        "each token with u < level",
        source="Alzantot et al. 2018, arXiv 1804.07998",
        ours="the backbone's own token embeddings, where the paper has counter-fitted word vectors and a language "
        "model; beginnings of words only stand for beginnings, continuations for continuations; special, unknown and "
        "reserved tokens are neither replaced nor put in",
    ),
)
class Neighbour(TokenCondition):
    """Puts a near token in place of a token."""

    def substitute(self, ids: Int32s, vocabulary: Vocabulary, level: float, rng: np.random.Generator) -> Int32s:
        """The tokens (`L`) with each disturbed one replaced."""
        uniforms = rng.random(len(ids))
        choices = rng.integers(vocabulary.neighbours, size=len(ids))
        places = np.flatnonzero((uniforms < level) & vocabulary.ordinary[ids])
        disturbed = ids.copy()
        disturbed[places] = vocabulary.nearest(ids[places])[np.arange(len(places)), choices[places]]
        return disturbed
