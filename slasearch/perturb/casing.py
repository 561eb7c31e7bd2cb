"""Upper and lower case changed in a share of the words: `Word` becomes `WORD`, `word` or `wORD`.

A backbone whose tokeniser ignores case, such as the bundled one, sees no difference.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition
from slasearch.perturb._words import change_words

__all__ = ["Casing"]


@register_condition(
    "casing",
    ConditionFacts(
        family="text",
        level="share of words",
        units="share",
        maximum=1.0,
        severities=(0.1, 0.2, 0.3, 0.4, 0.5),
        where=("train", "eval"),
        default_scale=None,
        summary="changes the case of a share of the words; words without case stay, and uncased tokenisers see nothing",
        equation="word i is written upper, lower, capitalised or with its case swapped if u_i < level, each form that "
        "differs from the word equally likely",
        source="slasearch",
        ours="the four forms",
    ),
)
class Casing(TextCondition):
    """Writes words in another case."""

    def disturb(self, text: str, level: float, rng: np.random.Generator) -> str:
        """The text with its spacing; words without letters that have a case stay."""
        return change_words(text, level, rng, _recased)


def _recased(word: str, seed: int) -> str:
    forms = dict.fromkeys((word.upper(), word.lower(), word.capitalize(), word.swapcase()))
    others = [form for form in forms if form != word]
    return others[seed % len(others)] if others else word
