"""One operation on the characters of a word, each a kind of its own, by the PyPI package `typo`.

The operations are those of Belinkov & Bisk 2018 (arXiv 1711.02173) and Pruthi et al. 2019 (arXiv 1905.11268). A word
with u < level is changed at a place drawn from the word's own seed.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition
from slasearch.perturb._typist import Typist
from slasearch.perturb._words import change_words

__all__ = ["CharDrop", "CharRepeat", "CharSwap"]


def _facts(summary: str, equation: str, ours: str = "") -> ConditionFacts:
    return ConditionFacts(
        family="text",
        level="share of words",
        units="share",
        maximum=1.0,
        severities=(0.1, 0.2, 0.3, 0.4, 0.5),
        where=("train", "eval"),
        default_scale=None,
        summary=summary,
        equation=equation,
        source="PyPI package typo; arXiv 1711.02173, 1905.11268",
        ours=ours,
    )


class _Operation(TextCondition):
    """One operation of `typo.StrErrer` on every disturbed word."""

    operation: ClassVar[str]

    def __init__(self) -> None:
        self._typist = Typist()

    def disturb(self, text: str, level: float, rng: np.random.Generator) -> str:
        """The text with its spacing; words that the operation cannot change stay."""
        return change_words(text, level, rng, self._changed)

    def _changed(self, word: str, seed: int) -> str:
        return self._typist.by(self.operation, word, seed)


@register_condition(
    "char_swap",
    _facts(
        "swaps two adjacent characters in a share of the words; words without two different ones stay",
        "word i has characters j and j + 1 swapped if u_i < level, j drawn uniformly among adjacent pairs that differ",
        "upper and lower case stay at their places",
    ),
)
class CharSwap(_Operation):
    """Two adjacent characters change places."""

    operation = "char_swap"


@register_condition(
    "char_drop",
    _facts(
        "leaves out one character in a share of the words; words of one character stay",
        "word i loses its character j if u_i < level, j drawn uniformly",
    ),
)
class CharDrop(_Operation):
    """One character goes missing."""

    operation = "missing_char"


@register_condition(
    "char_repeat",
    _facts(
        "repeats one character in a share of the words",
        "word i has its character j twice if u_i < level, j drawn uniformly",
    ),
)
class CharRepeat(_Operation):
    """One character stands twice."""

    operation = "repeated_char"
