"""Adjacent words change places (after the random swap of EDA, arXiv 1901.11196, which takes any two words).

The words of a text are paired with their neighbours once, whatever the level; a pair with u < level is swapped. Of an
odd number of words one, drawn at random, stays alone. So a swap disturbs two words, and no word moves twice.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition
from slasearch.perturb._words import WORD

__all__ = ["WordSwap"]


@register_condition(
    "word_swap",
    ConditionFacts(
        family="text",
        level="share of words",
        units="share",
        maximum=1.0,
        severities=(0.1, 0.2, 0.3, 0.4, 0.5),
        where=("train", "eval"),
        default_scale=None,
        summary="swaps adjacent words, so that a share of the words stands elsewhere; of an odd number one never moves",
        equation="words are paired with a neighbour; both of pair i change places if u_i < level",
        source="EDA, arXiv 1901.11196",
        ours="adjacent words only, in pairs that do not depend on the level, where EDA swaps any two words",
    ),
)
class WordSwap(TextCondition):
    """Swaps words that stand side by side."""

    def disturb(self, text: str, level: float, rng: np.random.Generator) -> str:
        """The same words with the same spacing, some pairs of them in the other order."""
        found = list(WORD.finditer(text))
        words = [word.group() for word in found]
        starts = _pair_starts(len(words), rng)
        for first in starts[rng.random(len(starts)) < level].tolist():
            words[first], words[first + 1] = words[first + 1], words[first]
        ends = [0, *(word.end() for word in found)]
        gaps = [text[end : word.start()] for end, word in zip(ends, found, strict=False)]
        return "".join(part for pair in zip(gaps, words, strict=True) for part in pair) + text[ends[-1] :]


def _pair_starts(count: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The number of the first word of each pair; of an odd count one word with an even number stays alone."""
    starts = np.arange(0, count - 1, 2)
    if count % 2 and count > 1:
        alone = 2 * int(rng.integers(len(starts) + 1))
        starts[starts >= alone] += 1
    return starts
