"""Punctuation put after words, or taken away there (insertion with the marks of AEDA, arXiv 2108.13230).

A word with u < level that ends in marks loses them; one that does not gets a mark. Marks inside a word stay, so that
`don't` and `3.5` keep their meaning.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition
from slasearch.perturb._words import change_words

__all__ = ["Punctuation"]

_MARKS = ".,;:!?"


@register_condition(
    "punctuation",
    ConditionFacts(
        family="text",
        level="share of words",
        units="share",
        maximum=1.0,
        severities=(0.1, 0.2, 0.3, 0.4, 0.5),
        where=("train", "eval"),
        default_scale=None,
        summary="puts a punctuation mark after a share of the words, or takes away what stands there",
        equation="word i loses its last marks (. , ; : ! ?) if u_i < level, or gets one of them, each equally likely, "
        "if it ends in none",
        source="AEDA, arXiv 2108.13230",
        ours="marks are also taken away, and stand at the word where AEDA sets them apart",
    ),
)
class Punctuation(TextCondition):
    """Adds or removes the marks at the end of words."""

    def disturb(self, text: str, level: float, rng: np.random.Generator) -> str:
        """The text with its spacing and its words; marks alone are no word and stay."""
        return change_words(text, level, rng, _repunctuated)


def _repunctuated(word: str, seed: int) -> str:
    bare = word.rstrip(_MARKS)
    return bare if bare != word else word + _MARKS[seed % len(_MARKS)]
