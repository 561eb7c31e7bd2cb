"""Typing errors: swapped, missing, repeated, extra and neighbouring characters, by the PyPI package `typo`.

A word with u < level gets one error, of a kind and at a place drawn from the word's own seed. The package draws from
Python's global random state, and reseeds it. So private copies of its two modules are loaded here, with a random
source of their own: the global state stays untouched, and another thread that uses it cannot change a typo.
"""

from __future__ import annotations

import importlib.util
import random
import re
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from slasearch.errors import MissingExtraError
from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition

__all__ = ["Typos"]

_WORD = re.compile(r"\S*\w\S*")
_ANY_WORD = ("char_swap", "missing_char", "repeated_char")
_ASCII_WORD = (*_ANY_WORD, "extra_char", "nearby_char")
"""The last two look keys up on an ASCII keyboard, and fail on some characters beyond it."""


def _private_copy(name: str, **replaced: Any) -> ModuleType:
    """A second instance of an installed module, unknown to `sys.modules`, with some of its names replaced."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise MissingExtraError(f"expected the package 'typo' (module {name}), got none. Run: pip install slasearch")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(replaced)
    return module


@register_condition(
    "typos",
    ConditionFacts(
        family="text",
        level="share of words",
        maximum=1.0,
        where=("train", "eval"),
        default_scale=None,
        summary="one typing error in a share of the words: swapped, missing, repeated, extra or neighbouring key",
        equation="word i gets one typing error if u_i < level",
        source="PyPI package typo",
    ),
)
class Typos(TextCondition):
    """One typing error in every disturbed word."""

    def __init__(self) -> None:
        self._random = random.Random()
        keyboard = _private_copy("typo.keyboardlayouts.en_default", random=self._random)
        self._errer = _private_copy("typo.Errer", random=self._random, en_default=keyboard).StrErrer
        self._lock = threading.Lock()

    def disturb(self, text: str, level: float, rng: np.random.Generator) -> str:
        """The text with its spacing, and a typing error in each word that is disturbed."""
        words = list(_WORD.finditer(text))
        disturbed = (rng.random(len(words)) < level).tolist()
        seeds = rng.integers(2**32, size=len(words)).tolist()
        pieces: list[str] = []
        end = 0
        with self._lock:
            for word, hit, seed in zip(words, disturbed, seeds, strict=True):
                if hit:
                    pieces += (text[end : word.start()], self._mistyped(word.group(), seed))
                    end = word.end()
        return "".join((*pieces, text[end:]))

    def _mistyped(self, word: str, seed: int) -> str:
        """Tries the kinds of error in a drawn order until one changes the word: `aa` cannot be swapped."""
        errer = self._errer(word, seed=seed)
        kinds = _ASCII_WORD if word.isascii() else _ANY_WORD
        tries: Iterator[str] = (getattr(errer, kind)().result for kind in self._random.sample(kinds, len(kinds)))
        return next(mistyped for mistyped in tries if mistyped != word)
