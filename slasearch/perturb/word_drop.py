"""Words left out at random (word dropout; Iyyer et al. 2015, ACL P15-1162; random deletion of EDA, arXiv 1901.11196).

A word is dropped if its u < level. The word with the largest u always stays, so a text never becomes empty; marks that
stand alone are no words, and stay.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition
from slasearch.perturb._words import WORD

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
        """What stays, in its order, with single spaces; the same text if nothing is dropped."""
        parts = text.split()
        words = [place for place, part in enumerate(parts) if WORD.search(part)]
        if not words:
            return text
        uniforms = rng.random(len(words))
        uniforms[uniforms.argmax()] = np.inf
        dropped = {place for place, u in zip(words, uniforms.tolist(), strict=True) if u < level}
        return " ".join(part for place, part in enumerate(parts) if place not in dropped) if dropped else text
