"""A typist who makes one error in a word, by the PyPI package `typo`.

The package draws from Python's global random state, and reseeds it. So private copies of its two modules are loaded
here, with a random source of their own: the global state stays untouched, and another thread that uses it cannot change
a typo.
"""

from __future__ import annotations

import importlib.util
import random
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from slasearch.errors import MissingExtraError

__all__ = ["Typist", "private_copy"]

_TRIES = 32
"""How often one operation is tried on a word: swapping two equal letters changes nothing, another place may."""


def private_copy(name: str, **replaced: Any) -> ModuleType:
    """A second instance of an installed module, unknown to `sys.modules`, with some of its names replaced.

    Raises:
        MissingExtraError: The module is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise MissingExtraError(
            f"expected the package 'typo' (module {name}), got none. Run in the checkout: pip install -e ."
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(replaced)
    return module


class Typist:
    """Makes errors by the operations of `typo.StrErrer`. Threads may share one."""

    def __init__(self) -> None:
        self._random = random.Random()
        keyboard = private_copy("typo.keyboardlayouts.en_default", random=self._random)
        self._errer = private_copy("typo.Errer", random=self._random, en_default=keyboard).StrErrer
        self._lock = threading.Lock()

    def by_any(self, operations: Sequence[str], word: str, seed: int) -> str:
        """The word with one error: operations are tried in a drawn order until one changes it; else as it is."""
        with self._lock:
            errer = self._errer(word, seed=seed)
            for operation in self._random.sample(operations, len(operations)):
                mistyped: str = getattr(errer, operation)().result
                if mistyped != word:
                    return mistyped
        return word

    def by(self, operation: str, word: str, seed: int) -> str:
        """The word with one error by this operation, or as it is where the operation changes nothing."""
        with self._lock:
            errer = self._errer(word, seed=seed)
            for _ in range(_TRIES):
                mistyped: str = getattr(errer, operation)().result
                if mistyped != word:
                    return mistyped
        return word
