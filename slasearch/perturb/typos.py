"""Typing errors: swapped, missing, repeated, extra and neighbouring characters, by the PyPI package `typo`.

A word with u < level gets one error, of a kind and at a place drawn from the word's own seed.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition
from slasearch.perturb._typist import Typist
from slasearch.perturb._words import change_words

__all__ = ["Typos"]

_ANY_WORD = ("char_swap", "missing_char", "repeated_char")
_ASCII_WORD = (*_ANY_WORD, "extra_char", "nearby_char")
"""The last two look keys up on an ASCII keyboard, and fail on some characters beyond it."""


@register_condition(
    "typos",
    ConditionFacts(
        family="text",
        level="share of words",
        units="share",
        maximum=1.0,
        severities=(0.1, 0.2, 0.3, 0.4, 0.5),
        where=("train", "eval"),
        default_scale=None,
        summary="one typing error in a share of the words: swapped, missing, repeated, extra or neighbouring key",
        equation="word i gets one typing error if u_i < level, its kind and place drawn uniformly",
        source="PyPI package typo",
        ours="words beyond ASCII get no extra or neighbouring key, which the package looks up on a US keyboard",
    ),
)
class Typos(TextCondition):
    """One typing error in every disturbed word."""

    def __init__(self) -> None:
        self._typist = Typist()

    def disturb(self, text: str, level: float, rng: np.random.Generator) -> str:
        """The text with its spacing, and a typing error in each word that is disturbed."""
        return change_words(text, level, rng, self._mistyped)

    def _mistyped(self, word: str, seed: int) -> str:
        return self._typist.by_any(_ASCII_WORD if word.isascii() else _ANY_WORD, word, seed)
