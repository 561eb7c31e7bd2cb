"""The words of a text, and a change of some of them that leaves everything between them alone."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

__all__ = ["WORD", "change_words"]

WORD = re.compile(r"(?<!\S)[^\w\s]*\w\S*")
"""A word: what stands between spaces and has a letter, digit or underscore in it. Without spaces a text is one.

It is looked for at the beginning of each such piece alone: the time is linear in the text also where it is all signs.
"""


def change_words(text: str, level: float, rng: np.random.Generator, change: Callable[[str, int], str]) -> str:
    """The text with its spacing, and each word with u < level replaced.

    Args:
        text: Any text; one without words comes back as it is.
        level: Share of words.
        rng: The example's own source; two draws a word, whatever the level.
        change: Makes the new word of the old one and of the word's own seed, from 0 to 2^32 - 1.
    """
    words = list(WORD.finditer(text))
    disturbed = (rng.random(len(words)) < level).tolist()
    seeds = rng.integers(2**32, size=len(words)).tolist()
    pieces: list[str] = []
    end = 0
    for word, hit, seed in zip(words, disturbed, seeds, strict=True):
        if hit:
            pieces += (text[end : word.start()], change(word.group(), seed))
            end = word.end()
    return "".join((*pieces, text[end:]))
