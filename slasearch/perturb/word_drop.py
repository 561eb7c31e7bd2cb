"""Words left out at random (word dropout; Iyyer et al. 2015, ACL P15-1162; random deletion of EDA, arXiv 1901.11196).

A word is dropped if its u < level. The word with the largest u always stays, so a text never becomes empty.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition

__all__ = ["WordDrop"]


@register_condition(
    "word_drop",
    ConditionFacts(
        family="text",
        level="share of words",
        units="share",
        maximum=1.0,
        severities=(0.1, 0.2, 0.3, 0.4, 0.5),
        where=("train", "eval"),
        default_scale=None,
        summary="leaves out a share of the words; at least one stays",
        equation="word i is dropped if u_i < level, unless u_i is the largest",
        source="Iyyer et al. 2015 (ACL P15-1162); EDA, arXiv 1901.11196",
        ours="one word always stays",
    ),
)
class WordDrop(TextCondition):
    """Leaves words out."""

    def disturb(self, text: str, level: float, rng: np.random.Generator) -> str:
        """The words that stay, in their order, with single spaces; the same text if none is dropped."""
        words = text.split()
        if not words:
            return text
        uniforms = rng.random(len(words))
        uniforms[uniforms.argmax()] = np.inf
        kept = [word for word, u in zip(words, uniforms.tolist(), strict=True) if u >= level]
        return text if len(kept) == len(words) else " ".join(kept)
